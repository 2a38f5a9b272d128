"""Which values of a source name a node: the key expressions that the project file applies to its rows."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from kg.project import Graph, Relationship

_COLUMN = re.compile(r"`?([\w:.\- ]+?)`?")


@dataclass(frozen=True, order=True)
class Naming:
    """An expression over a source's columns whose value is a key of a label."""

    label: str
    expression: str

    @property
    def column(self) -> str | None:
        """The column that the expression is, None where it is more than that."""
        found = _COLUMN.fullmatch(self.expression.strip())
        return found[1] if found else None


def namings(graph: Graph, source: str) -> list[Naming]:
    """What names a node in the rows of a source, joined sources by the column they are joined on."""
    return sorted(set(_namings(graph, source)))


def _namings(graph: Graph, source: str) -> Iterator[Naming]:
    for label, node in graph.nodes.items():
        if source in graph.sources_of(node):
            yield Naming(label, node.key)
        for join in node.join:
            left, _, right = (part.strip() for part in join.on.partition("="))
            if join.source == source and left == Naming(label, node.key).column:
                yield Naming(label, right or left)
    for part in graph.relationships.values():
        if source in graph.sources_of(part):
            yield from _ends(part)
        if part.link and part.link.source == source:
            yield Naming(part.link.node, part.link.key or graph.nodes[part.link.node].key)


def _ends(part: Relationship) -> Iterator[Naming]:
    for end in (part.from_, part.to):
        for label, expression in (end or {}).items():
            yield Naming(label, expression)
    if part.triples:
        for expression in (part.triples.head, part.triples.tail):
            yield Naming(part.triples.node, expression)


def sources_of(graph: Graph, label: str) -> list[str]:
    """The sources whose rows may name a node of a label."""
    return [name for name in graph.sources if any(naming.label == label for naming in namings(graph, name))]
