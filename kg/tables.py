"""The workspace: stages that write Parquet tables into new folders, each sealed by a manifest.

``<workspace>/<stage>/<time>-<fingerprint>/`` holds ``<table>/*.parquet`` and, written last, ``manifest.json``.
A folder without a manifest is no output. The manifest's fingerprint alone decides whether a stage is skipped.
"""

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow import fs

from kg.checksums import Summed, checksums, damage
from kg.errors import ContractError
from kg.schema import check

FORMAT = 1
MANIFEST = "manifest.json"
SEAL = "seal"
"""The manifest's own checksum, a key beside its fields."""
KEEP = 2
# <time>-<fingerprint>: what a folder of an output is called, sealed or not.
OUTPUT_NAME = re.compile(r"\d{8}T\d{12}-\w+")


def fingerprint(*parts: object) -> str:
    """A digest of JSON-like values, the same for equal values in any process."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]


def code_fingerprint(*modules: ModuleType) -> str:
    """A digest of the modules' own source, so that changed code reruns its stage."""
    return fingerprint([(m.__name__, Path(str(m.__file__)).read_text("utf-8")) for m in modules])


def file_fingerprint(path: Path) -> str:
    """A digest of a file's bytes, or of the names and bytes of all files below a folder."""
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        digest.update(str(file.relative_to(path)).encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


@dataclass(frozen=True)
class Manifest:
    """What a sealed output says of itself.

    `tables` holds rows by table, `meta` what the next stage must know, `figures` what run.json reports.
    """

    stage: str
    fingerprint: str
    created: str
    format: int = FORMAT
    tables: dict[str, int] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    """The checksum of each file by its path in the output; empty in outputs of before there were any."""


@dataclass(frozen=True)
class Output:
    """A stage's sealed output."""

    filesystem: fs.FileSystem
    path: str
    manifest: Manifest

    def location(self, table: str = "") -> str:
        """The path of a table (or any file) inside this output, on its file system."""
        return f"{self.path}/{table}" if table else self.path

    def scan(self, table: str) -> ds.Dataset:
        """A lazy view of a table; `ContractError` when this output does not hold it."""
        if table not in self.manifest.tables:
            raise ContractError(
                table, f"a table of stage {self.manifest.stage}", f"found {sorted(self.manifest.tables)}"
            )
        return ds.dataset(self.location(table), filesystem=self.filesystem, format="parquet")

    def read(self, table: str, columns: list[str] | None = None) -> pa.Table:
        """A whole table in memory."""
        return self.scan(table).to_table(columns=columns)

    def tables(self, prefix: str = "") -> list[str]:
        """Names of the tables that start with `prefix`, sorted."""
        return sorted(name for name in self.manifest.tables if name.startswith(prefix))

    def verify(self) -> None:
        """Read every file; `ContractError` names one that is missing, cut or otherwise not as it was written."""
        if found := damage(self.filesystem, self.path, self.manifest.files):
            name, what = found
            raise ContractError(self.location(name), "this file is damaged", what)


@dataclass
class Draft:
    """An output being written; `Stage.create` seals it. Fill `meta` and `figures` freely."""

    filesystem: fs.FileSystem
    path: str
    tables: dict[str, int] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    """Checksums of files by their path in the draft; of those that are not here it is taken at the seal."""

    def location(self, table: str = "") -> str:
        """The path of a table or file in this draft; the folder above it exists."""
        path = f"{self.path}/{table}" if table else self.path
        self.filesystem.create_dir(path.rsplit("/", 1)[0], recursive=True)
        return path

    def write(self, table: str, rows: pa.Table, schema: pa.Schema) -> None:
        """Check a table against its schema and write it as one file."""
        self.write_batches(table, rows.to_batches(), schema)

    def write_batches(self, table: str, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> None:
        """Write a stream of batches as one file, checking each, in bounded memory."""
        with self.writer(table, schema) as write:
            for batch in batches:
                write(batch)

    @contextmanager
    def writer(self, table: str, schema: pa.Schema) -> Iterator[Callable[[pa.RecordBatch], None]]:
        """A function that checks and writes a batch; several tables may be written at a time."""
        rows, name = 0, f"{table}/part-0.parquet"

        def write(batch: pa.RecordBatch) -> None:
            nonlocal rows
            check(table, batch.schema, schema)
            writer.write_batch(batch.select(schema.names).cast(schema))
            rows += batch.num_rows

        with self.filesystem.open_output_stream(self.location(name)) as stream:
            sink = Summed(stream)
            with pq.ParquetWriter(sink, schema) as writer:
                yield write
        self.files[name] = sink.checksum()
        self.tables[table] = rows

    def adopt(self, table: str, schema: pa.Schema) -> None:
        """Register a table that Spark wrote at `location(table)`, checked against its schema."""
        dataset = ds.dataset(self.location(table), filesystem=self.filesystem, format="parquet")
        check(table, dataset.schema, schema)
        self.tables[table] = dataset.count_rows()

    def seal(self, stage: str, fingerprint: str, created: str) -> None:
        """Write the manifest, which makes an output of the draft; nothing is to be written after it."""
        files = checksums(self.filesystem, self.path, self.files)
        manifest = Manifest(stage, fingerprint, created, FORMAT, self.tables, self.meta, self.figures, files)
        write_manifest(self.filesystem, self.path, manifest)


def replace_file(filesystem: fs.FileSystem, path: str, content: bytes) -> None:
    """Write a file in one step: whoever reads it finds what was there or all of what is new."""
    with filesystem.open_output_stream(f"{path}.tmp", compression=None) as stream:
        stream.write(content)
    filesystem.move(f"{path}.tmp", path)


def write_manifest(filesystem: fs.FileSystem, folder: str, manifest: Manifest) -> None:
    """Seal a folder, or seal it anew."""
    content = json.loads(json.dumps(asdict(manifest), default=str))
    content[SEAL] = fingerprint(content)
    replace_file(filesystem, f"{folder}/{MANIFEST}", json.dumps(content, indent=1).encode())


def read_output(filesystem: fs.FileSystem, folder: str) -> Output | None:
    """The sealed output of a folder; None where it is not sealed, its manifest is damaged, or in another format."""
    path = f"{folder}/{MANIFEST}"
    if filesystem.get_file_info(path).type != fs.FileType.File:
        return None
    with filesystem.open_input_stream(path) as stream:
        content = stream.read()
    try:
        found = json.loads(content)
    except ValueError:
        return None
    if found.get("format") != FORMAT or found.pop(SEAL, None) not in (None, fingerprint(found)):
        return None
    return Output(filesystem, folder, Manifest(**found))


class Stage:
    """One stage's outputs in a workspace, newest last."""

    def __init__(self, filesystem: fs.FileSystem, root: str, name: str) -> None:
        """Nothing is created until the first draft."""
        self.filesystem, self.root, self.name = filesystem, f"{root}/{name}", name

    def outputs(self) -> list[Output]:
        """All sealed outputs, oldest first; those of another format are not seen."""
        found = (read_output(self.filesystem, info.path) for info in self._folders())
        return [output for output in found if output]

    def current(self) -> Output | None:
        """The newest sealed output."""
        outputs = self.outputs()
        return outputs[-1] if outputs else None

    def find(self, fingerprint: str) -> Output | None:
        """The newest output if it was made from this fingerprint, else None: the stage must run."""
        output = self.current()
        return output if output and output.manifest.fingerprint == fingerprint else None

    def discard(self, output: Output) -> None:
        """Remove an output, its manifest first, so that killed in between it is a leftover."""
        self.filesystem.delete_file(f"{output.path}/{MANIFEST}")
        self.filesystem.delete_dir(output.path)

    @contextmanager
    def create(self, fingerprint: str, spared: Collection[str] = ()) -> Iterator[Draft]:
        """A new folder to write into, sealed on leaving the block and removed when the block raises.

        Leftovers of killed runs are removed first. Of sealed outputs the newest two are kept, and those whose
        fingerprints are `spared`.
        """
        for info in self._folders():
            if self.filesystem.get_file_info(f"{info.path}/{MANIFEST}").type != fs.FileType.File:
                self.filesystem.delete_dir(info.path)
        created = datetime.now(UTC)
        path = f"{self.root}/{created:%Y%m%dT%H%M%S%f}-{fingerprint[:8]}"
        self.filesystem.create_dir(path, recursive=True)
        draft = Draft(self.filesystem, path)
        try:
            yield draft
            draft.seal(self.name, fingerprint, created.isoformat())
        except BaseException:
            self.filesystem.delete_dir(path)
            raise
        for output in self.outputs()[:-KEEP]:
            if output.manifest.fingerprint in spared:
                continue
            self.filesystem.delete_dir(output.path)

    def _folders(self) -> list[fs.FileInfo]:
        selector = fs.FileSelector(self.root, allow_not_found=True)
        folders = [info for info in self.filesystem.get_file_info(selector) if info.type == fs.FileType.Directory]
        return sorted(folders, key=lambda info: info.path)


class Workspace:
    """A project's folder of stages: a local path or any URI that pyarrow's file systems open."""

    def __init__(self, location: str | Path) -> None:
        """Open (not create) the workspace at `location`."""
        text = str(location)
        if "://" in text:
            self.filesystem, self.root = fs.FileSystem.from_uri(text)
        else:
            self.filesystem, self.root = fs.LocalFileSystem(), str(Path(text).absolute())
        self.location = text

    def stage(self, name: str) -> Stage:
        """The outputs of one stage."""
        return Stage(self.filesystem, self.root, name)

    def file(self, name: str) -> str:
        """The path of a file at the top of the workspace, on `filesystem`; the folder above it exists."""
        path = f"{self.root}/{name}"
        self.filesystem.create_dir(path.rsplit("/", 1)[0], recursive=True)
        return path
