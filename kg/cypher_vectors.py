"""Cypher of what we give back to the graph, as pure functions: vectors, their indexes and versions, recommendations."""

from collections.abc import Mapping, Sequence

from kg.cypher import FORMER_VERSION, IN_TRANSACTIONS, RECOMMENDED, SIDE_LABELS, VERSION, VIEWS, quote

CURRENT = f"MATCH (v:{VERSION}) RETURN properties(v)"
FORGET_FORMER = f"MATCH (v:{FORMER_VERSION}) DELETE v RETURN count(*)"
SWITCH = (
    f"OPTIONAL MATCH (v:{VERSION}) FOREACH (old IN CASE WHEN v IS NULL THEN [] ELSE [v] END | "
    f"REMOVE old:{VERSION} SET old:{FORMER_VERSION}) CREATE (new:{VERSION}) SET new = $properties RETURN count(*)"
)
FORMER = (
    f"MATCH (f:{FORMER_VERSION}), (:{VERSION}) MATCH (n:{'|'.join(SIDE_LABELS.values())}) "
    "RETURN properties(f), count(CASE WHEN n[f.property] IS NULL THEN 1 END), count(n[f.property])"
)
# The mark says which version a user did not want: a run that makes it again leaves it where it is. Going back from
# the version that was gone back to takes the mark away.
SWAP = (
    f"MATCH (v:{VERSION}), (f:{FORMER_VERSION}) WITH v, f, v.instead_of = f.version AS undone "
    f"REMOVE v:{VERSION}, v.instead_of, f:{FORMER_VERSION} SET v:{FORMER_VERSION}, f:{VERSION}, "
    "f.instead_of = CASE WHEN undone THEN null ELSE v.version END RETURN f.version, v.version"
)
COUNT_ONLINE = (
    "SHOW VECTOR INDEXES YIELD name, state WHERE name IN $names AND state = 'ONLINE' RETURN count(*) AS online"
)

# Ours have a version; relationships of that type without one are the user's own.
COUNT_RECOMMENDED = (
    f"MATCH ()-[r:{RECOMMENDED}]->() WHERE r.version IS NOT NULL "
    "RETURN count(CASE WHEN r.version = $version THEN 1 END), count(*)"
)
DROP_RECOMMENDED = (
    f"MATCH ()-[r:{RECOMMENDED}]->() WHERE r.version <> $version "
    f"CALL (r) {{ DELETE r }} {IN_TRANSACTIONS} RETURN count(*)"
)


def index_name(side: str, slot: str) -> str:
    """The name of a side's vector index in a slot."""
    return f"crossgraph_{side}_z_{slot}"


def create_vector_index(side: str, slot: str, dimension: int) -> str:
    """A cosine index over a side's fused vectors."""
    # Quantized vectors (the default) are smaller, but a vector is then not the nearest to itself with score 1.
    return (
        f"CREATE VECTOR INDEX {index_name(side, slot)} FOR (n:{SIDE_LABELS[side]}) ON (n.z_{slot}) "
        f"OPTIONS {{indexConfig: {{`vector.dimensions`: {dimension:d}, "
        "`vector.similarity_function`: 'cosine', `vector.quantization.enabled`: false}}"
    )


def drop_vector_index(side: str, slot: str) -> str:
    """Drops that index where there is one."""
    return f"DROP INDEX {index_name(side, slot)} IF EXISTS"


def set_vectors(label: str) -> str:
    """Rows of (key, vector): sets the property ``$name``; returns of how many nodes."""
    # The procedure stores 32-bit floats, SET would store 64-bit ones; both write 2,500 vectors of 128 a second.
    return (
        f"UNWIND $rows AS row MATCH (n:{quote(label)} {{key: row[0]}}) "
        f"CALL db.create.setNodeVectorProperty(n, $name, row[1]) RETURN count(*)"
    )


def current_vectors(label: str) -> str:
    """Key and fused vector, in the current version, of those of ``$keys`` that have one."""
    return (
        f"MATCH (v:{VERSION}) UNWIND $keys AS key MATCH (n:{quote(label)} {{key: key}}) "
        "WHERE n[v.property] IS NOT NULL RETURN n.key AS key, n[v.property] AS z"
    )


def count_vectors(label: str, slot: str) -> str:
    """How many nodes of a label have each view in a slot, a column each view."""
    return f"MATCH (n:{quote(label)}) RETURN {', '.join(f'count(n.{view}_{slot}) AS {view}' for view in VIEWS)}"


def clear_vectors(slot: str) -> str:
    """Removes all vectors of a slot, in transactions of its own; returns how many nodes had any."""
    names = [f"n.{view}_{slot}" for view in VIEWS]
    return (
        f"MATCH (n) WHERE {' OR '.join(f'{name} IS NOT NULL' for name in names)} "
        f"CALL (n) {{ REMOVE {', '.join(names)} }} {IN_TRANSACTIONS} RETURN count(*)"
    )


def replace_recommendations(user: str, items: Mapping[str, Sequence[str]]) -> str:
    """Rows of (user, recommendations of the first domain, of the second, …): replaces all that a user had.

    `items` has the labels of each domain; a recommendation is a map of properties with the item's `key` as ``item``.
    Returns how many were made.
    """
    parts = [
        f"CALL (u, row) {{ UNWIND row[{i}] AS made MATCH (i:{'|'.join(quote(x) for x in labels)} {{key: made.item}}) "
        f"CREATE (u)-[r:{RECOMMENDED}]->(i) SET r = made.properties, r.version = $version RETURN count(*) AS n{i} }}"
        for i, labels in enumerate(items.values(), 1)
    ]
    total = " + ".join(f"n{i}" for i in range(1, len(items) + 1))
    return (
        f"UNWIND $rows AS row MATCH (u:{quote(user)} {{key: row[0]}}) "
        f"CALL (u) {{ MATCH (u)-[old:{RECOMMENDED}]->() WHERE old.version IS NOT NULL DELETE old }} "
        f"{' '.join(parts)} RETURN sum({total})"
    )
