"""Cypher of the graph that we own, as pure functions of its types: one statement a shape.

Values are parameters, names are escaped. Statements that take ``$rows`` (lists of values, as lists cost half of what
maps do) return one number. What we wrote carries `_hash`; nodes and relationships without it are another's and are
neither exported nor deleted. Nodes that were there before us carry `_adopted` and are given back, never deleted.
"""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from kg.schema import EdgeType
from kg.values import into, out_of

PROJECT = "CrossGraphProject"
VERSION = "EmbeddingVersion"
FORMER_VERSION = "FormerEmbeddingVersion"
RECOMMENDED = "RECOMMENDED"
SIDE_LABELS = {"user": "User", "item": "Item"}
VIEWS = ("h", "v", "c", "z")
SLOTS = ("a", "b")
VECTORS = tuple(f"{view}_{slot}" for view in VIEWS for slot in SLOTS)
LIMIT = 10_000
IN_TRANSACTIONS = f"IN TRANSACTIONS OF {LIMIT} ROWS"

FIND_PROJECT = f"MATCH (p:{PROJECT} {{key: 'project'}}) RETURN p.name, p.format"
# With `key` unique, of two projects that claim at once one gets the other's name back.
CLAIM_PROJECT = (
    f"MERGE (p:{PROJECT} {{key: 'project'}}) ON CREATE SET p.name = $name, p.format = $format RETURN p.name, p.format"
)
READ_LEDGER = f"MATCH (p:{PROJECT} {{key: 'project'}}) RETURN p.ledger"
WRITE_LEDGER = f"MATCH (p:{PROJECT} {{key: 'project'}}) SET p.ledger = $ledger RETURN count(*)"

# Temporal values as text: the driver takes half a second to make objects of a thousand of them.
_AS_TEXT = (
    "[k IN keys({0}) WHERE NOT k IN $without | "
    "[k, CASE WHEN {0}[k] IS :: ZONED DATETIME OR {0}[k] IS :: LOCAL DATETIME THEN toString({0}[k]) ELSE {0}[k] END]]"
)
OUR_NODES = f"MATCH (n) WHERE n._hash IS NOT NULL RETURN labels(n), {_AS_TEXT.format('n')}"
OUR_RELATIONSHIPS = (
    "MATCH (a)-[r]->(b) WHERE r._hash IS NOT NULL "
    f"RETURN labels(a), a.key, type(r), labels(b), b.key, {_AS_TEXT.format('r')}"
)


def quote(name: str) -> str:
    r"""A name between backticks; `ValueError` for one that Cypher cannot quote (empty, or with ``\u``)."""
    # Cypher reads unicode escapes before anything else, between backticks too: \u0060 would end the name.
    if not name or "\\u" in name or "\0" in name:
        raise ValueError(f"{name!r} cannot be a name in Neo4j")
    return "`" + name.replace("`", "``") + "`"


def unique_key(label: str) -> str:
    """Makes `key` unique within a label, which indexes it."""
    return f"CREATE CONSTRAINT IF NOT EXISTS FOR (n:{quote(label)}) REQUIRE n.key IS UNIQUE"


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


def merge_relationships(edge: EdgeType, columns: Mapping[str, pa.DataType]) -> str:
    """Rows of (from, to, row_id, hash, *columns): as `merge_nodes`; never makes an end, skips rows that lack one."""
    return (
        f"UNWIND $rows AS row {_ends(edge)} MERGE (a)-[r:{quote(edge.type)} {{row_id: row[2]}}]->(b) "
        "WITH r, row WHERE r._hash IS NULL OR r._hash <> row[3] "
        f"SET {_assign('r', columns, 4)}r._hash = row[3] RETURN count(*)"
    )


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


def count_nodes(label: str) -> str:
    """How many nodes of a label are ours."""
    return f"MATCH (n:{quote(label)}) WHERE n._hash IS NOT NULL RETURN count(*)"


def count_relationships(edge: EdgeType, until: bool = False) -> str:
    """How many relationships of a type are ours, with `until` those that `select_edges` returns."""
    return f"MATCH {_pattern(edge)} WHERE {_wanted(until)} RETURN count(*)"


def node_keys(label: str) -> str:
    """The keys of our nodes of a label."""
    return f"MATCH (n:{quote(label)}) WHERE n._hash IS NOT NULL RETURN n.key AS key"


def relationship_identities(edge: EdgeType) -> str:
    """Ends and identity of our relationships of a type."""
    return (
        f"MATCH {_pattern(edge)} WHERE r._hash IS NOT NULL "
        "RETURN a.key AS from_key, b.key AS to_key, r.row_id AS row_id"
    )


