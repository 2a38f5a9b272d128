"""What a load changed, as tables for those who refresh what they made of the graph."""

from collections.abc import Collection, Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kg.affected import AFFECTED, affected
from kg.diff import CHANGES, DELETED, Diff
from kg.load_state import HASH, State, state_schema
from kg.schema import ENDS, KEY, EdgeType
from kg.tables import Draft, Output

CHANGE = pa.field("change", pa.string(), nullable=False)
"""``created``, ``updated`` or ``deleted``."""


def change_schema(table: str) -> pa.Schema:
    """Identity (of a relationship its ends too) and what became of it."""
    return pa.schema([*(field for field in state_schema(table) if field != HASH), CHANGE])


def write_changes(
    draft: Draft,
    tables: Output,
    new: State,
    refused: Mapping[str, Collection[int]],
    diffs: Mapping[str, Diff],
    hops: int,
) -> None:
    """Write ``changes/nodes/<Label>``, ``changes/relationships/<name>`` and, by key and hops, ``affected/<Label>``.

    Rows that were refused have not changed. Features do not count: they are computed from all that is there.
    """
    seeds: dict[str, list[pa.Array]] = {}
    for table, found in diffs.items():
        if not table.startswith("features/"):
            batches = _changes(new, found, refused.get(table, ()), seeds)
            draft.write_batches(f"changes/{table}", batches, change_schema(table))
    unique = {label: pc.unique(pa.chunked_array(parts, pa.string())) for label, parts in seeds.items()}
    for label, near in affected(tables, unique, hops):
        draft.write(f"affected/{label}", near, AFFECTED)


def _changes(
    new: State, found: Diff, refused: Collection[int], seeds: dict[str, list[pa.Array]]
) -> Iterator[pa.RecordBatch]:
    """Batches under `change_schema`; the nodes that they are or touch go into `seeds`."""
    schema, status = change_schema(found.table), found.status
    if refused:
        status = status.copy()
        status[list(refused)] = 0
    start = 0
    names = np.array([CHANGES.get(np.int8(code), "") for code in range(len(CHANGES) + 1)], object)
    for batch in new.scan(found.table) if status.any() else ():
        here = np.flatnonzero(status[start : start + batch.num_rows])
        if len(here):
            said = pa.array(names[status[start + here]], pa.string())
            yield _change(batch.take(pa.array(here)), said, found.table, schema, seeds)
        start += batch.num_rows
    for batch in found.deleted.to_batches():
        yield _change(batch, pa.array([DELETED] * batch.num_rows, pa.string()), found.table, schema, seeds)


def _change(
    rows: pa.RecordBatch, said: pa.Array, table: str, schema: pa.Schema, seeds: dict[str, list[pa.Array]]
) -> pa.RecordBatch:
    name = table.partition("/")[2]
    if table.startswith("nodes/"):
        seeds.setdefault(name, []).append(rows[KEY.name])
    else:
        edge = EdgeType.parse(name)
        for end, label in zip(ENDS, (edge.source, edge.target), strict=True):
            seeds.setdefault(label, []).append(rows[end.name].unique())
    return pa.RecordBatch.from_arrays([*(rows[c] for c in schema.names[:-1]), said], schema=schema)
