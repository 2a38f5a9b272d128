"""Parts of the project file that are in the user's Neo4j already (`existing: true`): each is read as a source.

A label's rows are the source ``neo4j_<Label>``: a row a node, a column a property. A type's rows are the source
``neo4j_<TYPE>``: a column a property, and `from_key` and `to_key`, the keys of its ends. Other mappings may read these
sources too. An entry of that name in `sources` may set what any source has: a contract or `max_quarantined`.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kg.project import Graph, Node, Relationship

FORMAT = "neo4j"
END_COLUMNS = {"from": "from_key", "to": "to_key"}
DEFAULTS = {"format": FORMAT, "url": FORMAT, "duplicates": "keep"}
PROPERTY = re.compile(r"[A-Za-z]\w*")
META = {"nodes": "labels", "relationships": "edges"}
Place = tuple[str | int, ...]


def source_name(part: str) -> str:
    """The source of a label's or type's rows."""
    return f"{FORMAT}_{part}"


def with_sources(values: Any) -> Any:
    """The graph's part of a project file, its existing parts given their sources and ends; other input as it is."""
    if not isinstance(values, dict):
        return values
    filled = dict(values)
    sources = dict(filled.get("sources") or {}) if isinstance(filled.get("sources"), dict | None) else None
    if sources is None:
        return values
    for kind in ("nodes", "relationships"):
        parts = filled.get(kind)
        if isinstance(parts, dict):
            filled[kind] = {name: _filled(name, part, sources) for name, part in parts.items()}
    if sources:
        filled["sources"] = sources
    return filled


def _filled(name: str, part: Any, sources: dict[str, Any]) -> Any:
    if not (isinstance(part, dict) and part.get("existing") is True):
        return part
    own = source_name(name)
    given = sources.get(own, {})
    if isinstance(given, dict):
        sources[own] = {**DEFAULTS, **given}
    filled = {"source": own, **part}
    for end, column in END_COLUMNS.items():
        if end in filled:
            filled[end] = _end(filled[end], column)
    return filled


def _end(given: Any, column: str) -> Any:
    """``Person`` and ``{Person}`` name the label of an end, whose key is in a column of its own."""
    if isinstance(given, str):
        return {given: column}
    if isinstance(given, dict):
        return {label: column if expression is None else expression for label, expression in given.items()}
    return given


def existing_problems(graph: "Graph") -> Iterator[tuple[Place, str]]:
    """What about existing parts does not fit together, with what was expected."""
    labels = [label for label, node in graph.nodes.items() if node.existing]
    types = [name for name, part in graph.relationships.items() if part.existing]
    for label in labels:
        yield from _node_problems(label, graph.nodes[label])
        if label in graph.resolution:
            yield ("resolution", label), "expected a label that is loaded: nodes of your own graph are never merged"
    for name in types:
        yield from _relationship_problems(name, graph.relationships[name], labels)
    for name in sorted(set(labels) & set(types)):
        yield ("relationships", name), "expected another name than that of a label: both are `existing`"
    wanted = {source_name(part) for part in (*labels, *types)}
    for name, source in graph.sources.items():
        if source.format == FORMAT and name not in wanted:
            expected = f"expected the name of an existing part, such as {sorted(wanted)}" if wanted else "no part is"
            yield ("sources", name, "format"), f"is for labels and types with `existing: true`: {expected}"
        if source.format == FORMAT and source.mode != "full":
            yield ("sources", name, "mode"), "expected `full`: what the graph holds now is all there is"
        if source.format == FORMAT and source.rename:
            yield ("sources", name, "rename"), "expected properties by the names that they have in Neo4j"


def _node_problems(label: str, node: "Node") -> Iterator[tuple[Place, str]]:
    place = ("nodes", label)
    if node.source != source_name(label):
        yield (*place, "source"), "expected no source beside `existing: true`: the nodes are in Neo4j"
    if not PROPERTY.fullmatch(node.key):
        yield (*place, "key"), f"expected the name of the property that identifies a node (found {node.key!r})"


def _relationship_problems(name: str, part: "Relationship", labels: list[str]) -> Iterator[tuple[Place, str]]:
    place = ("relationships", name)
    if part.source != source_name(name):
        yield (*place, "source"), "expected no source beside `existing: true`: the relationships are in Neo4j"
    if part.triples or part.link:
        yield place, "expected `from` and `to` beside `existing: true`, and neither `triples` nor `link`"
    for side, end in (("from", part.from_), ("to", part.to)):
        for label, expression in (end or {}).items():
            if label not in labels:
                yield (*place, side), f"expected an existing label, one of {labels} (found {label!r})"
            elif expression != END_COLUMNS[side]:
                yield (*place, side), f"expected the label alone, as in `{side}: {label}` (found {expression!r})"


def existing_meta(part: "Node | Relationship | None", columns: Collection[str]) -> dict[str, Any]:
    """What the next stages must know of a label or type whose rows have these columns; nothing for a loaded one."""
    if part is None or not part.existing:
        return {}
    # A property `domain` of the user's own stays what it is, and ours is not set.
    return {"existing": {"domain": "domain" not in columns}}


def is_existing(meta: Mapping[str, Any], table: str) -> bool:
    """Whether a table is of an existing part, by the meta of its stage; features never are."""
    kind, _, name = table.partition("/")
    return kind in META and bool(meta[META[kind]].get(name, {}).get("existing"))
