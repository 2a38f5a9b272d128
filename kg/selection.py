"""Which part of the graph a snapshot holds: labels, types, properties, conditions, a moment, neighbourhoods."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.types as pt
from pydantic import BeforeValidator, Field, model_validator

from kg.cypher_read import Bound
from kg.errors import ConfigError, ContractError
from kg.schema import EdgeType
from kg.section import Name, Section
from kg.values import to_wire


def _plain(value: Any) -> Any:
    if not isinstance(value, bool | int | float | str | date):
        raise ValueError("expected a number, a text, a truth value, a date or a moment")
    return value


Key = Annotated[str, Field(coerce_numbers_to_str=True)]
Value = Annotated[Any, BeforeValidator(_plain)]
TEST = ("min", "max", "one_of")


class Condition(Section):
    """What a property must be; a null fulfils no condition."""

    min: Value | None = None
    max: Value | None = None
    one_of: list[Value] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> "Condition":
        if self.min is None and self.max is None and self.one_of is None:
            raise ValueError("expected at least one of min, max and one_of")
        return self


class Around(Section):
    """The neighbourhood of some nodes: what is up to `hops` relationships away, whichever way these point."""

    seeds: dict[Name, list[Key] | str] = Field(min_length=1)
    """By label the keys to start from, or the path of a file with a key a line."""
    hops: int = Field(1, ge=0)
    types: list[Name] | None = None
    """Relationship types that are walked. Default: all of the labels that are selected."""


class Selection(Section):
    """Which part of the graph a snapshot holds; a relationship is in it when its type and both its ends are."""

    labels: list[Name] | None = None
    """Default: all."""
    types: list[Name] | None = None
    """Relationship types. Default: all but those that were derived from interactions of all rows."""
    domains: list[Name] | None = None
    """Items of other domains are left out. Default: all."""
    properties: dict[Name, list[Name]] = {}
    """By label or relationship type the own properties to take. Default: all; keys, texts, pictures and what
    interactions aggregate to always come along."""
    where: dict[Name, dict[Name, Condition]] = {}
    """By label or relationship type what its properties must be: ``{Film: {year: {min: 1990}}}``."""
    until: datetime | None = None
    """Interactions whose last event is later are left out (UTC where no zone is given); untimed ones stay."""
    around: Around | None = None
    """Only what lies around these nodes. Default: everything."""

    @property
    def whole(self) -> bool:
        """Whether all rows of the tables are selected."""
        return not any((self.labels, self.types, self.domains, self.where, self.until, self.around))

    def resolved(self) -> "Selection":
        """The same with the keys of seeds in the place of files; `ConfigError` for a file that is not there."""
        return self._with_seeds(lambda label, given: _keys(label, given) if isinstance(given, str) else given)

    def anchored(self, base: Path) -> "Selection":
        """The same with paths relative to `base`."""
        return self._with_seeds(lambda label, given: str(base / given) if isinstance(given, str) else given)

    def _with_seeds(self, change: Callable[[str, list[str] | str], list[str] | str]) -> "Selection":
        if self.around is None:
            return self
        seeds = {label: change(label, given) for label, given in self.around.seeds.items()}
        return self.model_copy(update={"around": self.around.model_copy(update={"seeds": seeds})})


@dataclass(frozen=True)
class Chosen:
    """The parts of a manifest's `labels` and `edges` that a selection chooses."""

    labels: dict[str, Any]
    edges: dict[str, Any]
    walked: list[str]
    """Names of the edge types that are walked from the seeds."""


