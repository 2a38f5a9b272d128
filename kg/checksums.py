"""Checksums of an output's files, by which it is seen when one is damaged, cut or gone.

A checksum is the file's CRC-32 and its size: it finds every flipped byte and every cut, and of larger damage all but
one in four billion, at a rate that lets a snapshot be read once more before it is used. It is no seal against forgery.
"""

import io
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
from pyarrow import fs

BLOCK = 1 << 20


class Summed(io.RawIOBase):
    """A stream to write to that takes the checksum of what passes."""

    def __init__(self, stream: pa.NativeFile) -> None:
        """What is written goes on to `stream`, which is not closed."""
        self._stream, self._crc, self._size = stream, 0, 0

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, data: Any) -> int:
        """Pass bytes on; returns how many."""
        self._crc = zlib.crc32(data, self._crc)
        self._stream.write(data)
        size = memoryview(data).nbytes
        self._size += size
        return size

    def checksum(self) -> str:
        """Of all that has passed."""
        return _told(self._crc, self._size)


def checksum(filesystem: fs.FileSystem, path: str) -> str:
    """Of a file: a gigabyte takes about a second; `FileNotFoundError` where there is none."""
    crc = size = 0
    with filesystem.open_input_stream(path, compression=None) as stream:
        while block := stream.read(BLOCK):
            crc, size = zlib.crc32(block, crc), size + len(block)
    return _told(crc, size)


def checksums(filesystem: fs.FileSystem, folder: str, known: Mapping[str, str]) -> dict[str, str]:
    """By its path in a folder the checksum of each file; those that are `known` are not read again.

    Hidden files, which readers of tables pass over too, have none.
    """
    found = {}
    for info in filesystem.get_file_info(fs.FileSelector(folder, recursive=True)):
        name = info.path.removeprefix(f"{folder}/")
        if info.is_file and not info.base_name.startswith((".", "_")):
            found[name] = known[name] if name in known else checksum(filesystem, info.path)
    return dict(sorted(found.items()))


def renewed(filesystem: fs.FileSystem, folder: str, files: Mapping[str, str], changed: Iterable[str]) -> dict[str, str]:
    """The checksums of a folder after the files at these places, or below them, were rewritten."""
    places = tuple(changed)
    return {
        name: checksum(filesystem, f"{folder}/{name}") if _below(name, places) else before
        for name, before in files.items()
    }


def damage(filesystem: fs.FileSystem, folder: str, files: Mapping[str, str]) -> tuple[str, str] | None:
    """The first of these files that is not as it was, by its path in the folder, and what is wrong with it."""
    for name, wanted in files.items():
        try:
            found = checksum(filesystem, f"{folder}/{name}")
        except FileNotFoundError:
            return name, "it is missing"
        if found != wanted:
            sizes = [told.partition("-")[2] for told in (wanted, found)]
            cut = f"it has {sizes[1]} bytes, {sizes[0]} were written"
            return name, cut if sizes[0] != sizes[1] else "its bytes are not those that were written"
    return None


def _below(name: str, places: tuple[str, ...]) -> bool:
    return any(name == place or name.startswith(f"{place}/") for place in places)


def _told(crc: int, size: int) -> str:
    return f"{crc:08x}-{size}"
