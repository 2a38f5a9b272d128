"""Which nodes a change reaches within k hops: what the learner's side must refresh, found without the database.

A network of L layers gives a node a vector made of what lies within L hops; a change of its degree reaches one further.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from kg.schema import ENDS, KEY, EdgeType
from kg.tables import Output

AFFECTED = pa.schema([KEY, pa.field("hops", pa.int32(), nullable=False)])
"""A node of the new tables and how many hops it is from the next change: 0 for what changed, or lost an edge."""


def affected(tables: Output, seeds: Mapping[str, pa.Array], hops: int) -> Iterator[tuple[str, pa.Table]]:
    """For each label of `tables` its nodes within `hops` hops of `seeds` (keys by label; unknown ones are ignored)."""
    labels = [name.removeprefix("nodes/") for name in tables.tables("nodes/")]
    keys = {label: tables.read(f"nodes/{label}", [KEY.name])[KEY.name].combine_chunks() for label in labels}
    starts = dict(zip(labels, np.cumsum([0, *(len(keys[label]) for label in labels)]), strict=False))
    distance = np.full(sum(map(len, keys.values())), -1, np.int32)
    for label, some in seeds.items():
        if label in keys and len(some):
            distance[starts[label] + _positions(some, keys[label])] = 0
    if (distance == 0).any() and (distance < 0).any() and hops:
        _spread(distance, _adjacency(tables, keys, starts), hops)
    for label in labels:
        found = distance[starts[label] : starts[label] + len(keys[label])]
        near = np.flatnonzero(found >= 0)
        yield label, pa.table([keys[label].take(pa.array(near)), pa.array(found[near])], schema=AFFECTED)


def _spread(distance: np.ndarray, adjacency: sparse.csr_matrix, hops: int) -> None:
    """Breadth first: int32[nodes], -1 where nothing has come yet."""
    for hop in range(1, hops + 1):
        frontier = (distance == hop - 1).astype(np.float32)
        reached = (adjacency @ frontier > 0) & (distance < 0)
        if not reached.any():
            return
        distance[reached] = hop


def _adjacency(tables: Output, keys: Mapping[str, pa.Array], starts: Mapping[str, np.integer]) -> sparse.csr_matrix:
    """CSR[nodes, nodes] of all relationships, both ways."""
    pairs = []
    for table in tables.tables("relationships/"):
        edge = EdgeType.parse(table.removeprefix("relationships/"))
        ends = tables.read(table, [end.name for end in ENDS])
        pairs.append(
            [
                starts[label] + _positions(ends[end.name], keys[label])
                for end, label in zip(ENDS, (edge.source, edge.target), strict=True)
            ]
        )
    rows, columns = (np.concatenate([np.empty(0, np.int64), *(pair[i] for pair in pairs)]) for i in (0, 1))
    size = sum(map(len, keys.values()))
    one_way = sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=(size, size))
    return (one_way + one_way.T).tocsr()


def _positions(some: pa.Array | pa.ChunkedArray, keys: pa.Array) -> np.ndarray:
    """Int64 positions of those that are there."""
    return pc.index_in(some, value_set=keys).drop_null().to_numpy().astype(np.int64)
