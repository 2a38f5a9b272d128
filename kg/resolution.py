"""The project file's `resolution` and `across`: when two nodes are the same.

Either two nodes agree on a key that is strong enough by itself (`match`), or they are candidates of one block
(`block`) whose values are alike (`compare`): each comparison gives a similarity from 0 to 1, or nothing where a
side is null, and their weighted mean is the pair's score.
"""

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from kg.section import Expression, Name, Section

Measure = Literal["equal", "edit", "tokens", "number", "cosine"]
Sided = Expression | dict[Name, Expression]
"""One expression over the properties of both sides, or (in `across`) one for each label."""
Place = tuple[str | int, ...]


class Comparison(Section):
    """How alike two values are: from 0 to 1, nothing where a side is null or blank."""

    value: Sided
    by: Measure = "edit"
    """Texts are compared without case, accents, punctuation and repeated blanks.

    `equal`: 1 or 0. `edit`: 1 - (edits / length) / `tolerance`, also with the words sorted, and the better counts
    (swapped names). `tokens`: words in common / words in all. `number`: 1 - difference / `tolerance`.
    `cosine`: of text embeddings.
    """
    weight: float = Field(1, gt=0)
    """Its share in the mean of what both sides have."""
    against: float | None = Field(None, ge=0)
    """The weight where the two differ, between the two by similarity; default: `weight`. Less than `weight` suits what
    tells much when equal and little when not, such as a phone number that people change."""
    tolerance: float | None = Field(None, ge=0)
    """From which difference two values are no longer alike: of `number` (default 0: they are equal or not), and the
    share of edits of `edit` (default 0.5: nothing is left of two names that differ in half of their letters)."""

    common: int | None = Field(None, ge=2)
    """Of `equal`: a value that more records than this have counts as missing. For what should be one's own, such as an
    e-mail address: those who share "unknown@unknown" share nothing."""

    @model_validator(mode="after")
    def _of_equal(self) -> Self:
        if self.common is not None and self.by != "equal":
            raise ValueError("`common` goes with `by: equal`")
        return self

    @property
    def weights(self) -> tuple[float, float]:
        """The weights where two are equal, and where they have nothing in common."""
        return self.weight, self.weight if self.against is None else self.against


class Matching(Section):
    """What `resolution` and `across` have in common."""

    match: list[Sided] = []
    """Normalised keys, each strong enough by itself: who agrees on any of them is the same; null never matches."""
    block: list[Sided] = []
    """Who shares a value of any of these is compared; null never blocks."""
    compare: dict[Name, Comparison] = {}
    threshold: float = Field(0.65, gt=0, le=1)
    """The score from which two are the same."""
    doubt: float = Field(0.25, ge=0)
    """What speaks against every pair, as a share of all weights: of two pairs that agree in what they have, the one
    that has more scores higher, and one that has everything and agrees scores 1. At 0.1 (and a threshold of 0.72) who
    had one name and one city and nothing else to compare was the same, namesakes too."""
    least: int = Field(2, ge=1)
    """How many fields both sides must have to be compared at all (all of them where there are fewer)."""
    block_size: int = Field(30, ge=2)
    """Up to so many share a block, each is compared with each; a larger one is sorted by every compared text in
    turn, and each is compared with its next neighbours only, so that no step is quadratic in a block."""
    window: int = Field(5, ge=1)
    """With how many neighbours."""
    stop: float = Field(0.2, gt=0, le=1)
    """A value of `block` in more than this share of all (and than `block_size`) tells nothing and blocks nobody."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if bool(self.block) != bool(self.compare) or not (self.match or self.block):
            raise ValueError("expected `match`, or `block` and `compare` together, or all three")
        return self

    @property
    def cosine(self) -> list[str]:
        """The comparisons that need text embeddings."""
        return [name for name, comparison in self.compare.items() if comparison.by == "cosine"]

    def expressions(self) -> Iterator[tuple[Place, Sided]]:
        """Every expression that reads a node, with its place below this section."""
        yield from ((("match", i), text) for i, text in enumerate(self.match))
        yield from ((("block", i), text) for i, text in enumerate(self.block))
        yield from ((("compare", name, "value"), comparison.value) for name, comparison in self.compare.items())


class Resolution(Matching):
    """When two nodes of a label are the same, and which of them is kept."""

    prefer: Expression | None = None
    """The node with the highest value is kept; then the one with most values, then the smallest key."""
    floor: float = Field(0.4, ge=0, le=1)
    """Who is in a group by a chain of others only, and scores less than this beside the node that is kept, is split
    off again; 0 keeps every chain."""

    def problems(self, place: Place) -> Iterator[tuple[Place, str]]:
        """Places that do not fit together, each with what was expected."""
        for below, text in self.expressions():
            if isinstance(text, dict):
                yield (*place, *below), "expected one expression: both sides are one label"


class Across(Matching):
    """When nodes of two labels are the same; they stay two nodes, joined by a relationship."""

    between: Annotated[list[Name], Field(min_length=2, max_length=2)]
    """Two labels: the relationship goes from the first to the second and has the property `score`."""
    type: Name = "SAME_AS"
    one_to_one: bool = True
    """Whether only those are joined that are each other's best match."""

    def problems(self, place: Place, labels: list[str]) -> Iterator[tuple[Place, str]]:
        """Places that do not fit together, each with what was expected."""
        for label in self.between:
            if label not in labels:
                yield (*place, "between"), f"unknown label {label!r}, expected one of {labels}"
        if self.between[0] == self.between[1]:
            yield (*place, "between"), f"expected two labels: within {self.between[0]} `resolution` merges"
        for below, text in self.expressions():
            if isinstance(text, dict) and sorted(text) != sorted(self.between):
                yield (*place, *below), f"expected an expression for each of {sorted(self.between)}"

    def of(self, label: str, text: Sided) -> Expression:
        """One label's side of an expression."""
        return text[label] if isinstance(text, dict) else text
