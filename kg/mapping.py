"""What node and relationship mappings share: a source's rows with its joins, and a verdict on each mapped row.

A mapped row carries `VERDICT` beside its values: whether it was accepted, filtered (by a named option) or
quarantined, the reason, and how many of its properties lost a value to a cast.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce

import pyarrow as pa
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from kg.errors import SourceError
from kg.expressions import Expressions, Value
from kg.project import Graph, Join, Node, Relationship
from kg.source_rows import PROVENANCE, Rows
from kg.spark import arrow_field

ACCEPTED, FILTERED, QUARANTINED = "accepted", "filtered", "quarantined"
VERDICT = ("_status", "_reason", "_coerced")
# Room for 2^19 files of 2^33 rows each in every source of a list.
ONE_SOURCE = 1 << 52


@dataclass
class Mapped:
    """A mapping's rows, accepted or not, with `PROVENANCE`, `VERDICT` and the mapping's values."""

    table: str
    """Where quarantine says that the rows would have gone."""
    frame: DataFrame
    properties: list[pa.Field] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    """The columns of which equal values make two accepted rows one node or relationship."""

    @property
    def accepted(self) -> DataFrame:
        """The rows that go on."""
        return self.frame.where(F.col("_status") == ACCEPTED)


def source_rows(graph: Graph, part: Node | Relationship, rows: Mapping[str, Rows], place: str) -> Expressions:
    """The rows of a mapping's sources, stacked by column name and joined; one source at least must be there."""
    present = [name for name in graph.sources_of(part) if name in rows]
    stacked = [
        rows[name].good.withColumn("_position", F.col("_position") + position * ONE_SOURCE)
        for position, name in enumerate(present)
    ]
    frame = reduce(lambda a, b: a.unionByName(b, allowMissingColumns=True), stacked)
    joins = part.join if isinstance(part, Node) else []
    for position, join in enumerate(joins):
        if join.source in rows:
            frame = _join(frame, join, rows[join.source], f"{place}.join[{position}]")
    absent = any(join.source not in rows for join in joins)
    return Expressions(frame, place, absent or len(present) < len(graph.sources_of(part)))


def filled(names: Iterable[str]) -> Column:
    """How many of some columns have a value."""
    return reduce(lambda a, b: a + b, [F.col(f"`{name}`").isNotNull().cast("int") for name in names], F.lit(0))


def _join(frame: DataFrame, join: Join, other: Rows, place: str) -> DataFrame:
    """Left join to the first row by position; a column that both have stays the left one's."""
    left, _, right = (name.strip() for name in join.on.partition("="))
    right = right.strip() or left
    for name, columns in ((left, frame.columns), (right, other.columns)):
        if name not in columns:
            found = [c for c in columns if not c.startswith("_")]
            raise SourceError(f"{place}.on: no column {name!r} in {join.on!r}; the columns are {found}")
    nth = F.row_number().over(Window.partitionBy("_on").orderBy("_position"))
    added = [F.col(f"`{c}`") for c in other.columns if c not in frame.columns]
    keyed = other.good.withColumn("_on", F.col(f"`{right}`").cast("string"))
    first = keyed.withColumn("_nth", nth).where("_nth = 1").select("_on", *added)
    return frame.join(first, F.col(f"`{left}`").cast("string") == F.col("_on"), how="left").drop("_on")


def verdict(where: Column | None, checks: list[tuple[str, Column]], coerced: list[Column]) -> list[Column]:
    """The columns of `VERDICT`: `checks` are reasons with the condition that quarantines a row, first come."""
    bad = [F.when(condition, F.lit(reason)) for reason, condition in checks]
    reason = F.coalesce(*bad) if bad else F.lit(None).cast("string")
    out = ~F.coalesce(where, F.lit(False)) if where is not None else F.lit(False)
    status = F.when(out, FILTERED).when(reason.isNotNull(), QUARANTINED).otherwise(ACCEPTED)
    lost = reduce(lambda a, b: a + b, [c.cast("int") for c in coerced], F.lit(0))
    return [
        status.alias("_status"),
        F.when(out, "where").otherwise(reason).alias("_reason"),
        F.when(status == ACCEPTED, lost).otherwise(0).alias("_coerced"),
    ]


def refuse(frame: DataFrame, condition: Column, status: str, reason: str) -> DataFrame:
    """Change the verdict of accepted rows for which a condition, known only after joins, holds."""
    hit = (F.col("_status") == ACCEPTED) & condition
    return frame.withColumns(
        {
            "_reason": F.when(hit, reason).otherwise(F.col("_reason")),
            "_coerced": F.when(hit, 0).otherwise(F.col("_coerced")),
            "_status": F.when(hit, status).otherwise(F.col("_status")),
        }
    )


def rules(rows: Expressions, part: Node | Relationship) -> list[tuple[str, Column]]:
    """A row is bad for which a rule is false; null passes."""
    checked = [(name, rows.value(text, f"rules.{name}", "boolean").column) for name, text in part.rules.items()]
    return [(f"rule:{name}", F.coalesce(~holds, F.lit(False))) for name, holds in checked]


def condition(rows: Expressions, part: Node | Relationship) -> Column | None:
    """A mapping's `where`."""
    return rows.value(part.where, "where", "boolean").column if part.where else None


def blank(key: Column) -> Column:
    """Whether a key names nothing."""
    return key.isNull() | (F.trim(key) == "")


def properties(rows: Expressions, part: Node | Relationship) -> tuple[dict[str, Value], list[pa.Field]]:
    """A mapping's properties, and the Arrow fields that they are stored under."""
    values = {name: rows.property(text, f"properties.{name}") for name, text in part.properties.items()}
    return values, [arrow_field(name, value.type) for name, value in values.items()]


def provenance() -> list[Column]:
    """The columns of `PROVENANCE`."""
    return [F.col(name) for name in PROVENANCE]
