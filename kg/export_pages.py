"""Pages of a snapshot: read by several sessions at once, handed on in order, few of them in memory."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from kg.errors import StoreError
from kg.schema import ROW_ID
from kg.values import from_wire

READERS = 2
"""Sessions that read at once: Neo4j collects one page while another's values become columns here."""
PAGE_NODES = 5_000
PAGE_EDGES = 50_000
"""A page has at most so many relationships, unless they have one source: then it is read in parts of so many."""


@dataclass
class Ends:
    """The nodes of one label that are in the snapshot: their keys by row number, and row numbers by key."""

    label: str
    keys: pa.Array
    restricted: bool
    """Whether nodes of ours were left out on purpose, so that relationships may lead out of the snapshot."""
    _rows: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        """How many nodes there are."""
        return len(self.keys)

    def prepare(self) -> None:
        """Make ready to find rows, before several threads ask for them."""
        if not self._rows:
            self._rows = {key: row for row, key in enumerate(self.keys.to_pylist())}

    def rows(self, keys: list[str]) -> np.ndarray:
        """int64[keys]: row numbers, -1 for what was left out; `StoreError` for what was not there before."""
        of = self._rows
        found = np.fromiter((of.get(key, -1) for key in keys), np.int64, len(keys))
        if not self.restricted and (found < 0).any():
            new = keys[int(np.argmin(found))]
            raise changed(f"{self.label} {new!r} is new")
        return found

    def only(self, kept: np.ndarray) -> "Ends":
        """Those of a mask (bool[nodes])."""
        return Ends(self.label, self.keys.filter(pa.array(kept)), restricted=True)


@dataclass(frozen=True)
class EdgePage:
    """The relationships of some sources, all of them or, of a single source, a part."""

    sources: np.ndarray
    """int64: row numbers."""
    ids: list[int] | None = None
    """Of a single source that has too many: Neo4j's ids of those in this part; none after the last part."""


def edge_pages(
    sources: np.ndarray, degrees: np.ndarray, size: int, ids: Callable[[int], Iterable[list[int]]]
) -> Iterator[EdgePage]:
    """Pages of at most `size` relationships; `ids` gives the ids of a source's, some at a time, if it has more."""
    start = held = 0
    for position, degree in enumerate(degrees.tolist()):
        if held and held + degree > size:
            yield EdgePage(sources[start:position])
            start, held = position, 0
        if degree > size:
            alone = sources[position : position + 1]
            for some in ids(int(alone[0])):
                for first in range(0, len(some), size):
                    yield EdgePage(alone, some[first : first + size])
            yield EdgePage(alone, [])
            start = position + 1
        else:
            held += degree
    if held:
        yield EdgePage(sources[start:])


@dataclass
class Gauge:
    """How many rows are in memory, now and at most."""

    now: int = 0
    most: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, rows: int) -> None:
        """Rows came, or (below zero) went."""
        with self._lock:
            self.now += rows
            self.most = max(self.most, self.now)


def node_batch(lists: list[Any], asked: int, schema: pa.Schema) -> pa.RecordBatch:
    """Nodes in the order that they were asked for, from positions and a list a column."""
    positions, *columns = lists
    if len(positions) != asked:
        raise changed(f"{asked - len(positions)} nodes vanished")
    arrays = [from_wire(values, type_) for values, type_ in zip(columns, schema.types, strict=True)]
    batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
    return batch if positions == list(range(asked)) else batch.take(pa.array(np.argsort(positions)))


def edge_batches(
    lists: list[Any], source: np.ndarray, target: np.ndarray, types: tuple[str, ...], schema: pa.Schema
) -> Mapping[str, pa.RecordBatch]:
    """By type the relationships whose ends are both there, sorted by ends and identity."""
    _, _, named, *columns = lists
    values = [from_wire(column, type_) for column, type_ in zip(columns, schema.types[2:], strict=True)]
    batch = pa.RecordBatch.from_arrays([pa.array(source), pa.array(target), *values], schema=schema)
    number = {type_: i for i, type_ in enumerate(types)}
    kind = np.fromiter((number[name] for name in named), np.int64, len(named)) if named else np.zeros_like(source)
    inside = np.flatnonzero((source >= 0) & (target >= 0))
    order = inside[np.lexsort((target[inside], source[inside], kind[inside]))]
    batch, kind = batch.take(pa.array(order)), kind[order]
    starts = np.searchsorted(kind, np.arange(len(types) + 1))
    parts = {type_: batch.slice(a, b - a) for type_, a, b in zip(types, starts[:-1], starts[1:], strict=True)}
    return {type_: by_identity(part) for type_, part in parts.items() if part.num_rows}


def by_identity(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A batch that is sorted by ends, sorted by identity too; texts are compared only where ends are alike."""
    src, dst = batch["src"].to_numpy(), batch["dst"].to_numpy()
    if not ((src[1:] == src[:-1]) & (dst[1:] == dst[:-1])).any():
        return batch
    return batch.sort_by([("src", "ascending"), ("dst", "ascending"), (ROW_ID.name, "ascending")])


def changed(what: str) -> StoreError:
    """The error of a graph that is not what it was when its export began."""
    return StoreError(f"the graph changed while it was exported ({what}): export again")
