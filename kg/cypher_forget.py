"""Cypher that finds and removes a node whoever wrote it, as pure functions of its label."""

from kg.cypher import IN_TRANSACTIONS, RECOMMENDED, quote

# Properties of any type are compared: what is no string or list of strings is never in a list of strings.
ANYWHERE = (
    "WHERE any(k IN keys({0}) WHERE {0}[k] IN $keys OR "
    "({0}[k] IS :: LIST<STRING NOT NULL> NOT NULL AND any(x IN {0}[k] WHERE x IN $keys)))"
)
NODES_WITH = f"MATCH (n) {ANYWHERE.format('n')} RETURN labels(n)[0], count(*)"
RELATIONSHIPS_WITH = f"MATCH ()-[r]->() {ANYWHERE.format('r')} RETURN type(r), count(*)"
REASONS = f"MATCH ()-[r:{RECOMMENDED}]->() WHERE any(text IN $texts WHERE r.reason CONTAINS text) "
COUNT_REASONS = f"{REASONS} RETURN count(*)"
BLANK_REASONS = f"{REASONS} CALL (r) {{ SET r.reason = '' }} {IN_TRANSACTIONS} RETURN count(*)"
COMMUNITIES = "MATCH (n) WHERE n.community IS :: STRING NOT NULL RETURN DISTINCT n.community AS key"
COUNT_COMMUNITIES = "MATCH (n) WHERE n.community IN $communities RETURN count(*)"
DROP_COMMUNITIES = (
    f"MATCH (n) WHERE n.community IN $communities CALL (n) {{ REMOVE n.community }} {IN_TRANSACTIONS} RETURN count(*)"
)


def all_keys(label: str) -> str:
    """The keys of all nodes of a label, ours or not."""
    return f"MATCH (n:{quote(label)}) WHERE n.key IS :: STRING NOT NULL RETURN n.key AS key"


def count_nodes(label: str) -> str:
    """How many nodes of a label have one of ``$keys``."""
    return f"MATCH (n:{quote(label)}) WHERE n.key IN $keys RETURN count(*)"


def count_relationships(label: str) -> str:
    """The relationships of the nodes of ``$keys`` by type, whoever made them."""
    return (
        f"MATCH (n:{quote(label)})-[r]-() WHERE n.key IN $keys "
        "RETURN type(r) AS type, count(DISTINCT r) AS count ORDER BY type"
    )


def left_alone(label: str) -> str:
    """By label, the nodes that have no relationships but with the nodes of ``$keys``."""
    return (
        f"MATCH (n:{quote(label)})--(m) WHERE n.key IN $keys AND NOT (m:{quote(label)} AND m.key IN $keys) "
        f"WITH DISTINCT m WHERE NOT EXISTS {{ (m)--(o) WHERE NOT (o:{quote(label)} AND o.key IN $keys) }} "
        "RETURN labels(m)[0] AS label, count(*) AS count ORDER BY label"
    )


def texts(label: str) -> str:
    """What the nodes of ``$keys`` are called: their strings that a sentence may contain."""
    return (
        f"MATCH (n:{quote(label)}) WHERE n.key IN $keys UNWIND keys(n) AS k WITH n[k] AS text "
        "WHERE text IS :: STRING NOT NULL AND size(text) > 2 RETURN DISTINCT text"
    )


def delete_relationships(label: str) -> str:
    """Deletes all relationships of the nodes of ``$keys``, in transactions of its own."""
    return (
        f"MATCH (n:{quote(label)})-[r]-() WHERE n.key IN $keys WITH DISTINCT r "
        f"CALL (r) {{ DELETE r }} {IN_TRANSACTIONS} RETURN count(*)"
    )


def delete_nodes(label: str) -> str:
    """Deletes the nodes of ``$keys`` with what relationships they got meanwhile."""
    return f"MATCH (n:{quote(label)}) WHERE n.key IN $keys DETACH DELETE n RETURN count(*)"
