"""A project in one file: its workspace and its Neo4j's dump in a tar, and a manifest by which a restore trusts it.

``workspace/…`` holds all whole outputs and what lies beside them, ``neo4j/neo4j.dump`` the database, and
``manifest.json``, which comes last, the formats and the digest of each file. An archive gets its name when it is
complete. It holds no passwords: users are in another database of Neo4j's, and the workspace never has any.
"""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import IO

from kg import store, tables
from kg.errors import ArchiveError

FORMAT = 1
MANIFEST = "manifest.json"
WORKSPACE, DUMP = "workspace", "neo4j/neo4j.dump"
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Archive:
    """What an archive says of itself."""

    project: str
    created: str
    """When, ISO 8601."""
    neo4j: str | None
    """The version of Neo4j that dumped the database; None where the archive holds none."""
    crossgraph: str = field(default_factory=lambda: version("crossgraph"))
    format: int = FORMAT
    tables_format: int = tables.FORMAT
    store_format: int = store.FORMAT
    files: dict[str, list[int | str]] = field(default_factory=dict)
    """By name in the archive: size in bytes and SHA-256."""


def workspace_files(root: Path, *, cache: bool = True) -> dict[str, Path]:
    """What of a workspace goes into an archive, by name: no half-written file or output, the cache if asked."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root)
        left_out = name.parts[0] == "cache" and not cache
        if path.is_file() and not path.name.endswith((".tmp", ".partial")) and not left_out and _whole(root, name):
            found[f"{WORKSPACE}/{name.as_posix()}"] = path
    return found


def _whole(root: Path, name: Path) -> bool:
    """Whether a file lies in a sealed output, or in none at all."""
    around = next((p for p in name.parents if tables.OUTPUT_NAME.fullmatch(p.name)), None)
    return around is None or (root / around / tables.MANIFEST).is_file()


def archive_path(given: str, project: str) -> Path:
    """The file to write: the one given, or a new one in the folder given (which is there, or ends in ``/``)."""
    path = Path(given)
    if path.is_dir() or given.endswith("/"):
        return path / f"{project}-{datetime.now(UTC):%Y%m%dT%H%M%S}.tar"
    return path


def find_archive(given: str, project: str) -> Path:
    """The file to read: the one given, or the newest of the project in a folder; `ArchiveError` where there is none."""
    path = Path(given)
    if path.is_file():
        return path
    found = sorted(path.glob(f"{project}-*.tar")) if path.is_dir() else []
    if not found:
        raise ArchiveError(f"{given}: expected a backup, or a folder with one called {project}-….tar")
    return found[-1]


def write_archive(path: Path, project: str, members: Mapping[str, Path], neo4j: str | None) -> Archive:
    """Write files under their names, and the manifest last; whatever fails leaves no archive behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    made = Archive(project, datetime.now(UTC).isoformat(timespec="seconds"), neo4j)
    try:
        with partial.open("wb") as file, tarfile.open(fileobj=file, mode="w") as tar:
            for name, source in members.items():
                made.files[name] = _add(tar, name, source)
            content = json.dumps(asdict(made), indent=1).encode()
            tar.addfile(_entry(MANIFEST, len(content)), io.BytesIO(content))
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return made


def _entry(name: str, size: int) -> tarfile.TarInfo:
    """Nobody's file, which only its owner may read."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o600
    return entry


def _add(tar: tarfile.TarFile, name: str, source: Path) -> list[int | str]:
    with source.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        hashing = _Hashing(file)
        tar.addfile(_entry(name, size), hashing)
    return [size, hashing.digest.hexdigest()]


class _Hashing:
    """A file that is digested as it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.digest = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        block = self.file.read(size)
        self.digest.update(block)
        return block


def check_archive(path: Path, project: str) -> Archive:
    """Read an archive from end to end; `ArchiveError` unless it is whole, of our formats and of this project."""
    try:
        with tarfile.open(path, "r:") as tar:
            members = _members(path, tar)
            found = _manifest(path, tar, members)
            _check_formats(path, found, project)
            wrong = [name for name in members if name != MANIFEST and found.files.get(name) != _sum(tar, members[name])]
            missing = sorted(set(found.files) - set(members))
    except (tarfile.TarError, EOFError) as error:
        raise ArchiveError(f"{path} is no whole backup ({error}): take another one") from error
    if bad := [*wrong, *missing]:
        raise ArchiveError(f"{path} is damaged, {len(bad)} files differ, such as {bad[0]}: take another backup")
    return found


def _members(path: Path, tar: tarfile.TarFile) -> dict[str, tarfile.TarInfo]:
    """By name; `ArchiveError` for whatever could be written outside of the folder it is unpacked in."""
    members: dict[str, tarfile.TarInfo] = {}
    for member in tar:
        parts = PurePosixPath(member.name).parts
        known = member.name in (MANIFEST, DUMP) or (parts[:1] == (WORKSPACE,) and len(parts) > 1)
        if not member.isreg() or ".." in parts or not known or member.name in members:
            raise ArchiveError(f"{path} is no backup of ours: it holds {member.name!r}; nothing was unpacked")
        members[member.name] = member
    return members


def _manifest(path: Path, tar: tarfile.TarFile, members: Mapping[str, tarfile.TarInfo]) -> Archive:
    if MANIFEST not in members:
        raise ArchiveError(f"{path} is no whole backup: it has no {MANIFEST}; take another one")
    with _stream(tar, members[MANIFEST]) as stream:
        content = stream.read()
    try:
        found = json.loads(content)
        if found["format"] != FORMAT:
            raise ArchiveError(f"{path} was written in format {found['format']}, wanted {FORMAT}")
        return Archive(**found)
    except (ValueError, KeyError, TypeError) as error:
        raise ArchiveError(f"{path}: its {MANIFEST} cannot be read ({error})") from error


def _check_formats(path: Path, found: Archive, project: str) -> None:
    if found.project != project:
        raise ArchiveError(f"{path} is a backup of project {found.project!r}, not of {project!r}")
    wanted = {"tables": (found.tables_format, tables.FORMAT), "graph": (found.store_format, store.FORMAT)}
    for name, (has, wants) in wanted.items():
        if has != wants:
            raise ArchiveError(
                f"{path} holds the {name} in format {has}, wanted {wants}: "
                f"restore it with crossgraph {found.crossgraph}, or run the project anew"
            )


def _stream(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    stream = tar.extractfile(member)
    assert stream is not None  # of a regular file
    return stream


def _sum(tar: tarfile.TarFile, member: tarfile.TarInfo) -> list[int | str]:
    digest = hashlib.sha256()
    with _stream(tar, member) as stream:
        for block in _blocks(stream):
            digest.update(block)
    return [member.size, digest.hexdigest()]


def _blocks(stream: IO[bytes]) -> Iterator[bytes]:
    while block := stream.read(_BLOCK):
        yield block


def unpack(path: Path, prefix: str, folder: Path) -> None:
    """Write an archive's files below a prefix into a folder; the archive was checked before."""
    with tarfile.open(path, "r:") as tar:
        for name, member in _members(path, tar).items():
            if name.startswith(f"{prefix}/"):
                target = folder / name.removeprefix(f"{prefix}/")
                target.parent.mkdir(parents=True, exist_ok=True)
                with _stream(tar, member) as stream, target.open("wb") as file:
                    for block in _blocks(stream):
                        file.write(block)
