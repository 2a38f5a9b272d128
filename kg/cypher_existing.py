"""Cypher over the nodes and relationships of the user's own, as pure functions of the graph's types.

What is theirs has no `_hash`, or has `_adopted` beside it: on a node a list of what we added to it (``key``,
``domain``, a label of a side), on a relationship true. What we loaded has a `_hash` and no `_adopted`.
"""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from kg.cypher import RECOMMENDED, SIDE_LABELS, VECTORS, quote
from kg.cypher_load import ends_of_row
from kg.schema import EdgeType
from kg.values import into

EVENT_MARKS = ("positive", "last")
"""What relationships of the user's own get that are interactions: queries on the graph ask for them."""


def theirs(variable: str) -> str:
    """Whether a node or relationship is the user's own."""
    return f"({variable}._hash IS NULL OR {variable}._adopted IS NOT NULL)"


def nodes(label: str) -> str:
    """Matches the user's own nodes of a label."""
    return f"MATCH (n:{quote(label)}) WHERE {theirs('n')}"


def relationships(edge: EdgeType) -> str:
    """Matches the user's own relationships of a type."""
    return f"MATCH (a:{quote(edge.source)})-[n:{quote(edge.type)}]->(b:{quote(edge.target)}) WHERE {theirs('n')}"


def count(matched: str) -> str:
    """How many elements a ``MATCH`` of `n` finds."""
    return f"{matched} RETURN count(*)"


def value_types(matched: str) -> str:
    """Each property of elements, but for ``$without``, with each type that its values have."""
    return (
        f"{matched} UNWIND keys(n) AS name WITH name, n WHERE NOT (name STARTS WITH '_' OR name IN $without) "
        "RETURN DISTINCT name, valueType(n[name])"
    )


def repeated(label: str, key: str) -> str:
    """Keys, as text, that several of the user's nodes have, and how many do; the first ``$limit``."""
    return (
        f"{nodes(label)} AND n.{quote(key)} IS NOT NULL WITH toString(n.{quote(key)}) AS key, count(*) AS times "
        "WHERE times > 1 RETURN key, times ORDER BY key LIMIT $limit"
    )


def with_other_label(label: str, others: Sequence[str]) -> str:
    """How many of the user's nodes have each other label too."""
    either = "|".join(map(quote, others))
    return (
        f"{nodes(label)} AND n:{either} UNWIND labels(n) AS other WITH other WHERE other IN $others "
        "RETURN other, count(*) ORDER BY other"
    )


LABELS = "CALL db.labels() YIELD label RETURN label ORDER BY label"


def types_between(source: str, target: str) -> str:
    """The types of the relationships from one label to another."""
    return f"MATCH (:{quote(source)})-[r]->(:{quote(target)}) RETURN DISTINCT type(r) ORDER BY type(r)"


def rows(matched: str, columns: Mapping[str, str]) -> str:
    """The number of each element within the database, then the values of these expressions."""
    values = "".join(f", {value}" for value in columns.values())
    return f"{matched} RETURN toInteger(split(elementId(n), ':')[2]){values}"


def key_text(variable: str, key: str) -> str:
    """A node's key as we hold it."""
    return f"toString({variable}.{quote(key)})"


def element_prefix(matched: str) -> str:
    """What the element ids begin with to which a number is added."""
    return f"{matched} WITH n LIMIT 1 WITH split(elementId(n), ':') AS parts RETURN parts[0] + ':' + parts[1] + ':'"


def follow_keys(label: str, key: str) -> str:
    """Gives marked nodes whose own key is another one by now that key as a mark; returns how many."""
    return (
        f"MATCH (n:{quote(label)}) WHERE n._adopted IS NOT NULL AND n.key <> {key_text('n', key)} "
        "WITH collect(n) AS changed FOREACH (n IN changed | REMOVE n.key) "
        f"FOREACH (n IN changed | SET n.key = {key_text('n', key)}) RETURN size(changed)"
    )


def restore_keys(label: str, key: str) -> str:
    """Gives nodes that somebody stripped of our marks their key again, where relationships of ours hang on them.

    What was added to them before counts as added again; returns how many.
    """
    sides = ", ".join(f"'{side}'" for side in SIDE_LABELS.values() if side != label)
    return (
        f"MATCH (n:{quote(label)}) WHERE n._adopted IS NULL AND n.key IS NULL AND n.{quote(key)} IS NOT NULL "
        "AND EXISTS { (n)-[r]-() WHERE r._hash IS NOT NULL } "
        "SET n._adopted = ['key'] + CASE WHEN n.domain IS NULL THEN ['domain'] ELSE [] END "
        f"+ [x IN [{sides}] WHERE x IN labels(n)], n.key = {key_text('n', key)} RETURN count(*)"
    )


def release_keyless(label: str, key: str, names: Sequence[str]) -> str:
    """As `release_nodes`, for marked nodes that have lost their own key; relationships that we loaded go."""
    return (
        f"MATCH (n:{quote(label)}) WHERE n._hash IS NOT NULL AND n._adopted IS NOT NULL AND n.{quote(key)} IS NULL "
        "CALL (n) { MATCH (n)-[r]-() WHERE r._hash IS NOT NULL AND r._adopted IS NULL DELETE r } "
        "CALL (n) { MATCH (n)-[r]-() WHERE r._adopted IS NOT NULL REMOVE r._hash, r._adopted, r.row_id } "
        f"{_released(names)}"
    )


