"""The tables of a graph as the files that Neo4j's importer reads.

CSV, although the importer has an input of Parquet too: that one is a preview which needs a parser that Neo4j's own
artifacts lack, and reading is not what an import waits for (of a million relationships 0.6 s were writing CSV, 8 s the
import). Nodes are numbered in the order of their files, and relationships name their ends by these numbers, which saves
the importer a map of all keys.
"""

import re
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.types as pt

from kg import cypher
from kg.bulk_text import BETWEEN, as_text, header_type, unwritable
from kg.errors import ContractError
from kg.load_check import columns_of, scan
from kg.load_record import constants
from kg.load_state import HASH, State
from kg.schema import ENDS, KEY, ROW_ID, EdgeType
from kg.store import Progress
from kg.tables import Output

# Looking up ends builds a table of all keys for every batch, so batches are large.
ROWS = 500_000
BUFFER = 4 << 20
"""The importer's read buffer, which must hold the longest value, in bytes."""
HASHED = "_hash"
PLAIN = re.compile(r"\w+")
OPTIONS = pa.csv.WriteOptions(include_header=False)
BREAKS = "[\r\n]"


@dataclass
class ImportFiles:
    """What has been written into a folder so far."""

    folder: Path
    groups: list[str] = field(default_factory=list)
    """Arguments that name the files."""
    multiline: list[str] = field(default_factory=list)
    """Files with line breaks within values."""
    longest: int = 0
    """Bytes of the longest value."""
    left: dict[tuple[str, str], list[pa.RecordBatch]] = field(default_factory=dict)
    """By table and column: identities and values that are to be set afterwards, as no file can hold them."""

    def leave(self, table: str, batch: pa.RecordBatch, identity: list[str]) -> None:
        """Note the values that no file can hold."""
        for name in (name for name in batch.schema.names if name not in identity):
            if (odd := unwritable(batch[name])).any():
                self.left.setdefault((table, name), []).append(batch.select([*identity, name]).filter(pa.array(odd)))

    def arguments(self) -> list[str]:
        """For `LocalServer.import_graph`."""
        buffer = ["--read-buffer-size", str(max(BUFFER, 4 * self.longest))]
        broken = [f"--multiline-fields={','.join(self.multiline)}", "--multiline-fields-format=v2"]
        return [
            "--id-type=actual",
            f"--array-delimiter=U+{ord(BETWEEN):04X}",
            *buffer,
            *(broken if self.multiline else []),
            *self.groups,
        ]


def write_files(tables: Output, state: State, folder: Path, progress: Progress) -> ImportFiles:
    """Write all nodes, with their features, and relationships; `state` has their hashes, row by row.

    Raises `ContractError` for names and values that the importer cannot take.
    """
    files = ImportFiles(folder)
    keys: dict[str, pa.Array] = {}
    first: dict[str, int] = {}
    for table in tables.tables("nodes/"):
        label = table.removeprefix("nodes/")
        first[label] = sum(map(len, keys.values()))
        keys[label] = tables.read(table, [KEY.name])[KEY.name].combine_chunks()
        _write_nodes(files, tables, state, label, first[label])
        progress(table, len(keys[label]))
    for table in tables.tables("relationships/"):
        _write_relationships(files, tables, state, table, {k: (keys[k], first[k]) for k in keys})
        progress(table, state.rows[table])
    return files


def _write_nodes(files: ImportFiles, tables: Output, state: State, label: str, first: int) -> None:
    table, fixed = f"nodes/{label}", constants(tables, label)
    columns = {KEY.name: KEY.type, **columns_of(tables, table)}
    features, lookup = _features(tables, label)
    known = features[KEY.name].combine_chunks()
    more = {**dict.fromkeys(fixed, pa.string()), **{name: features.schema.field(name).type for name in lookup}}
    side = cypher.SIDE_LABELS.get(tables.manifest.meta["labels"][label]["side"])
    labels = label if side in (None, label) else f"{label}:{side}"

    def rows() -> Iterator[list[pa.Array]]:
        position = first
        for batch, hashes in _with_hashes(tables, state, table):
            numbers = pa.array(np.arange(position, position + batch.num_rows))
            position += batch.num_rows
            at = pc.index_in(batch[KEY.name], value_set=known)
            same = [pa.repeat(pa.scalar(value), batch.num_rows) for value in fixed.values()]
            found = [features[name].combine_chunks().take(at) for name in lookup]
            files.leave(table, batch, [KEY.name])
            yield [numbers, *(batch[name] for name in columns), *same, *found, hashes]

    _write(files, table, f"--nodes={labels}=", [":ID"], {**columns, **more, HASHED: HASH.type}, rows())


