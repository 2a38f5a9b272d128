"""What sources delivered, kept in the workspace: ``landing/<source>/``.

Rows of databases, of HTTP APIs and of sources in `mode: append` land here first. ``state.json`` is written last and
names every file that counts: what it does not name is left over from a killed run, and is removed when the source
lands again. The files named are never changed, so rows keep their file and number.
"""

import json
import posixpath
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from pyarrow import fs

from kg.errors import SourceError
from kg.locations import File, spark_uri
from kg.tables import Workspace, fingerprint

FORMAT = 1
STATE = "state.json"


@dataclass(frozen=True)
class LandedFile:
    """One file of a source's, below its folder."""

    path: str
    name: str
    """What its rows say they come from: the file it is a copy of, a table, a URL."""
    digest: str
    size: int = 0
    """Bytes."""
    rows: int = 0
    """Where rows are numbered over several files of one name; else 0."""


@dataclass(frozen=True)
class State:
    """What has landed of one source."""

    described: str
    """What was asked for; rows of another table or API are not mixed with these."""
    files: tuple[LandedFile, ...] = ()
    watermark: dict[str, str] = field(default_factory=dict)
    """The greatest value of the watermark column: `type` (Spark's) and `value`."""
    finished: float = 0.0
    """When a crawl ended, in Unix seconds."""

    @property
    def fingerprint(self) -> str:
        """A digest of the landed content."""
        return fingerprint([(f.name, f.digest) for f in self.files])


@dataclass(frozen=True)
class Landed:
    """The folder of one source."""

    filesystem: fs.FileSystem
    path: str

    def state(self) -> State | None:
        """What has landed, None before anything has."""
        if (text := self.read(STATE)) is None:
            return None
        content: dict[str, Any] = json.loads(text)
        if content.pop("format") != FORMAT:
            raise SourceError(
                f"{self.path} was written by another version of CrossGraph: remove it to read all of the source again"
            )
        return State(**content | {"files": tuple(LandedFile(**file) for file in content["files"])})

    def seal(self, state: State) -> None:
        """Make a state the current one; what was current stays until then."""
        self.write(STATE, json.dumps({"format": FORMAT, **asdict(state)}, indent=1).encode())

    def sweep(self, state: State | None, *, keep: Iterable[str] = ()) -> None:
        """Remove what neither a state nor `keep` (names in this folder) names."""
        named = {file.path.split("/")[0] for file in (state.files if state else ())} | {STATE, *keep}
        for info in self.filesystem.get_file_info(fs.FileSelector(self.path, allow_not_found=True)):
            if info.base_name not in named:
                (self.filesystem.delete_dir if info.type == fs.FileType.Directory else self.filesystem.delete_file)(
                    info.path
                )

    def read(self, name: str) -> bytes | None:
        """A file's bytes, None where it is not there."""
        if self.filesystem.get_file_info(f"{self.path}/{name}").type != fs.FileType.File:
            return None
        with self.filesystem.open_input_stream(f"{self.path}/{name}", compression=None) as stream:
            found: bytes = stream.read()
        return found

    def write(self, name: str, content: bytes) -> None:
        """Write a file that is there whole or not at all."""
        path = f"{self.path}/{name}"
        self.filesystem.create_dir(posixpath.dirname(path), recursive=True)
        # Tasks that write one picture at once must not write into each other's file.
        part = f"{posixpath.dirname(path)}/.part-{uuid.uuid4().hex}"
        with self.filesystem.open_output_stream(part, compression=None) as stream:
            stream.write(content)
        self.filesystem.move(part, path)

    def location(self, name: str = "") -> str:
        """A file's path where it is local, else a URI."""
        path = f"{self.path}/{name}" if name else self.path
        return path if self.filesystem.type_name == "local" else spark_uri(self.filesystem, path)

    def files(self, state: State) -> list[File]:
        """The files to read, in the order they landed."""
        found, before = [], dict.fromkeys((file.name for file in state.files), 0)
        for file in state.files:
            found.append(File(self.location(file.path), file.name, before[file.name]))
            before[file.name] += file.rows
        return found


@dataclass(frozen=True)
class Landing:
    """The folders of all sources."""

    filesystem: fs.FileSystem
    root: str

    @classmethod
    def of(cls, workspace: Workspace) -> "Landing":
        """The landing of a workspace; nothing is created."""
        return cls(workspace.filesystem, f"{workspace.root}/landing")

    def source(self, name: str) -> Landed:
        """The folder of one source."""
        return Landed(self.filesystem, f"{self.root}/{name}")

    def pictures(self, name: str) -> str:
        """Where pictures are kept that came inside of a source's rows, as a path or URI; never swept."""
        return Landed(self.filesystem, f"{self.root}/pictures/{name}").location()


def described(name: str, landed: Landed, wanted: str, state: State | None) -> None:
    """`SourceError` where rows of something else have landed, which a source in `mode: append` would add to."""
    if state and state.described != wanted:
        raise SourceError(
            f"source {name}: {landed.path} holds rows of {state.described}, and the project file asks for {wanted}: "
            f"name the new source otherwise, or remove that folder to start anew"
        )