def adopt_nodes(label: str, key: str, side: str, domain: str | None) -> str:
    """Rows of (key, hash, element id): marks nodes; returns how many were there with that key."""
    own = SIDE_LABELS.get(side)
    added = {
        "key": "n.key IS NULL" if key != "key" else None,
        own: f"NOT n:{own}" if own and own != label else None,
        "domain": "n.domain IS NULL" if domain else None,
    }
    names = ", ".join(f"CASE WHEN {absent} THEN '{name}' END" for name, absent in added.items() if name and absent)
    marks = [f"n._adopted = coalesce(n._adopted, [x IN [{names}] WHERE x IS NOT NULL])", "n._hash = row[1]"]
    marks += ["n.key = row[0]"] if key != "key" else []
    marks += [f"n:{own}"] if own and own != label else []
    marks += ["n.domain = $domain"] if domain else []
    return (
        f"UNWIND $rows AS row MATCH (n) WHERE elementId(n) = row[2] AND n:{quote(label)} AND {theirs('n')} "
        f"AND {key_text('n', key)} = row[0] SET {', '.join(marks)} RETURN count(*)"
    )


def release_nodes(label: str, names: Sequence[str]) -> str:
    """Rows of (key): takes all that we added from the user's nodes; returns how many there were.

    `names` are the features and other properties that we set on all of them.
    """
    return (
        f"UNWIND $rows AS row MATCH (n:{quote(label)} {{key: row[0]}}) "
        f"WHERE n._hash IS NOT NULL AND n._adopted IS NOT NULL {_released(names)}"
    )


def _released(names: Sequence[str]) -> str:
    """Takes from nodes `n` what we added, and the recommendations, which are ours too."""
    listed = {side: f"REMOVE n:{side}" for side in SIDE_LABELS.values()}
    listed |= {name: f"REMOVE n.{name}" for name in ("key", "domain")}
    taken = " ".join(
        f"FOREACH (_ IN CASE WHEN '{name}' IN added THEN [1] ELSE [] END | {remove})" for name, remove in listed.items()
    )
    always = ", ".join(f"n.{quote(name)}" for name in ("_hash", "_adopted", *names, *VECTORS) if name not in listed)
    return (
        f"CALL (n) {{ MATCH (n)-[r:{RECOMMENDED}]-() WHERE r.version IS NOT NULL DELETE r }} "
        f"WITH n, n._adopted AS added {taken} REMOVE {always} RETURN count(*)"
    )


def adopt_relationships(edge: EdgeType, events: Mapping[str, pa.DataType], *, of_pair: bool) -> str:
    """Rows of (from, to, row id, hash, element id, *events): marks relationships; returns how many were there.

    What stood for the same row before loses its marks. With `of_pair` a row stands for all relationships of two
    nodes, and each of these gets the `events`.
    """
    values = {name: into(f"row[{position}]", type_) for position, (name, type_) in enumerate(events.items(), 5)}
    others = f"MATCH (a)-[o:{quote(edge.type)}]->(b) WHERE o <> r"
    shared = ", ".join(f"o.{name} = {value}" for name, value in values.items())
    share = f"CALL (a, b, r, row) {{ {others} SET {shared} }} " if of_pair and values else ""
    own = "".join(f", r.{name} = {value}" for name, value in values.items())
    return (
        f"UNWIND $rows AS row {ends_of_row(edge)} MATCH (a)-[r:{quote(edge.type)}]->(b) "
        f"WHERE elementId(r) = row[4] AND {theirs('r')} CALL (a, b, r, row) {{ {others} "
        "AND o._adopted IS NOT NULL AND o.row_id = row[2] REMOVE o._hash, o._adopted, o.row_id } "
        f"{share}SET r._adopted = true, r.row_id = row[2], r._hash = row[3]{own} RETURN count(*)"
    )


def release_relationships(edge: EdgeType, *, of_pair: bool) -> str:
    """Rows of (from, to, row id): takes our marks from the user's relationships; returns how many there were."""
    events = [f"o.{name}" for name in EVENT_MARKS]
    every = f"MATCH (a)-[o:{quote(edge.type)}]->(b)" + ("" if of_pair else " WHERE o = r")
    return (
        f"UNWIND $rows AS row {ends_of_row(edge)} MATCH (a)-[r:{quote(edge.type)} {{row_id: row[2]}}]->(b) "
        f"WHERE r._hash IS NOT NULL AND r._adopted IS NOT NULL CALL (a, b, r) {{ {every} REMOVE {', '.join(events)} }} "
        "REMOVE r._hash, r._adopted, r.row_id RETURN count(*)"
    )


def unmarked(label: str, key: str) -> str:
    """Element id and own key of the nodes of a label that no load has marked."""
    return (
        f"MATCH (n:{quote(label)}) WHERE n._hash IS NULL AND n.{quote(key)} IS NOT NULL "
        f"RETURN elementId(n), {key_text('n', key)}"
    )


DELETE = "UNWIND $elements AS id MATCH (n) WHERE elementId(n) = id DETACH DELETE n RETURN count(*)"
