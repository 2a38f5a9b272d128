"""What a graph holds of ours, asked of the graph itself: for when the last load's output cannot be believed.

Identities and hashes are read in pages of nodes by key and as lists, 350,000 to 510,000 relationships a second, where
one row each makes 70,000. Counts come from Neo4j's own count store first and by a scan only where it says otherwise.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping

import numpy as np
import pyarrow as pa

from kg import cypher, cypher_load
from kg.load_check import columns_of, tables_of
from kg.load_state import State, hashes, state_schema, with_hashes, write_rows
from kg.schema import EdgeType
from kg.store import Store
from kg.tables import Draft, Output
from kg.values import from_wire

BASE = "base/"
NODES = 20_000
"""How many nodes a page has."""


def totals(store: Store, tables: Iterable[str]) -> dict[str, int]:
    """How many nodes of each label, or relationships of each type from its label, there are, whosever they are."""
    names = [table for table in tables if not table.startswith("features/")]
    return dict(zip(names, store.value(cypher_load.together([_count(name) for name in names])), strict=True))


def _count(table: str) -> str:
    kind, _, name = table.partition("/")
    return cypher_load.count_label(name) if kind == "nodes" else cypher_load.count_type(EdgeType.parse(name))


def ours(store: Store, table: str) -> int:
    """How many of them are ours, counted one by one."""
    kind, _, name = table.partition("/")
    query = cypher.count_nodes(name) if kind == "nodes" else cypher.count_relationships(EdgeType.parse(name))
    return int(store.value(query))


def holds(store: Store, rows: Mapping[str, int], marked: Collection[str] = ()) -> str | None:
    """The first table of which the graph does not hold so many rows; None where it holds them all.

    Of the `marked` tables all nodes and relationships are the user's own, and only those with marks count.
    """
    for table, found in totals(store, rows).items():
        if (found != rows[table] or table in marked) and ours(store, table) != rows[table]:
            return table
    return None


def read_state(store: Store, draft: Draft, tables: Output, known: list[str]) -> State:
    """The state of the tables of an output and of others that are known, written below the draft's folder.

    Features have no hash in the graph; theirs is made of their values, as the tables' columns are typed.
    """
    state = State(draft.filesystem, draft.location(BASE.rstrip("/")))
    names = sorted({*known, *tables_of(tables)})
    there = totals(store, names)
    for table in names:
        pages = _pages(store, tables, table) if there.get(table.replace("features/", "nodes/")) else iter(())
        state.rows[table], state.digests[table] = write_rows(draft, BASE, table, pages)
        draft.tables.pop(BASE + table)
    return state


def _pages(store: Store, tables: Output, table: str) -> Iterator[pa.RecordBatch]:
    kind = table.partition("/")[0]
    if kind == "features":
        return _features(store, tables, table) if table in tables.manifest.tables else iter(())
    if not ours(store, table):
        return iter(())
    return _nodes(store, table) if kind == "nodes" else _relationships(store, table)


def _keys(store: Store, label: str) -> Iterator[tuple[str, bool]]:
    """For each page of a label's nodes: the key it comes after, and whether it is the first."""
    after: str | None = ""
    first = True
    while after is not None:
        yield after, first
        after = store.value(cypher_load.last_of_page(label, first=first), {"after": after, "limit": NODES})
        first = False


def _nodes(store: Store, table: str) -> Iterator[pa.RecordBatch]:
    label, schema = table.partition("/")[2], state_schema(table)
    for after, first in _keys(store, label):
        query = cypher_load.page_of_nodes(label, {"key": pa.string(), "_hash": pa.int64()}, first=first)
        [[keys, found]] = store.rows(query, {"after": after, "limit": NODES})
        yield pa.RecordBatch.from_arrays(
            [pa.array(_flat(keys), pa.string()), pa.array(_flat(found), pa.int64())], schema=schema
        )


def _features(store: Store, tables: Output, table: str) -> Iterator[pa.RecordBatch]:
    label, columns = table.partition("/")[2], {"key": pa.string(), **columns_of(tables, table)}
    for after, first in _keys(store, label):
        [values] = store.rows(cypher_load.page_of_nodes(label, columns, first=first), {"after": after, "limit": NODES})
        arrays = [from_wire(_flat(value), t) for value, t in zip(values, columns.values(), strict=True)]
        rows = pa.RecordBatch.from_arrays(arrays, list(columns))
        present = np.zeros(rows.num_rows, bool)
        for name in list(columns)[1:]:
            present |= rows[name].is_valid().to_numpy(zero_copy_only=False)
        rows = rows.filter(pa.array(present))
        yield with_hashes(rows, hashes(tables, table, rows), state_schema(table))


def _relationships(store: Store, table: str) -> Iterator[pa.RecordBatch]:
    edge, schema = EdgeType.parse(table.partition("/")[2]), state_schema(table)
    for after, first in _keys(store, edge.source):
        query = cypher_load.page_of_relationships(edge, first=first)
        rows = store.rows(query, {"after": after, "limit": NODES})
        sources = np.repeat(np.array([row[0] for row in rows], object), [len(row[1]) for row in rows])
        columns = [[x for row in rows for x in row[position]] for position in (1, 2, 3)]
        arrays = [pa.array(columns[0], pa.string()), pa.array(sources, pa.string()), pa.array(columns[1], pa.string())]
        yield pa.RecordBatch.from_arrays([*arrays, pa.array(columns[2], pa.int64())], schema=schema)


def _flat(wrapped: list[list[object]]) -> list[object]:
    """The values of a list of lists of one: collect() leaves out nulls, unless they are wrapped."""
    return [value for [value] in wrapped]
