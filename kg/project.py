"""The graph's part of the project file: sources, nodes, relationships, resolution and the cut.

Mappings and rules are Spark SQL expressions over the columns of a source (after `rename` and joins).
A value that names a variable which is null becomes null itself, and so switches its part off.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from kg.contract_config import contract_problems
from kg.existing_config import existing_problems, with_sources
from kg.feature_config import Features, KCore, Motif
from kg.resolution import Across, Resolution
from kg.schema import ENDS, IMAGE, INDICES, INTERACTION_COLUMNS, KEY, ROW_ID, TEXT, EdgeType
from kg.section import Expression, Name, Section
from kg.source_config import Source

# Columns of the tables between stages, and properties that we write: `h_a` … `z_b` are the vectors' two slots.
# (Other graph features are names of ours where the project asks for them.)
NODE_COLUMNS = {field.name for field in (KEY, TEXT, IMAGE)}
NODE_PROPERTIES = {"degree", "pagerank", *(f"{view}_{slot}" for view in "hvcz" for slot in "ab")}
RELATIONSHIP_COLUMNS = {field.name for field in (ROW_ID, *ENDS, *INTERACTION_COLUMNS, *INDICES)} | {"time"}
RELATIONSHIP_COLUMNS |= {"from_raw", "to_raw"}
TRIPLE_COLUMNS = {"from_label", "to_label", "relation", "type", "table"}


def _one_end(ends: dict[str, str]) -> dict[str, str]:
    if len(ends) != 1:
        raise ValueError("expected one `Label: expression`")
    return ends


End = Annotated[dict[Name, Expression], AfterValidator(_one_end)]


class Join(Section):
    """Columns that another source adds to this one's rows: a left join, the first match by position wins."""

    source: str
    on: str
    """`column` when both sides name it alike, else `column = other_column`, the joined source's last."""


class Node(Section):
    """A label and how its nodes are made from rows."""

    source: str | list[str]
    """One source, or several whose rows are stacked by column name."""
    existing: bool = False
    """Whether the nodes are in the user's Neo4j already: they are read and marked, never created, changed or deleted.
    `source` is left out then, `key` is the property that identifies a node, and expressions are over its properties."""
    join: list[Join] = []
    domain: Name | None = None
    """The domain of an item label. A label with a domain is recommended from."""
    key: Expression
    """The external id, as a string; `explode(…)` makes several nodes of one row."""
    properties: dict[Name, Expression] = {}
    """Decimals (such as ``price * 1.5``) are stored as doubles; names of our own columns and properties are refused."""
    required: list[Name] = []
    """Properties that must not be null; a row that lacks one is quarantined."""
    where: Expression | None = None
    """Keeps the rows for which this is true; the others are counted as filtered."""
    rules: dict[Name, Expression] = {}
    """A row for which a rule is false is quarantined under the rule's name; null passes."""
    text: list[Expression] = []
    """What the text view reads, joined by line breaks; empty parts are left out."""
    image: Expression | None = None
    """The path of the node's picture."""
    prefer: Expression | None = None
    """Of several rows with one key the highest value wins; then the row with most values, then the first."""


class Triples(Section):
    """Rows that each name their relation: one relationship type a relation."""

    head: Expression
    relation: Expression
    tail: Expression
    node: Name = "Entity"
    """The label of the ends that `link` does not find."""


class Link(Section):
    """Which ends of triples are nodes of ours already."""

    source: str
    node: Name
    key: Expression | None = None
    """The node's key in the link's source; default: the node's own key expression."""
    entity: Expression = "entity_id"


class Relationship(Section):
    """A relationship type and how its relationships are made from rows."""

    source: str | list[str]
    existing: bool = False
    """Whether the relationships are in the user's Neo4j already, between existing labels: ``from: Person, to: Film``.
    `source` is left out then, and expressions are over the relationship's properties."""
    from_: End | None = Field(None, alias="from")
    to: End | None = None
    triples: Triples | None = None
    """Instead of `from` and `to`."""
    link: Link | None = None
    where: Expression | None = None
    rules: dict[Name, Expression] = {}
    properties: dict[Name, Expression] = {}
    key: list[str] = ["from", "to"]
    """What makes it one relationship: `from`, `to`, and properties or `time`."""
    interaction: bool = False
    """Whether these are a user's events with an item; repeats aggregate to count, first, last, weight."""
    weight: Expression | None = None
    time: Expression | None = None
    """Unix seconds or a timestamp."""
    positive: Expression | None = None
    """Which events are positive feedback; default: all."""
    k_core: KCore | None = None
    target: bool = True
    """Whether this interaction is what its domain is recommended by; one a domain."""