def choose(labels: Mapping[str, Any], edges: Mapping[str, Any], selection: Selection, *, derived: bool) -> Chosen:
    """Apply a selection to what the tables hold; `ContractError` where it names what is not there.

    With `derived`, types that were computed from interactions of all rows may be named; a snapshot that is learned
    from must not hold them.
    """
    types = {name: EdgeType.parse(name) for name in edges}
    _known("labels", selection.labels, labels)
    _known("domains", selection.domains, [of["domain"] for of in labels.values() if of.get("domain")])
    _known("types", selection.types, [edge.type for edge in types.values()])
    taken = {
        label: of
        for label, of in labels.items()
        if (selection.labels is None or label in selection.labels)
        and (selection.domains is None or not of.get("domain") or of["domain"] in selection.domains)
    }
    within = {name: of for name, of in edges.items() if {types[name].source, types[name].target} <= set(taken)}
    leaks = {name for name, of in edges.items() if of.get("derived")}
    if not derived and (named := sorted({types[name].type for name in leaks} & set(selection.types or ()))):
        raise ContractError(
            "selection.types",
            f"no types derived from interactions of all rows where a model learns from them, found {named}",
            "`crossgraph export` writes them for others",
        )
    wanted = {
        name: of
        for name, of in within.items()
        if (name not in leaks if selection.types is None else types[name].type in selection.types)
    }
    walk = selection.around.types if selection.around else None
    _known("around.types", walk, [edge.type for edge in types.values()])
    _known("around.seeds", list(selection.around.seeds) if selection.around else None, taken)
    walked = [name for name in within if name not in leaks and (walk is None or types[name].type in walk)]
    for what in ("properties", "where"):
        _known(what, list(getattr(selection, what)), {*taken, *(types[name].type for name in wanted)})
    return Chosen(taken, wanted, walked)


def kept_columns(place: str, own: Mapping[str, pa.DataType], selection: Selection) -> dict[str, pa.DataType]:
    """Those of a label's or type's own properties that a selection takes."""
    wanted = selection.properties.get(place)
    _known(f"properties.{place}", wanted, own)
    return {name: type_ for name, type_ in own.items() if wanted is None or name in wanted}


def bounds(place: str, own: Mapping[str, pa.DataType], selection: Selection) -> list[Bound]:
    """What the properties of a label or type must be, with values as they travel to Neo4j."""
    conditions = selection.where.get(place, {})
    _known(f"where.{place}", list(conditions), own)
    return [
        Bound(name, own[name], _wire(f"where.{place}.{name}", condition, own[name]))
        for name, condition in sorted(conditions.items())
    ]


def _wire(place: str, condition: Condition, type_: pa.DataType) -> dict[str, Any]:
    if pt.is_list(type_) or pt.is_binary(type_):
        raise ContractError(
            f"selection.{place}", "a property that is one number, text, truth value or date", str(type_)
        )
    found: dict[str, Any] = {}
    for test in TEST:
        given = getattr(condition, test)
        if given is not None:
            values = [_typed(f"{place}.{test}", value, type_) for value in (given if test == "one_of" else [given])]
            found[test] = values if test == "one_of" else values[0]
    return found


def _typed(place: str, value: Any, type_: pa.DataType) -> Any:
    number = pt.is_integer(type_) or pt.is_floating(type_)
    try:
        if isinstance(value, str) and (pt.is_timestamp(type_) or pt.is_date(type_)):
            value = datetime.fromisoformat(value) if pt.is_timestamp(type_) else date.fromisoformat(value)
        if number and isinstance(value, int | float) and not isinstance(value, bool):
            return value  # Cypher compares integers with floats by value
        if pt.is_timestamp(type_) and isinstance(value, date):
            moment = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)
            value = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
            value = value if type_.tz else value.replace(tzinfo=None)
        elif number or isinstance(value, int | float) != pt.is_boolean(type_):
            raise pa.ArrowInvalid(f"{value!r} is none")
        return to_wire(pa.array([value], type_))[0]
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError, ValueError) as error:
        raise ContractError(f"selection.{place}", f"expected a value of type {type_}", f"found {value!r}") from error


def micros(moment: datetime | None) -> int | None:
    """Microseconds since 1970 of a moment, in UTC where it names no zone."""
    if moment is None:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    since = aware - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _keys(label: str, path: str) -> list[str]:
    try:
        return [line for line in Path(path).read_text("utf-8").splitlines() if line]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"around.seeds.{label}: expected a readable file with a key a line at {path}") from error


def _known(what: str, wanted: Iterable[str] | None, found: Iterable[str]) -> None:
    if unknown := sorted(set(wanted or ()) - set(found)):
        raise ContractError(f"selection.{what}", f"unknown {unknown}", f"found {sorted(set(found))}")
