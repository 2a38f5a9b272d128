"""What a selection of the graph names that the project file has not, told before anything is read."""

from collections.abc import Iterator

from kg.project import Graph
from kg.selection import Selection

Problem = tuple[tuple[str | int, ...], str]
Place = tuple[str | int, ...]


def selection_problems(selection: Selection, graph: Graph, place: Place) -> Iterator[Problem]:
    """Places in the file that do not fit the graph's, or leave nothing to learn from; each with what was expected."""
    unknown = list(_all_unknown(selection, graph, place))
    yield from unknown or _nothing_to_learn(selection, graph, place)


def _all_unknown(selection: Selection, graph: Graph, place: Place) -> Iterator[Problem]:
    triples = [part.triples for part in graph.relationships.values() if part.triples]
    labels = {*graph.nodes, *(of.node for of in triples)}
    domains = {str(node.domain) for node in graph.nodes.values() if node.domain}
    yield from _unknown((*place, "labels"), selection.labels, labels)
    yield from _unknown((*place, "domains"), selection.domains, domains)
    around = selection.around
    yield from _unknown((*place, "around", "seeds"), around.seeds if around else None, labels)
    if not triples:  # each of their relations is a type, and which there are their rows say
        types = {*graph.relationships, *graph.motifs, *(across.type for across in graph.across)}
        yield from _unknown((*place, "types"), selection.types, types)
        yield from _unknown((*place, "around", "types"), around.types if around else None, types)
        for part in ("properties", "where"):
            yield from _unknown((*place, part), getattr(selection, part), labels | types)


def _unknown(place: Place, names: object, known: set[str]) -> Iterator[Problem]:
    for position, name in enumerate(names if isinstance(names, list | dict) else ()):
        if name not in known:
            inner = name if isinstance(names, dict) else position
            yield (*place, inner), f"unknown {name!r}, expected one of {sorted(known)}"


def _nothing_to_learn(selection: Selection, graph: Graph, place: Place) -> Iterator[Problem]:
    """Learning needs an interaction, and both its ends."""
    targets = [edge for edge, part in graph.interactions.items() if part.target and edge.target in graph.nodes]
    left = [
        edge
        for edge in targets
        if (selection.types is None or edge.type in selection.types)
        and (selection.labels is None or {edge.source, edge.target} <= set(selection.labels))
        and (selection.domains is None or graph.nodes[edge.target].domain in selection.domains)
    ]
    if targets and not left:
        wanted = " or ".join(sorted(f"{edge.type} with {edge.source} and {edge.target}" for edge in targets))
        yield place, f"leaves nothing to learn from, expected at least {wanted}"