class Split(Section):
    """The evaluation cut, made before anything is learned."""

    test: float = Field(0.2, gt=0, lt=1)
    """The share of each user's latest events (and of all latest events, for the global cut)."""
    validation: float = Field(0.1, gt=0, lt=1)
    """The share before them."""


def edge_type(name: str, part: Relationship) -> EdgeType:
    """The edge type of a relationship that names both its ends."""
    if not (part.from_ and part.to):
        raise ValueError(f"{name} has no ends of its own")
    return EdgeType(next(iter(part.from_)), name, next(iter(part.to)))


class Graph(Section):
    """Everything that turns raw sources into the graph."""

    sources: dict[Name, Source] = Field(min_length=1)
    nodes: dict[Name, Node] = Field(min_length=1)
    relationships: dict[Name, Relationship] = {}
    resolution: dict[Name, Resolution] = {}
    across: list[Across] = []
    features: Features = Features()
    motifs: dict[Name, Motif] = {}
    """Relationship types that are found in the graph and not in a source."""
    split: Split = Split()

    @model_validator(mode="before")
    @classmethod
    def _existing_parts(cls, values: Any) -> Any:
        return with_sources(values)

    @property
    def interactions(self) -> dict[EdgeType, Relationship]:
        """The interaction relationships by edge type."""
        return {edge_type(name, r): r for name, r in self.relationships.items() if r.interaction and r.from_ and r.to}

    @property
    def has_existing(self) -> bool:
        """Whether parts of the graph are in the user's Neo4j already."""
        parts: list[Node | Relationship] = [*self.nodes.values(), *self.relationships.values()]
        return any(part.existing for part in parts)

    @property
    def cosine(self) -> bool:
        """Whether resolution compares text embeddings."""
        return any(matching.cosine for matching in [*self.resolution.values(), *self.across])

    @property
    def targets(self) -> dict[str, EdgeType]:
        """The target interaction of each domain, in the file's order."""
        return {str(self.nodes[edge.target].domain): edge for edge, r in self.interactions.items() if r.target}

    @property
    def user_label(self) -> str:
        """The label that all interactions start from; `ValueError` when there are none."""
        labels = sorted({edge.source for edge in self.interactions})
        if len(labels) != 1:
            raise ValueError(f"interactions must start from one label, found {labels}")
        return labels[0]

    def side(self, label: str) -> Literal["user", "item", "entity"]:
        """Which side of the recommender a label is on."""
        if any(label == edge.source for edge in self.interactions):
            return "user"
        return "item" if label in self.nodes and self.nodes[label].domain else "entity"

    def sources_of(self, part: Node | Relationship) -> list[str]:
        """Names of the sources whose rows a mapping reads, joins and links left out."""
        return [part.source] if isinstance(part.source, str) else list(part.source)

    def problems(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Places in the file that do not fit together, each with what was expected."""
        for name, source in self.sources.items():
            yield from source.problems(("sources", name))
        yield from contract_problems({name: source.contract for name, source in self.sources.items()})
        yield from existing_problems(self)
        yield from self._node_problems()
        for name, relationship in self.relationships.items():
            yield from self._relationship_problems(("relationships", name), relationship)
        for name, motif in self.motifs.items():
            yield from self._motif_problems(("motifs", name), motif)
        for label, resolution in self.resolution.items():
            if label not in self.nodes:
                yield ("resolution", label), f"expected one of the labels {sorted(self.nodes)}"
            yield from resolution.problems(("resolution", label))
        for number, across in enumerate(self.across):
            yield from across.problems(("across", number), sorted(self.nodes))
        if len({edge.source for edge in self.interactions}) > 1:
            yield ("relationships",), "expected all interactions to start from one label"
        domains = [
            self.nodes[e.target].domain for e, r in self.interactions.items() if r.target and e.target in self.nodes
        ]
        for domain in {d for d in domains if domains.count(d) > 1}:
            yield (
                ("relationships",),
                f"expected one target interaction for domain {domain!r}; set `target: false` on the others",
            )

    def _motif_problems(
        self, place: tuple[str | int, ...], motif: Motif
    ) -> Iterator[tuple[tuple[str | int, ...], str]]:
        if place[-1] in self.relationships:
            yield place, "expected a name that no relationship has"
        labels = {*self.nodes, *(part.triples.node for part in self.relationships.values() if part.triples)}
        if motif.between not in labels:
            yield (*place, "between"), f"unknown label {motif.between!r}, expected one of {sorted(labels)}"
        for name in motif.relationships:
            part = self.relationships.get(name)
            if part is None:
                yield (*place, "through"), f"unknown {name!r}, expected one of {sorted(self.relationships)}"
            elif not part.triples and motif.between not in {*(part.from_ or {}), *(part.to or {})}:
                yield (*place, "through"), f"expected a relationship with an end in {motif.between}, {name} has none"
            elif motif.positive and not part.interaction:
                yield (*place, "positive"), f"expected only interactions in `through`, {name} is none"

    def _unknown_sources(
        self, place: tuple[str | int, ...], names: list[str]
    ) -> Iterator[tuple[tuple[str | int, ...], str]]:
        for name in names:
            if name not in self.sources:
                yield place, f"unknown source {name!r}, expected one of {sorted(self.sources)}"

    def _node_problems(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        for label, node in self.nodes.items():
            place = ("nodes", label)
            yield from self._unknown_sources((*place, "source"), self.sources_of(node))
            for position, join in enumerate(node.join):
                yield from self._unknown_sources((*place, "join", position, "source"), [join.source])
            for name in node.required:
                if name not in node.properties:
                    yield (*place, "required"), f"{name!r} is no property, expected one of {sorted(node.properties)}"
            ours = NODE_COLUMNS | NODE_PROPERTIES | {*self.features.columns} | ({"domain"} if node.domain else set())
            yield from self._reserved(place, node, ours)

    def _reserved(
        self, place: tuple[str | int, ...], part: Node | Relationship, ours: set[str]
    ) -> Iterator[tuple[tuple[str | int, ...], str]]:
        for name in sorted(ours & set(part.properties)):
            yield (*place, "properties", name), f"{name!r} is a name of ours, expected another one"

    def _relationship_problems(
        self, place: tuple[str | int, ...], part: Relationship
    ) -> Iterator[tuple[tuple[str | int, ...], str]]:
        yield from self._unknown_sources((*place, "source"), self.sources_of(part))
        if part.triples:
            if part.from_ or part.to or part.interaction:
                yield (*place, "triples"), "expected `triples` alone, or `from` and `to`"
        elif not (part.from_ and part.to):
            yield place, "expected `from` and `to`, or `triples`"
        if part.link:
            yield from self._unknown_sources((*place, "link", "source"), [part.link.source])
            if part.link.node not in self.nodes:
                yield (*place, "link", "node"), f"expected one of the labels {sorted(self.nodes)}"
        for side, end in (("from", part.from_), ("to", part.to)):
            for label in end or {}:
                if label not in self.nodes:
                    yield (*place, side), f"unknown label {label!r}, expected one of {sorted(self.nodes)}"
                elif part.interaction and side == "to" and not self.nodes[label].domain:
                    yield (*place, side), f"an interaction ends in an item: give {label} a `domain`"
        if unknown := [k for k in part.key if k not in {"from", "to", "time", *part.properties}]:
            yield (*place, "key"), f"unknown {unknown}, expected from, to, time or properties"
        yield from self._reserved(place, part, RELATIONSHIP_COLUMNS | (TRIPLE_COLUMNS if part.triples else set()))
        if not part.interaction:
            if "time" in part.key:
                yield (*place, "key"), "expected `time` only with `interaction: true`"
            for name in ("weight", "time", "positive", "k_core"):
                if getattr(part, name) is not None:
                    yield (*place, name), "expected only with `interaction: true`"
