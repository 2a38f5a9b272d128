"""What a source promises of its raw rows: the contract's part of the project file."""

from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from kg.section import Expression, Name, Section

NUMBERS, TIMES = ("int", "double"), ("date", "timestamp")
Place = tuple[str | int, ...]
Scalar = str | int | float | bool


class ColumnContract(Section):
    """What holds for one column of a source; null and blank text pass all but `nullable: false`."""

    type: Literal["string", "int", "double", "boolean", "date", "timestamp"] | None = None
    """What every value can be read as (reason `type:<column>`); `int` takes no fraction, `double` no NaN."""
    nullable: bool = True
    """Whether a value may be missing (`null:<column>`)."""
    min: int | float | str | None = None
    """The least value (`range:<column>`): a number, or a text where `type` is a date or timestamp. Without a `type`,
    what is no number is out of range."""
    max: int | float | str | None = None
    """The greatest value."""
    pattern: Expression | None = None
    """A regular expression, Java's, that the whole value matches (`pattern:<column>`)."""
    values: list[Scalar] | None = Field(None, min_length=1)
    """All values that there are (`values:<column>`)."""
    unique: bool = False
    """Whether no two rows share a value (`unique:<column>`): the first good row has it, later ones are quarantined."""
    references: Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*\..+$")] | None = None
    """`source.column`: where every value is found as text (`reference:<column>`), among rows that passed their own
    contract; not checked where that source is left out.
    A source that refers to itself is looked up among its rows that passed all but references and uniqueness."""

    @property
    def referred(self) -> tuple[str, str]:
        """The source and column of `references`; `ValueError` where there is none."""
        if self.references is None:
            raise ValueError("no references")
        source, _, column = self.references.partition(".")
        return source, column

    @model_validator(mode="after")
    def _bounds_fit(self) -> Self:
        bounds = [bound for bound in (self.min, self.max) if bound is not None]
        if any(isinstance(bound, str) for bound in bounds) and self.type not in TIMES:
            raise ValueError("expected numbers as `min` and `max`, or `type: date` or `type: timestamp`")
        if any(not isinstance(bound, str) for bound in bounds) and self.type not in (None, *NUMBERS):
            raise ValueError(f"expected texts as `min` and `max` of a {self.type}, or `type: int` or `type: double`")
        if self.min is not None and self.max is not None and self.min > self.max:  # type: ignore[operator]
            raise ValueError("expected `min` no greater than `max`")
        return self


class Contract(Section):
    """Checks on the raw rows of a source, before any mapping; a row that fails one is quarantined once, by the first.

    They are made in this order: the columns' own checks as the file lists them, the rules, the references, uniqueness.
    """

    columns: dict[Expression, ColumnContract] = {}
    """By the column's name after `rename`; a column that the source lacks is an error."""
    rules: dict[Name, Expression] = {}
    """A row for which a rule is false is quarantined as `rule:<name>`; null passes."""

    @property
    def references(self) -> dict[str, tuple[str, str]]:
        """The source and column that each referring column refers to."""
        return {name: column.referred for name, column in self.columns.items() if column.references}


def contract_problems(contracts: Mapping[str, Contract | None]) -> Iterator[tuple[Place, str]]:
    """References to sources that are not there, and sources that refer to each other in a circle."""
    known = sorted(contracts)
    for name, contract in contracts.items():
        for column, (source, _) in (contract.references if contract else {}).items():
            if source not in contracts:
                place = ("sources", name, "contract", "columns", column, "references")
                yield place, f"unknown source {source!r}, expected one of {known}"
    try:
        reading_order(contracts)
    except CycleError as error:
        circle = " to ".join(reversed(error.args[1]))
        yield ("sources",), f"expected no circle of `references` (found {circle})"


def reading_order(contracts: Mapping[str, Contract | None]) -> list[list[str]]:
    """The sources in groups: each refers to sources of earlier groups only. `CycleError` where none comes first."""
    graph = {
        name: {source for source, _ in (contract.references if contract else {}).values()} & set(contracts) - {name}
        for name, contract in contracts.items()
    }
    sorter = TopologicalSorter(graph)
    sorter.prepare()
    found = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        found.append(ready)
        sorter.done(*ready)
    return found
