"""Cypher of the graph that we own, as pure functions of its types: one statement a shape.

Values are parameters, names are escaped. Statements that take ``$rows`` (lists of values, as lists cost half of what
maps do) return one number. What we wrote carries `_hash`; nodes and relationships without it are another's and are
neither exported nor deleted. Nodes that were there before us carry `_adopted` and are given back, never deleted.
"""

from kg.schema import EdgeType

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


def count_nodes(label: str) -> str:
    """How many nodes of a label are ours."""
    return f"MATCH (n:{quote(label)}) WHERE n._hash IS NOT NULL RETURN count(*)"


def count_relationships(edge: EdgeType) -> str:
    """How many relationships of a type are ours."""
    return f"MATCH {_pattern(edge)} WHERE r._hash IS NOT NULL RETURN count(*)"


def node_keys(label: str) -> str:
    """The keys of our nodes of a label."""
    return f"MATCH (n:{quote(label)}) WHERE n._hash IS NOT NULL RETURN n.key AS key"


def _pattern(edge: EdgeType) -> str:
    return f"(a:{quote(edge.source)})-[r:{quote(edge.type)}]->(b:{quote(edge.target)})"
