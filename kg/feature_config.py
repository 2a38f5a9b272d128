"""The project file's sections on what the whole graph tells: features, motifs, the k-core of interactions."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from kg.section import Name, Section


class KCore(Section):
    """Interactions are kept while their user and item have at least so many of them, repeatedly."""

    user: int = Field(0, ge=0)
    item: int = Field(0, ge=0)


class PageRank(Section):
    """How PageRank is computed."""

    damping: float = Field(0.85, gt=0, lt=1)
    """The share of a node's rank that it hands on; the rest is spread over all nodes."""
    rounds: int = Field(20, ge=1)
    """What is left of the start after n rounds is ``damping ** n``: 4% after 20, when ranks keep their places."""
    tolerance: float | None = Field(None, gt=0)
    """Rounds go on until no rank changes by more than this, however many that takes; null: `rounds` of them."""


class Communities(Section):
    """How communities are found: label propagation."""

    rounds: int = Field(5, ge=1)
    """At most so many times does every node take over what most of its neighbours have; fewer where nothing changes."""


def _switch(of: type[Section]) -> BeforeValidator:
    """`true` is the section with its defaults, `false` none."""
    return BeforeValidator(lambda value: {True: of(), False: None}[value] if isinstance(value, bool) else value)


class Features(Section):
    """Graph features that become node properties (of all rows: never inputs of an evaluated model)."""

    degree: bool = True
    """Property ``degree``: relationships in and out."""
    directed_degree: bool = False
    """Properties ``in_degree`` and ``out_degree``."""
    pagerank: Annotated[PageRank | None, _switch(PageRank)] = PageRank()
    """Property ``pagerank``: true, false, or how."""
    communities: Annotated[Communities | None, _switch(Communities)] = None
    """Property ``community``, the label and key of its first member: true, false, or how."""
    triangles: bool = False
    """Property ``triangles``: how many pairs of a node's neighbours are neighbours of each other."""
    core: bool = False
    """Property ``core``: the largest k of which the node is in the k-core."""

    @property
    def columns(self) -> list[str]:
        """The properties that nodes get, in the order of their table."""
        wanted = {
            "degree": self.degree,
            "in_degree": self.directed_degree,
            "out_degree": self.directed_degree,
            "pagerank": self.pagerank,
            "community": self.communities,
            "triangles": self.triangles,
            "core": self.core,
        }
        return [name for name, switched_on in wanted.items() if switched_on]


class Motif(Section):
    """Relationships between nodes of a label that share others: users who share items, items who share attributes.

    A pair comes once, from the smaller key to the larger, with properties ``shared`` and ``jaccard``.
    """

    between: Name
    """The label of both ends."""
    through: Name | list[Name]
    """Relationships (or triples) with an end in that label; what their other ends have in common is what is shared.
    A shared node counts once for each type. Where both ends are of the label, nodes share what they point to."""
    positive: bool = False
    """Whether only those interactions count that are positive feedback."""
    at_least: int = Field(2, ge=1)
    """How many nodes a pair must share."""
    top: int = Field(20, ge=1)
    """A pair stays if it is among the `top` of either end: most shared, then the highest Jaccard index, then by key."""
    most: int = Field(1000, ge=2)
    """Nodes that more than so many have in common tell little and cost much: they are skipped, and counted as such.
    No more than ``most / 2`` pairs for each relationship are looked at."""

    @property
    def relationships(self) -> list[str]:
        """The names in `through`."""
        return [self.through] if isinstance(self.through, str) else self.through
