"""A snapshot's rows of what is in the user's Neo4j already: from the tables, for the graph has only marks of them.

Which rows a snapshot has is still asked of the graph (keys of marked nodes, what lies around seeds). In memory is a
label's, or a type's, table.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kg.cypher_read import Bound
from kg.export_pages import Ends, changed
from kg.schema import ENDS, KEY, ROW_ID, EdgeType
from kg.tables import Output
from kg.values import wire_type

ROWS = 50_000
TESTS: dict[str, Callable[..., pa.Array]] = {"min": pc.greater_equal, "max": pc.less_equal}


def fulfilling(table: pa.Table, bounds: Sequence[Bound]) -> pa.Table:
    """The rows whose properties are what all bounds say; a null fulfils none."""
    masks = [_holds(table[bound.name].cast(wire_type(bound.type)), bound.values) for bound in bounds]
    return table.filter(reduce(pc.and_, masks)) if masks else table


def _holds(column: pa.ChunkedArray, values: Mapping[str, object]) -> pa.ChunkedArray:
    tests = [
        pc.is_in(column, value_set=pa.array(wanted, column.type))
        if test == "one_of"
        else TESTS[test](column, pa.scalar(wanted))
        for test, wanted in values.items()
    ]
    return reduce(pc.and_, tests)


def keys_of(tables: Output, label: str, bounds: Sequence[Bound]) -> pa.Array:
    """The keys of the nodes of a label that fulfil all bounds."""
    rows = tables.read(f"nodes/{label}", [KEY.name, *(bound.name for bound in bounds)])
    return fulfilling(rows, bounds)[KEY.name].combine_chunks()


def node_batches(tables: Output, ends: Ends, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The nodes of a snapshot, in its order."""
    rows = tables.read(f"nodes/{ends.label}", schema.names)
    found = pc.index_in(ends.keys, value_set=rows[KEY.name].combine_chunks())
    if found.null_count:
        raise changed(f"{found.null_count} nodes of {ends.label} are new")
    for start in range(0, len(ends), ROWS):
        yield from rows.take(found.slice(start, ROWS)).select(schema.names).combine_chunks().to_batches()


def edge_batches(
    tables: Output,
    edge: EdgeType,
    ends: Mapping[str, Ends],
    schema: pa.Schema,
    bounds: Sequence[Bound],
    until: int | None,
) -> Iterable[pa.RecordBatch]:
    """The relationships of a type whose ends are in the snapshot, sorted by ends and identity."""
    rows = fulfilling(tables.read(f"relationships/{edge.name}"), bounds)
    if until is not None and "last" in rows.column_names:
        early = pc.less_equal(rows["last"].cast(pa.int64()), until)
        rows = rows.filter(pc.fill_null(early, True))  # untimed interactions are on the near side of every moment
    for end, label, index in zip(ENDS, (edge.source, edge.target), ("src", "dst"), strict=True):
        found = pc.index_in(rows[end.name].combine_chunks(), value_set=ends[label].keys)
        rows = rows.append_column(index, pc.fill_null(found, -1).cast(pa.int64()))
    inside = np.minimum(rows["src"].to_numpy(), rows["dst"].to_numpy()) >= 0
    if not inside.all() and not (ends[edge.source].restricted or ends[edge.target].restricted):
        raise changed(f"ends of {int((~inside).sum())} relationships {edge.type} vanished")
    rows = rows.filter(pa.array(inside)).select(schema.names)
    ordered = rows.sort_by([("src", "ascending"), ("dst", "ascending"), (ROW_ID.name, "ascending")])
    return ordered.combine_chunks().to_batches(max_chunksize=ROWS)