def _features(tables: Output, label: str) -> tuple[pa.Table, list[str]]:
    """The features of a label's nodes, and their names; an empty table where there are none."""
    table = f"features/{label}"
    if table not in tables.manifest.tables:
        return pa.schema([KEY]).empty_table(), []
    return tables.read(table), list(columns_of(tables, table))


def _write_relationships(
    files: ImportFiles, tables: Output, state: State, table: str, ends: Mapping[str, tuple[pa.Array, int]]
) -> None:
    edge = EdgeType.parse(table.removeprefix("relationships/"))
    columns = {ROW_ID.name: ROW_ID.type, **columns_of(tables, table)}

    def rows() -> Iterator[list[pa.Array]]:
        for batch, hashes in _with_hashes(tables, state, table):
            numbers = []
            for column, label in (("from_key", edge.source), ("to_key", edge.target)):
                keys, first = ends[label]
                numbers.append(pc.add(pc.index_in(batch[column], value_set=keys).cast(pa.int64()), first))
            files.leave(table, batch, [*(end.name for end in ENDS), ROW_ID.name])
            yield [*numbers, *(batch[name] for name in columns), hashes]

    start = [":START_ID", ":END_ID"]
    _write(files, table, f"--relationships={edge.type}=", start, {**columns, HASHED: HASH.type}, rows())


def _with_hashes(tables: Output, state: State, table: str) -> Iterator[tuple[pa.RecordBatch, pa.Array]]:
    hashes = state.read(table, [HASH.name])[HASH.name].combine_chunks()
    start = 0
    for batch in scan(tables, table, ROWS):
        yield batch, hashes.slice(start, batch.num_rows)
        start += batch.num_rows


def _write(
    files: ImportFiles,
    table: str,
    argument: str,
    ids: list[str],
    columns: Mapping[str, pa.DataType],
    rows: Iterator[list[pa.Array]],
) -> None:
    """Write one table as a header and a file; rows are the ids and the columns."""
    if odd := [name for name in [*columns, *re.split("[=:-]+", argument.strip("-="))] if not PLAIN.fullmatch(name)]:
        raise ContractError(table, "names of letters, digits and underscores", f"found {odd}")
    stem = f"{len(files.groups)}"
    header = [*ids, *(f"{name}:{header_type(type_)}" for name, type_ in columns.items())]
    (files.folder / f"{stem}.header.csv").write_text(",".join(header) + "\n")
    broken = False
    with (files.folder / f"{stem}.csv").open("wb") as sink, _Writer(sink) as writer:
        for arrays in rows:
            texts = [*arrays[: len(ids)]]
            for (name, type_), array in zip(columns.items(), arrays[len(ids) :], strict=True):
                text = as_text(table, name, array)
                if pt.is_string(text.type):
                    files.longest = max(files.longest, pc.max(pc.binary_length(text)).as_py() or 0)
                    plain = pt.is_string(type_) or pt.is_list(type_)
                    broken = broken or (plain and bool(pc.any(pc.match_substring_regex(text, BREAKS)).as_py()))
                texts.append(text)
            writer.write(pa.RecordBatch.from_arrays(texts, names=header))
    files.groups.append(f"{argument}{stem}.header.csv,{stem}.csv")
    if broken:
        files.multiline.append(f"{stem}.csv")


class _Writer:
    """A CSV file that is written in a thread of its own, while the next batch is made."""

    def __init__(self, sink: BinaryIO) -> None:
        self._sink = sink
        self._pool = ThreadPoolExecutor(1)
        self._writer: Any = None
        self._last: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def write(self, batch: pa.RecordBatch) -> None:
        """Wait for the batch before and hand over this one."""
        self._wait()
        if self._writer is None:
            self._writer = pa.csv.CSVWriter(self._sink, batch.schema, write_options=OPTIONS)
        self._last = self._pool.submit(self._writer.write, batch)

    def __exit__(self, *_: object) -> None:
        try:
            self._wait()
        finally:
            self._pool.shutdown()
        if self._writer is not None:
            self._writer.close()

    def _wait(self) -> None:
        if self._last is not None:
            self._last.result()
