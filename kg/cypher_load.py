"""Cypher by which a load writes: one statement a shape, pure functions of the graph's types, as in `kg.cypher`.

All take ``$rows`` (lists of values) and return one number, unless they say otherwise. Nodes that were there before us
are adopted (`_adopted`) and given back, never deleted; relationships of others are never touched.
"""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from kg.cypher import IN_TRANSACTIONS, LIMIT, PROJECT, RECOMMENDED, SIDE_LABELS, quote
from kg.schema import EdgeType
from kg.values import into, out_of

BATCH = "CrossGraphBatch"
"""Label of the ledger's nodes: one a committed batch, gone when its load is finished."""
_MARKER = f"MATCH (p:{PROJECT} {{key: 'project'}})"

READ_MARKER = f"{_MARKER} RETURN p.load, p.loading, p.held, p.schema, p.accepted"
WRITE_MARKER = f"{_MARKER} SET p += $properties RETURN count(*)"
UNIQUE_BATCH = f"CREATE CONSTRAINT `crossgraph batch` IF NOT EXISTS FOR (b:{BATCH}) REQUIRE b.id IS UNIQUE"
ADD_BATCH = (
    f"CREATE (b:{BATCH} {{id: $id, load: $load, table: $table, step: $step, batch: $batch, changed: $changed, "
    "created: $created, refused: $refused}) RETURN count(*)"
)
ADD_BATCH_IN_TURN = f"OPTIONAL {_MARKER} SET p._turn = true REMOVE p._turn WITH count(*) AS turn {ADD_BATCH}"
"""The same, last in its transaction, for those that each create relationships: they go on one by one to their end.

A commit links new relationships with their neighbours in the chains of both nodes, so two commits can lock each other
out even where they have no node in common. Where the marker node is lacking nobody waits.
"""
READ_BATCHES = f"MATCH (b:{BATCH} {{load: $load}}) RETURN b.id, b.changed, b.created, b.refused"
FIND_BATCH = f"MATCH (b:{BATCH} {{id: $id}}) RETURN b.changed, b.created, b.refused"
COUNT_NODES = f"MATCH (n) WHERE NOT n:{PROJECT} RETURN count(n)"
"""All nodes but our marker."""
COUNT_INDEXES = (
    "SHOW INDEXES YIELD type, labelsOrTypes, properties WHERE type <> 'LOOKUP' "
    "AND NOT (type = 'RANGE' AND properties = ['key']) RETURN count(*)"
)
"""All indexes but those that every database has, and those of constraints like ours."""
DROP_BATCHES = f"MATCH (b:{BATCH}) WHERE b.load <> $keep CALL (b) {{ DELETE b }} {IN_TRANSACTIONS} RETURN count(*)"


def unique_key(label: str) -> str:
    """Makes `key` unique within a label, which indexes it; one of the user's own that does the same stays theirs."""
    name = quote(f"crossgraph key {label}")
    return f"CREATE CONSTRAINT {name} IF NOT EXISTS FOR (n:{quote(label)}) REQUIRE n.key IS UNIQUE"


def drop_unique_key(label: str) -> str:
    """Takes back what `unique_key` made."""
    return f"DROP CONSTRAINT {quote(f'crossgraph key {label}')} IF EXISTS"


def create_nodes(label: str, side: str, columns: Mapping[str, pa.DataType]) -> str:
    """Rows of (key, hash, *columns): creates nodes that are known to be new; a key that is there fails the batch."""
    own = SIDE_LABELS.get(side)
    labels = quote(label) + (f":{own}" if own and own != label else "")
    return f"UNWIND $rows AS row CREATE (n:{labels} {{key: row[0], _hash: row[1]{_map(columns, 2)}}}) RETURN count(*)"


def merge_nodes(label: str, side: str, columns: Mapping[str, pa.DataType]) -> str:
    """Rows of (key, hash, *columns): creates nodes, rewrites those whose hash differs; returns how many of both."""
    own = SIDE_LABELS.get(side)
    labels = [f"SET n:{own}"] if own and own != label else []
    labels += [f"REMOVE n:{other}" for other in SIDE_LABELS.values() if other not in (own, label)]
    return (
        f"UNWIND $rows AS row MERGE (n:{quote(label)} {{key: row[0]}}) ON CREATE SET n._hash = 0 "
        "WITH n, row WHERE n._hash IS NULL OR n._hash <> row[1] "
        "SET n._adopted = CASE WHEN n._hash IS NULL THEN true ELSE n._adopted END, "
        f"{_assign('n', columns, 2)}n._hash = row[1] {' '.join(labels)} RETURN count(*)"
    )


