"""The relationships of one node that has too many for one page: parts laid down on disk, then merged in order."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc

from kg.export_pages import changed
from kg.schema import ROW_ID


class Parts:
    """Sorted parts of one table on disk, a context manager; the folder is one of the system's for temporary files."""

    def __init__(self, size: int) -> None:
        """`size` is how many rows a merged batch has, about."""
        self.size = size
        self._files: list[Path] = []

    def __enter__(self) -> Self:
        """Make the folder."""
        self._folder = TemporaryDirectory(prefix="crossgraph-")
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the folder."""
        self._folder.cleanup()

    def add(self, part: pa.RecordBatch) -> None:
        """Lay down a part, sorted by target and identity."""
        self._files.append(Path(self._folder.name) / f"{len(self._files)}.arrow")
        with pa.ipc.new_file(self._files[-1], part.schema) as writer:
            writer.write_batch(part)

    def merged(self) -> Iterator[pa.RecordBatch]:
        """All rows, sorted by target and identity."""
        opened = [pa.ipc.open_file(pa.memory_map(str(file))).get_batch(0) for file in self._files]
        yield from _merge(opened, max(1, self.size // max(1, len(opened))))


def _merge(parts: list[pa.RecordBatch], step: int) -> Iterator[pa.RecordBatch]:
    """Of each part the next `step` rows are looked at: up to the smallest of their last rows nothing else can come."""
    left = [part for part in parts if part.num_rows]
    before = None
    while left:
        heads = [part.slice(0, step) for part in left]
        least = min(_identity(head, -1) for head in heads)
        counts = [pc.sum(_up_to(head, least)).as_py() for head in heads]
        rows = pa.Table.from_batches([head.slice(0, n) for head, n in zip(heads, counts, strict=True)])
        [batch] = rows.sort_by([("dst", "ascending"), (ROW_ID.name, "ascending")]).combine_chunks().to_batches()
        if before == _identity(batch, 0) or _repeats(batch):
            raise changed("a relationship was read twice")
        before = _identity(batch, -1)
        yield batch
        left = [part.slice(n) for part, n in zip(left, counts, strict=True) if n < part.num_rows]


def _identity(batch: pa.RecordBatch, row: int) -> tuple[int, str]:
    row %= batch.num_rows
    return batch["dst"][row].as_py(), batch[ROW_ID.name][row].as_py()


def _up_to(batch: pa.RecordBatch, least: tuple[int, str]) -> pa.Array:
    same = pc.and_(pc.equal(batch["dst"], least[0]), pc.less_equal(batch[ROW_ID.name], least[1]))
    return pc.or_(pc.less(batch["dst"], least[0]), same)


def _repeats(batch: pa.RecordBatch) -> bool:
    rows = batch.num_rows - 1
    if rows < 1:
        return False
    same = [pc.equal(batch[name].slice(0, rows), batch[name].slice(1)) for name in ("dst", ROW_ID.name)]
    return bool(pc.any(pc.and_(*same)).as_py())
