"""Relationship mappings: rows to relationships between nodes that exist, and a user's events aggregated."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pyarrow as pa
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql import types as T

from kg.expressions import Expressions, Value
from kg.forgotten import NOTHING, Forgotten
from kg.forgotten_rows import forget, is_forgotten
from kg.mapping import (
    FILTERED,
    QUARANTINED,
    Mapped,
    blank,
    condition,
    filled,
    properties,
    provenance,
    refuse,
    rules,
    source_rows,
    verdict,
)
from kg.project import Graph, Relationship, edge_type
from kg.schema import EVENT, EdgeType, relationship_schema
from kg.source_rows import Rows
from kg.spark import conform

SEPARATOR = "\x1f"


def key_columns(keys: Sequence[str]) -> list[str]:
    """The columns that a relationship's `key` names."""
    return [{"from": "from_key", "to": "to_key"}.get(key, key) for key in keys]


def map_relationship(graph: Graph, name: str, rows: Mapping[str, Rows], forgotten: Forgotten = NOTHING) -> Mapped:
    """Every row with ``from_raw``, ``to_raw`` (ends as the source names them), values and verdict."""
    part = graph.relationships[name]
    read = source_rows(graph, part, rows, f"relationships.{name}")
    if not (part.from_ and part.to):
        raise ValueError(f"{name} has no ends of its own")
    read.add("_from", next(iter(part.from_.values())), "from", "string")
    read.add("_to", next(iter(part.to.values())), "to", "string")
    values, fields = properties(read, part)
    event, event_checks = _event(read, part)
    checks = [("null_key", blank(F.col("_from")) | blank(F.col("_to")))]
    checks += [(f"bad_type:{key}", values[key].lost) for key in part.key if key in values]
    coerced = [value.lost for key, value in values.items() if key not in part.key]
    verdicts = verdict(condition(read, part), checks + event_checks + rules(read, part), coerced)
    frame = read.frame.select(
        *provenance(),
        *verdicts,
        F.col("_from").alias("from_raw"),
        F.col("_to").alias("to_raw"),
        *event,
        *(value.column.alias(key) for key, value in values.items()),
    )
    edge = edge_type(name, part)
    if forgotten:
        ends = ((edge.source, "from_raw"), (edge.target, "to_raw"))
        for label, raw in ends:
            frame = forget(frame, is_forgotten(forgotten, label, F.col(raw)))
    return Mapped(f"relationships/{edge.name}", frame, fields, key_columns(part.key))


def _event(read: Expressions, part: Relationship) -> tuple[list[Column], list[tuple[str, Column]]]:
    """Time, weight and sign of an event, and what about them quarantines a row."""
    if not part.interaction:
        return [], []
    columns, checks = [F.lit(None).cast("timestamp").alias("time")], []
    if part.time:
        time = instant(read, part.time)
        columns = [time.column.alias("time")]
        checks += [("bad_type:time", time.lost), ("null:time", time.column.isNull())]
    weight = read.value(part.weight, "weight", "double") if part.weight else None
    positive = read.value(part.positive, "positive", "boolean") if part.positive else None
    columns.append((weight.column if weight else F.lit(None).cast("double")).alias("weight"))
    columns.append((F.coalesce(positive.column, F.lit(False)) if positive else F.lit(True)).alias("positive"))
    checks += [("bad_type:weight", weight.lost)] if weight else []
    checks += [("bad_type:positive", positive.lost)] if positive else []
    return columns, checks


def instant(read: Expressions, text: str) -> Value:
    """A time: a timestamp or date, or a number (or its digits) of seconds since 1970."""
    value = read.value(text, "time")
    column = value.column
    if isinstance(value.type, T.StringType):
        seconds = column.cast("double")
        column = F.when(seconds.isNotNull(), F.timestamp_seconds(seconds)).otherwise(column.cast("timestamp"))
        lost = column.isNull() & (F.trim(value.column) != "")
        return Value(column, T.TimestampType(), F.coalesce(lost | value.lost, F.lit(False)))
    if isinstance(value.type, T.NumericType):
        column = F.timestamp_seconds(column.cast("double"))
    return Value(column.cast("timestamp"), T.TimestampType(), value.lost)