def create_relationships(edge: EdgeType, columns: Mapping[str, pa.DataType]) -> str:
    """Rows of (source, target, row_id, hash, *columns), the ends as positions in ``$sources`` and ``$targets``.

    The lists hold each key once, so it is looked up once a batch. Creates what is known to be new; where an end is
    lacking it creates nothing.
    """
    return (
        f"{_looked_up('sources', edge.source)} {_looked_up('targets', edge.target)} "
        f"WITH sources, targets WHERE size(sources) = size($sources) AND size(targets) = size($targets) "
        f"UNWIND $rows AS row WITH sources[row[0]] AS a, targets[row[1]] AS b, row "
        f"CREATE (a)-[r:{quote(edge.type)} {{row_id: row[2], _hash: row[3]{_map(columns, 4)}}}]->(b) RETURN count(*)"
    )


def update_relationships(edge: EdgeType, columns: Mapping[str, pa.DataType]) -> str:
    """Rows of (from, to, row_id, hash, *columns): rewrites our relationships; returns how many there were."""
    return f"UNWIND $rows AS row {_ours(edge)} SET {_assign('r', columns, 4)}r._hash = row[3] RETURN count(*)"


def set_node_property(label: str, name: str, type_: pa.DataType) -> str:
    """Rows of (key, value): sets one property of our nodes; returns how many there were."""
    return f"UNWIND $rows AS row {_ours_of(label)} SET n.{quote(name)} = {into('row[1]', type_)} RETURN count(*)"


def set_relationship_property(edge: EdgeType, name: str, type_: pa.DataType) -> str:
    """Rows of (from, to, row_id, value): sets one property of our relationships; returns how many there were."""
    return f"UNWIND $rows AS row {_ours(edge)} SET r.{quote(name)} = {into('row[3]', type_)} RETURN count(*)"


def set_features(label: str, names: Sequence[str]) -> str:
    """Rows of (key, *names): sets what differs; returns how many nodes that were."""
    differs = " OR ".join(
        f"(n.{quote(x)} IS NULL) <> (row[{i}] IS NULL) OR n.{quote(x)} <> row[{i}]" for i, x in enumerate(names, 1)
    )
    assign = ", ".join(f"n.{quote(x)} = row[{i}]" for i, x in enumerate(names, 1))
    return (
        f"UNWIND $rows AS row MATCH (n:{quote(label)} {{key: row[0]}}) WITH n, row WHERE {differs} "
        f"SET {assign} RETURN count(*)"
    )


def delete_nodes(label: str) -> str:
    """Rows of (key): deletes our nodes that hold no relationship of others; leaves the rest as another's.

    What was there before us, and what others have relationships with, loses `_hash` and our labels of sides, and so
    leaves snapshots and vector indexes. Returns how many were left.
    """
    sides = "".join(f", n:{other}" for other in SIDE_LABELS.values() if other != label)
    held = f"EXISTS {{ (n)-[r]-() WHERE r._hash IS NULL AND type(r) <> '{RECOMMENDED}' }}"
    return (
        f"UNWIND $rows AS row {_ours_of(label)} "
        f"WITH n, n._adopted IS NOT NULL OR {held} AS stays "
        f"CALL (n, stays) {{ WITH n, stays WHERE stays REMOVE n._hash, n._adopted{sides} }} "
        "CALL (n, stays) { WITH n, stays WHERE NOT stays DETACH DELETE n } "
        "RETURN count(CASE WHEN stays THEN 1 END)"
    )


def delete_relationships(edge: EdgeType) -> str:
    """Rows of (from, to, row_id): deletes our relationships; returns how many."""
    return f"UNWIND $rows AS row {_ours(edge)} DELETE r RETURN count(*)"


def drop_node_property(label: str, name: str) -> str:
    """Removes a property from our nodes, in transactions of its own; returns how many had it."""
    return (
        f"MATCH (n:{quote(label)}) WHERE n._hash IS NOT NULL AND n.{quote(name)} IS NOT NULL "
        f"CALL (n) {{ REMOVE n.{quote(name)} }} {IN_TRANSACTIONS} RETURN count(*)"
    )


def drop_relationship_property(edge: EdgeType, name: str) -> str:
    """Removes a property from our relationships, in transactions of its own; returns how many had it."""
    return (
        f"MATCH (:{quote(edge.source)})-[r:{quote(edge.type)}]->(:{quote(edge.target)}) "
        f"WHERE r._hash IS NOT NULL AND r.{quote(name)} IS NOT NULL "
        f"CALL (r) {{ REMOVE r.{quote(name)} }} {IN_TRANSACTIONS} RETURN count(*)"
    )