def delete_nodes(label: str) -> str:
    """Rows of (key): deletes nodes that we made and that have no relationships but ours; returns how many."""
    return (
        f"UNWIND $rows AS row MATCH (n:{quote(label)} {{key: row[0]}}) "
        "WHERE n._hash IS NOT NULL AND n._adopted IS NULL "
        f"AND NOT EXISTS {{ (n)-[r]-() WHERE r._hash IS NULL AND type(r) <> '{RECOMMENDED}' }} "
        "DETACH DELETE n RETURN count(*)"
    )


def disown_nodes(label: str) -> str:
    """Rows of (key): leaves nodes where they are as another's, out of snapshots and vector indexes."""
    sides = "".join(f", n:{other}" for other in SIDE_LABELS.values() if other != label)
    return (
        f"UNWIND $rows AS row MATCH (n:{quote(label)} {{key: row[0]}}) WHERE n._hash IS NOT NULL "
        f"REMOVE n._hash, n._adopted{sides} RETURN count(*)"
    )


def delete_relationships(edge: EdgeType) -> str:
    """Rows of (from, to, row_id): deletes our relationships; returns how many."""
    return (
        f"UNWIND $rows AS row {_ends(edge)} MATCH (a)-[r:{quote(edge.type)} {{row_id: row[2]}}]->(b) "
        "WHERE r._hash IS NOT NULL DELETE r RETURN count(*)"
    )


def drop_node_property(label: str, name: str) -> str:
    """Removes a property from our nodes, in transactions of its own; returns how many had it."""
    return (
        f"MATCH (n:{quote(label)}) WHERE n._hash IS NOT NULL AND n.{quote(name)} IS NOT NULL "
        f"CALL (n) {{ REMOVE n.{quote(name)} }} {IN_TRANSACTIONS} RETURN count(*)"
    )


def drop_relationship_property(edge: EdgeType, name: str) -> str:
    """Removes a property from our relationships, in transactions of its own; returns how many had it."""
    return (
        f"MATCH {_pattern(edge)} WHERE r._hash IS NOT NULL AND r.{quote(name)} IS NOT NULL "
        f"CALL (r) {{ REMOVE r.{quote(name)} }} {IN_TRANSACTIONS} RETURN count(*)"
    )


def select_nodes(label: str, columns: Mapping[str, pa.DataType]) -> str:
    """Our nodes of a label by key, which the constraint's index hands out in order; a column each property."""
    values = ", ".join(f"{out_of('n.' + quote(name), type_)} AS {quote(name)}" for name, type_ in columns.items())
    # Cypher takes no index for an order alone; the comparison that is true of every string makes it.
    return (
        f"MATCH (n:{quote(label)}) USING INDEX n:{quote(label)}(key) WHERE n.key >= '' AND n._hash IS NOT NULL "
        f"WITH n ORDER BY n.key RETURN {values}"
    )


def select_edges(edge: EdgeType, columns: Mapping[str, pa.DataType], until: bool = False) -> str:
    """For each key of ``$keys``, in lists of up to 10,000, its relationships as lists of (to, *columns)."""
    values = ", ".join(["b.key", *(out_of(f"r.{quote(c)}", t) for c, t in columns.items())])
    return (
        f"UNWIND range(0, size($keys) - 1) AS position MATCH (a:{quote(edge.source)} {{key: $keys[position]}}) "
        f"CALL (a) {{ MATCH (a)-[r:{quote(edge.type)}]->(b:{quote(edge.target)}) WHERE {_wanted(until)} "
        f"RETURN collect([{values}]) AS edges }} "
        f"UNWIND range(0, size(edges) - 1, {LIMIT}) AS start "
        f"RETURN position, edges[start .. start + {LIMIT}] AS edges"
    )


def _assign(variable: str, columns: Mapping[str, pa.DataType], first: int) -> str:
    """Assignments of the row's values from position `first` on; a null removes the property."""
    return "".join(
        f"{variable}.{quote(name)} = {into(f'row[{i}]', type_)}, "
        for i, (name, type_) in enumerate(columns.items(), first)
    )


def _ends(edge: EdgeType) -> str:
    return f"MATCH (a:{quote(edge.source)} {{key: row[0]}}) MATCH (b:{quote(edge.target)} {{key: row[1]}})"


def _pattern(edge: EdgeType) -> str:
    return f"(a:{quote(edge.source)})-[r:{quote(edge.type)}]->(b:{quote(edge.target)})"


def _wanted(until: bool) -> str:
    """Untimed interactions are on the near side of every moment."""
    cut = " AND (r.last IS NULL OR r.last <= datetime({epochMillis: 0}) + duration({microseconds: $until}))"
    return "r._hash IS NOT NULL" + (cut if until else "")
