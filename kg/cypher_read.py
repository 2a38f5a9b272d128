"""Cypher that reads the graph for a snapshot, as pure functions of its types.

Each statement returns one row with a list a column: a list costs the driver 0.03 µs a value, a record 12 µs. Lists
are made from collected maps, for ``collect`` itself leaves nulls out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from kg.cypher import quote
from kg.schema import INSTANT, EdgeType
from kg.values import out_of

_TESTS = {"min": ">=", "max": "<=", "one_of": "IN"}


@dataclass(frozen=True)
class Bound:
    """What a property must be; the `values` of all bounds of a statement travel as the parameter ``$bounds``."""

    name: str
    type: pa.DataType
    values: Mapping[str, object]
    """By test (``min``, ``max``, ``one_of``) a value as it travels, or a list of them."""


@dataclass(frozen=True)
class Relations:
    """Relationship types between two labels that have the same columns and so need but one statement."""

    source: str
    target: str
    types: tuple[str, ...]
    columns: tuple[tuple[str, pa.DataType], ...]
    interaction: bool = False

    @property
    def edges(self) -> list[EdgeType]:
        """The edge types, in order."""
        return [EdgeType(self.source, type_, self.target) for type_ in self.types]


def totals(labels: Sequence[str], relations: Sequence[Relations]) -> str:
    """How many nodes each label and how many relationships the types have, ours or not: Neo4j keeps the counts."""
    nodes = ", ".join(f"COUNT {{ (:{quote(label)}) }}" for label in labels)
    edges = ", ".join(f"COUNT {{ (:{quote(r.source)})-[:{_types(r)}]->() }}" for r in relations)
    return f"RETURN [{nodes}], [{edges}]"


def select_keys(label: str, bounds: Sequence[Bound]) -> str:
    """The first ``$limit`` keys of our nodes from ``$start`` on, which the constraint's index hands out in order."""
    # Cypher takes no index for an order alone; the comparison makes it.
    return (
        f"MATCH (n:{quote(label)}) USING INDEX n:{quote(label)}(key) "
        f"WHERE n.key >= $start AND {_ours('n', bounds)} "
        "WITH n.key AS key ORDER BY key LIMIT $limit RETURN collect(key)"
    )


def select_nodes(label: str, columns: Mapping[str, pa.DataType]) -> str:
    """Positions in ``$keys`` of our nodes, then a list a column."""
    return (
        f"{_keyed('n', label)} WHERE n._hash IS NOT NULL "
        f"WITH collect(position) AS positions, collect({_map('n', columns)}) AS found "
        f"RETURN positions, {_lists(columns)}"
    )


def count_ends(relations: Relations) -> str:
    """Positions in ``$keys`` of nodes, and how many relationships of the types start there, ours or not."""
    return (
        f"{_keyed('a', relations.source)} WITH position, COUNT {{ (a)-[:{_types(relations)}]->() }} AS degree "
        "WHERE degree > 0 RETURN collect(position), collect(degree)"
    )


def select_all(relations: Relations, *, until: bool, bounds: Sequence[Bound]) -> str:
    """All relationships of few: lists of sources' keys, targets' keys, types, then a list a column."""
    return f"MATCH {_path(relations)} WHERE {_wanted(relations, until, bounds)} {_returned(relations, 'a.key')}"


def select_page(relations: Relations, *, until: bool, bounds: Sequence[Bound]) -> str:
    """As `select_all`, of the nodes ``$keys`` alone, with positions among them in the place of sources' keys."""
    return (
        f"{_keyed('a', relations.source)} MATCH {_path(relations, '')} WHERE {_wanted(relations, until, bounds)} "
        f"{_returned(relations, 'position')}"
    )


def select_ids(relations: Relations) -> str:
    """Neo4j's own ids of the relationships of the node ``$key``, ours or not: ``$limit`` after the first ``$skip``."""
    return (
        f"MATCH (a:{quote(relations.source)} {{key: $key}})-[r:{_types(relations)}]->() "
        "WITH r SKIP $skip LIMIT $limit RETURN collect(id(r))"
    )


def select_part(relations: Relations, *, until: bool, bounds: Sequence[Bound]) -> str:
    """As `select_page`, of the relationships with the ids ``$ids``, which start from one node."""
    # One id at a time, and the end asked of the relationship: in a small graph all would be scanned.
    return (
        "UNWIND $ids AS wanted MATCH ()-[r]->() WHERE id(r) = wanted "
        f"WITH r, endNode(r) AS b WHERE b:{quote(relations.target)} "
        f"AND {_wanted(relations, until, bounds)} "
        f"{_returned(relations, '0')}"
    )


def neighbours(relations: Relations, *, backward: bool, until: bool, bounds: Sequence[Bound]) -> str:
    """Keys at the other ends of the relationships of the nodes ``$keys``, each once."""
    near, far = ("b", "a") if backward else ("a", "b")
    label = relations.target if backward else relations.source
    return (
        f"{_keyed(near, label)} MATCH (a{'' if near == 'a' else ':' + quote(relations.source)})"
        f"-[r:{_types(relations)}]->(b{'' if near == 'b' else ':' + quote(relations.target)}) "
        f"WHERE {_wanted(relations, until, bounds)} RETURN collect(DISTINCT {far}.key)"
    )


def _keyed(variable: str, label: str) -> str:
    return f"UNWIND range(0, size($keys) - 1) AS position MATCH ({variable}:{quote(label)} {{key: $keys[position]}})"


def _types(relations: Relations) -> str:
    return "|".join(quote(type_) for type_ in relations.types)


def _path(relations: Relations, source: str | None = None) -> str:
    label = f":{quote(relations.source)}" if source is None else ""
    return f"(a{label})-[r:{_types(relations)}]->(b:{quote(relations.target)})"


def _wanted(relations: Relations, until: bool, bounds: Sequence[Bound]) -> str:
    """Untimed interactions are on the near side of every moment."""
    cut = f" AND (r.last IS NULL OR {out_of('r.last', INSTANT)} <= $until)"
    return _ours("r", bounds) + (cut if until and relations.interaction else "")


def _ours(variable: str, bounds: Sequence[Bound]) -> str:
    tests = [
        f"{out_of(f'{variable}.{quote(bound.name)}', bound.type)} {sign} $bounds[{number}].{test}"
        for number, bound in enumerate(bounds)
        for test, sign in _TESTS.items()
        if test in bound.values
    ]
    return " AND ".join([f"{variable}._hash IS NOT NULL", *tests])


def _map(variable: str, columns: Mapping[str, pa.DataType]) -> str:
    # One pass over an entity's properties; each property by itself would be a pass of its own.
    return f"{variable} {{{', '.join('.' + quote(name) for name in columns)}}}"


def _lists(columns: Mapping[str, pa.DataType]) -> str:
    return ", ".join(f"[row IN found | {out_of(f'row.{quote(name)}', type_)}]" for name, type_ in columns.items())


def _returned(relations: Relations, source: str) -> str:
    columns = dict(relations.columns)
    several = len(relations.types) > 1
    # A constant beside what is collected would be a key to group by, and no relationships no row.
    collected = f"collect({source}) AS sources, collect(b.key) AS targets, collect({_map('r', columns)}) AS found"
    return (
        f"WITH {collected}{', collect(type(r)) AS types' if several else ''} "
        f"RETURN sources, targets, {'types' if several else '[]'} AS types, {_lists(columns)}"
    )