def count_label(label: str) -> str:
    """How many nodes have a label, ours or not: Neo4j has it in store."""
    return f"MATCH (n:{quote(label)}) RETURN count(n)"


def count_type(edge: EdgeType) -> str:
    """How many relationships of a type start from a label, ours or not: Neo4j has it in store."""
    return f"MATCH (:{quote(edge.source)})-[r:{quote(edge.type)}]->() RETURN count(r)"


def together(counts: Sequence[str]) -> str:
    """One statement for many counts: a list of them, in their order."""
    calls = " ".join(f"CALL () {{ {count} AS c{i} }}" for i, count in enumerate(counts))
    return f"{calls} RETURN [{', '.join(f'c{i}' for i in range(len(counts)))}]"


def page_of_nodes(label: str, columns: Mapping[str, pa.DataType], *, first: bool) -> str:
    """Up to ``$limit`` of our nodes in the order of their keys, after ``$after``: one row of lists, a list a column."""
    values = ", ".join(
        f"collect([{out_of('n.' + quote(name), type_)}]) AS {quote(name)}" for name, type_ in columns.items()
    )
    return f"{_page('n', label, first)} WITH n WHERE n._hash IS NOT NULL RETURN {values}"


def last_of_page(label: str, *, first: bool) -> str:
    """The last key of such a page of all nodes of a label, ours or not; null behind the last page."""
    return f"{_page('n', label, first)} RETURN max(n.key)"


def page_of_relationships(edge: EdgeType, *, first: bool) -> str:
    """The identities of our relationships of the nodes of one page, in lists of up to 10,000 a row.

    Rows of (source, identities, targets, hashes).
    """
    return (
        f"{_page('a', edge.source, first)} "
        f"CALL (a) {{ MATCH (a)-[r:{quote(edge.type)}]->(b:{quote(edge.target)}) WHERE r._hash IS NOT NULL "
        "RETURN collect(r.row_id) AS ids, collect(b.key) AS ends, collect(r._hash) AS hashes } "
        f"UNWIND range(0, size(ids) - 1, {LIMIT}) AS i "
        f"RETURN a.key, ids[i .. i + {LIMIT}], ends[i .. i + {LIMIT}], hashes[i .. i + {LIMIT}]"
    )


def _page(variable: str, label: str, first: bool) -> str:
    """A page of a label's nodes; the index on `key` hands them out in order."""
    return (
        f"MATCH ({variable}:{quote(label)}) WHERE {variable}.key {'>=' if first else '>'} $after "
        f"WITH {variable} ORDER BY {variable}.key LIMIT $limit"
    )


def _ours_of(label: str) -> str:
    return f"MATCH (n:{quote(label)} {{key: row[0]}}) WHERE n._hash IS NOT NULL"


def _looked_up(name: str, label: str) -> str:
    """The nodes of a list of keys, in its order; a plan that joined by hash would lose it but for the sorting."""
    return (
        f"CALL () {{ UNWIND range(0, size(${name}) - 1) AS i MATCH (n:{quote(label)} {{key: ${name}[i]}}) "
        f"WITH n ORDER BY i RETURN collect(n) AS {name} }}"
    )


def ends_of_row(edge: EdgeType) -> str:
    """Matches the ends that a row begins with."""
    return f"MATCH (a:{quote(edge.source)} {{key: row[0]}}) MATCH (b:{quote(edge.target)} {{key: row[1]}})"


def _ours(edge: EdgeType) -> str:
    return f"{ends_of_row(edge)} MATCH (a)-[r:{quote(edge.type)} {{row_id: row[2]}}]->(b) WHERE r._hash IS NOT NULL"


def _assign(variable: str, columns: Mapping[str, pa.DataType], first: int) -> str:
    """Assignments of the row's values from position `first` on; a null removes the property."""
    return "".join(
        f"{variable}.{quote(name)} = {into(f'row[{i}]', type_)}, "
        for i, (name, type_) in enumerate(columns.items(), first)
    )


def _map(columns: Mapping[str, pa.DataType], first: int) -> str:
    """The rest of a map of properties; a null makes none."""
    return "".join(
        f", {quote(name)}: {into(f'row[{i}]', type_)}" for i, (name, type_) in enumerate(columns.items(), first)
    )
