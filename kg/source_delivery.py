"""Files that a source in `mode: append` delivers: each is copied into the workspace once, as it is.

A file is known by name, size and digest. One that has grown (its beginning is what was there before) takes the
place of its earlier copy; one that changed otherwise is another delivery, and the earlier one stays.
"""

import hashlib
import posixpath
from dataclasses import replace

from kg.errors import SourceError
from kg.landing import Landed, LandedFile, State, described
from kg.locations import file_digest, opened, source_files
from kg.source_config import Source

BLOCK = 1 << 20


def land_files(name: str, source: Source, landed: Landed) -> int:
    """Copy what is new, and give the number of new files; `SourceError` where nothing ever came."""
    wanted = f"{source.format} files"
    state = landed.state()
    described(name, landed, wanted, state)
    before = state or State(wanted)
    files = list(before.files)
    for path in _delivered(name, source, before):
        _add(landed, files, path)
    new = len(set(files) - set(before.files))
    if new or state is None:
        landed.seal(replace(before, files=tuple(files)))
    landed.sweep(landed.state())
    return new


def _delivered(name: str, source: Source, state: State) -> list[str]:
    """The files there now; files may be taken away once they have landed."""
    try:
        return source_files(name, str(source.path))
    except SourceError:
        if state.files:
            return []
        raise


def _add(landed: Landed, files: list[LandedFile], path: str) -> None:
    digest = file_digest(path)
    versions = [file for file in files if file.name == path or file.name.startswith(f"{path}@")]
    if any(file.digest == digest for file in versions):
        return
    # A killed run may have left the next number's file: it is written over.
    number = 1 + max((int(file.path.split("-")[0]) for file in files), default=0)
    target = f"{number:06d}-{posixpath.basename(path)}"
    digest, size = _copy(landed, path, target)
    grown = next((file for file in versions if _starts_with(landed, target, file)), None)
    file = LandedFile(target, grown.name if grown else f"{path}@{number}" if versions else path, digest, size)
    if grown:
        files[files.index(grown)] = file
    else:
        files.append(file)


def _copy(landed: Landed, path: str, target: str) -> tuple[str, int]:
    """Copy a file; the digest and size are those of the copy, whatever is written to the file meanwhile."""
    filesystem, plain = opened(path)
    landed.filesystem.create_dir(landed.path, recursive=True)
    digest, size = hashlib.blake2b(digest_size=16), 0
    with (
        filesystem.open_input_stream(plain, compression=None) as stream,
        landed.filesystem.open_output_stream(f"{landed.path}/{target}", compression=None) as copy,
    ):
        while block := stream.read(BLOCK):
            digest.update(block)
            size += len(block)
            copy.write(block)
    return digest.hexdigest(), size


def _starts_with(landed: Landed, target: str, earlier: LandedFile) -> bool:
    digest, left = hashlib.blake2b(digest_size=16), earlier.size
    with landed.filesystem.open_input_stream(f"{landed.path}/{target}", compression=None) as stream:
        while left and (block := stream.read(min(BLOCK, left))):
            digest.update(block)
            left -= len(block)
    return not left and digest.hexdigest() == earlier.digest
