"""Rows that must be written, in batches that a rerun makes alike, and as parameters that are cheap to send.

Measured on two cores shared with others (compare within a block only), relationships with seven properties, two of
them instants, by one writer with ends looked up once a batch, unless it says otherwise:

=====================================================  ==================
relationships of 100,000, rows a batch                 a second, medians
=====================================================  ==================
1,000 / 2,500 / 5,000 / 10,000 / 20,000                40,900 / 43,400 / 40,400 / 35,300 / 34,800
=====================================================  ==================

=====================================================  ==================
relationships of 300,000, busier                       a second, two runs
=====================================================  ==================
5,000 / 20,000 / 50,000 rows a batch                   25,500 26,300 / 19,600 24,000 / 21,000 20,100
20,000, each row finding its ends                      18,200 18,900
20,000, two writers / 10,000, two writers              20,100 19,200 / 22,300 24,300
20,000, rows with four properties: MERGE               22,200
the same, CREATE, as they came / by source / target    30,200 / 35,500 / 27,800
the same, grouped by source in nested lists            31,800
the same, ends by internal id                          41,200 41,100
the same, ``CALL … IN 2 CONCURRENT TRANSACTIONS``      37,000 38,900
the same, two writers                                  38,300 to 43,200
=====================================================  ==================

So relationships are committed by one transaction at a time (`kg.cypher_load.ADD_BATCH_IN_TURN`), for several can
deadlock; two writers on nodes that are disjoint did. Internal ids gain nothing over one lookup a batch, and may be
given to another node. Making the parameters takes 1.2 µs a relationship. Nodes: 70,000 to 89,000 a second by CREATE,
14,800 by MERGE.

A million relationships and 100,000 nodes, the whole load, on a slower day:

=====================================================  ==================
in turn from before the creation / from before commit  89.8 s / 80.2 s
sorted by source within 100,000 / 300,000 / a million  80.2 s / 78.6 s / 77.2 s
the same within 500,000, and at most 128 MiB           72.8 s
=====================================================  ==================
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from kg.load_check import columns_of, identity_of, scan
from kg.load_state import HASH, ROWS
from kg.schema import ENDS
from kg.tables import Output
from kg.values import to_wire

BATCH_BYTES = 8 << 20
"""Rows of long texts go in smaller batches, for the server holds a transaction in memory."""
WINDOW_ROWS, WINDOW_BYTES = 500_000, 128 << 20
"""How far relationships are sorted by source: so the neighbours of most that a commit adds are its own."""
POSITION = pa.field("_position", pa.int64(), nullable=False)


def chosen(
    tables: Output, table: str, mask: np.ndarray, found: np.ndarray, size: int, columns: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """The rows of a mask in batches of up to `size`: (*identity, hash, *columns) and last their `POSITION`.

    Relationships are in the order of their sources within a window, so that a batch meets few nodes, each often.
    `found` are the hashes of all rows.
    """
    names = [*identity_of(table), *(columns_of(tables, table) if columns is None else columns)]
    limit = WINDOW_ROWS if table.startswith("relationships/") else ROWS
    waiting: list[pa.RecordBatch] = []
    start = 0
    for batch in scan(tables, table, ROWS, names):
        here = np.flatnonzero(mask[start : start + batch.num_rows])
        if len(here):
            rows = batch.select(names).take(pa.array(here))
            waiting.append(_numbered(rows, found[start + here], start + here, len(identity_of(table))))
        start += batch.num_rows
        if sum(part.num_rows for part in waiting) >= limit or sum(part.nbytes for part in waiting) >= WINDOW_BYTES:
            yield from _cut(table, waiting, size)
            waiting = []
    if waiting:
        yield from _cut(table, waiting, size)


def _numbered(rows: pa.RecordBatch, found: np.ndarray, positions: np.ndarray, first: int) -> pa.RecordBatch:
    columns = [*rows.columns[:first], pa.array(found), *rows.columns[first:], pa.array(positions)]
    names = [*rows.schema.names[:first], HASH.name, *rows.schema.names[first:], POSITION.name]
    return pa.RecordBatch.from_arrays(columns, names)


def _cut(table: str, parts: list[pa.RecordBatch], size: int) -> Iterator[pa.RecordBatch]:
    rows = pa.Table.from_batches(parts)
    if table.startswith("relationships/"):
        rows = rows.sort_by([(ENDS[0].name, "ascending"), (POSITION.name, "ascending")])
    yield from pieces(rows, size)


def pieces(rows: pa.Table, size: int) -> Iterator[pa.RecordBatch]:
    """A table in batches of up to `size` rows and about `BATCH_BYTES`."""
    limit = max(1, min(size, rows.num_rows * BATCH_BYTES // max(rows.nbytes, 1)))
    for start in range(0, rows.num_rows, limit):
        yield from rows.slice(start, limit).combine_chunks().to_batches()


def as_rows(batch: pa.RecordBatch, constants: Sequence[Any] = ()) -> dict[str, Any]:
    """``$rows`` of a batch, each row followed by `constants`."""
    columns = [
        to_wire(column) for name, column in zip(batch.schema.names, batch.columns, strict=True) if name != POSITION.name
    ]
    if not constants:
        return {"rows": list(zip(*columns, strict=True))}
    return {"rows": [(*row, *constants) for row in zip(*columns, strict=True)]}


def as_edges(batch: pa.RecordBatch) -> dict[str, Any]:
    """``$rows`` of a batch of relationships, its ends as positions in ``$sources`` and ``$targets``."""
    source, target = (batch[end.name].dictionary_encode() for end in ENDS)
    rest = batch.select([n for n in batch.schema.names if n not in {*(e.name for e in ENDS), POSITION.name}])
    columns = [source.indices.to_pylist(), target.indices.to_pylist(), *(to_wire(column) for column in rest.columns)]
    return {
        "sources": source.dictionary.to_pylist(),
        "targets": target.dictionary.to_pylist(),
        "rows": list(zip(*columns, strict=True)),
    }