def find_ends(mapped: Mapped, sources: DataFrame, targets: DataFrame) -> Mapped:
    """Turn raw ends into nodes' keys by two lookups (``raw``, ``key``); a row with an unknown end is quarantined."""
    frame = mapped.frame
    for side, lookup in (("from", sources), ("to", targets)):
        known = lookup.select(F.col("raw").alias(f"{side}_raw"), F.col("key").alias(f"{side}_key"))
        frame = frame.join(known, on=f"{side}_raw", how="left")
        frame = refuse(frame, F.col(f"{side}_key").isNull(), QUARANTINED, f"unknown_end:{side}")
    return replace(mapped, frame=frame.drop("from_raw", "to_raw"))


def digest(edge: EdgeType, *parts: str | Column) -> Column:
    """A row id: SHA-256 over the edge type and columns; times as microseconds, null as nothing."""
    text = [_text(F.col(part) if isinstance(part, str) else part) for part in parts]
    return F.substring(F.sha2(F.concat_ws(SEPARATOR, F.lit(edge.name), *text), 256), 1, 32)


def _text(column: Column) -> Column:
    return F.coalesce(column.cast("string"), F.lit(""))


def micros(column: str = "time") -> Column:
    """A timestamp as microseconds since 1970."""
    return F.unix_micros(F.col(column))


def events(mapped: Mapped, edge: EdgeType) -> DataFrame:
    """The accepted events as the `EVENT` table, before any k-core.

    A row id is a digest of the edge, ends, time, weight and sign, numbered among equal ones.
    """
    same = ["from_key", "to_key", "time", "weight", "positive"]
    # Sorted by a number, which is faster.
    nth = F.row_number().over(Window.partitionBy(F.xxhash64(*same), *same).orderBy("_position"))
    seen = F.col("_status") == FILTERED
    kept = mapped.frame.where((F.col("_status") == "accepted") | (seen & (F.col("_reason") == "k_core")))
    numbered = kept.withColumn("_nth", nth)
    row_id = digest(edge, "from_key", "to_key", micros(), "weight", "positive", "_nth")
    return conform(numbered.withColumn("row_id", row_id), EVENT)


def identified(mapped: Mapped, edge: EdgeType) -> DataFrame:
    """The accepted rows with ``row_id``, which is the same for rows that become one relationship."""
    return mapped.accepted.withColumn("row_id", digest(edge, *_identity(mapped)))


def _identity(mapped: Mapped) -> list[Column]:
    return [_text(micros() if key == "time" else F.col(f"`{key}`")) for key in mapped.keys]


def relationship_table(mapped: Mapped, edge: EdgeType, part: Relationship) -> DataFrame:
    """One row an identity (`key`): of repeats the last event wins, or the row with most values, then the first."""
    parts = _identity(mapped)
    names = [f"_key{number}" for number in range(len(parts))]
    rows = mapped.accepted.withColumns(dict(zip(names, parts, strict=True)))
    # By its ends too, for rows of a pair lie together, and first by a number, for rows are sorted.
    same = {"_same": F.xxhash64(*names)} | {name: F.col(name) for name in (*names, "from_key", "to_key")}
    table = _aggregated(rows, same, mapped.properties) if part.interaction else _first(rows, same, mapped.properties)
    table = table.withColumn("row_id", digest(edge, *names))
    return conform(table, relationship_schema(mapped.properties, interaction=part.interaction))


def _aggregated(rows: DataFrame, same: Mapping[str, Column], fields: list[pa.Field]) -> DataFrame:
    last = F.struct("time", "_position")
    return (
        rows.withColumns(dict(same))
        .groupBy(*same)
        .agg(
            F.count("*").alias("count"),
            F.min("time").alias("first"),
            F.max("time").alias("last"),
            F.max_by("weight", last).alias("weight"),
            F.bool_or("positive").alias("positive"),
            *(F.max_by(F.col(f"`{field.name}`"), last).alias(field.name) for field in fields),
        )
    )


def _first(rows: DataFrame, same: Mapping[str, Column], fields: list[pa.Field]) -> DataFrame:
    values = filled(field.name for field in fields)
    nth = F.row_number().over(Window.partitionBy(*same.values()).orderBy(values.desc(), F.col("_position")))
    return rows.withColumn("_nth", nth).where("_nth = 1")
