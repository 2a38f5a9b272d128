"""What resolution reads of every node: its block values, its strong keys, and its compared values prepared once."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial, reduce

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from kg.errors import ConfigError
from kg.expressions import Expressions
from kg.resolution import Across, Expression, Matching, Resolution, Sided
from kg.similarity import prepared
from kg.spark import kept, packed

Encode = Callable[[Iterable[pa.RecordBatch]], Iterable[pa.RecordBatch]]
"""Batches of one column ``text`` to batches of ``text`` and ``vector`` (list of float32, of length 1)."""
ENCODED = "text string, vector array<float>"


def compared(name: str) -> str:
    """The column of a comparison's prepared value."""
    return f"_by_{name}"


@dataclass(frozen=True)
class Records:
    """Nodes as resolution sees them.

    `frame` has ``_id`` (a number, even for the first of two sides, odd for the second), ``key``, ``_values`` (how
    many columns are not null), ``_prefer``, a column a comparison, and ``_shown`` (all values as texts, by name).
    """

    frame: DataFrame
    count: int
    sides: int
    matches: list[Column]
    blocks: list[Column]


def read_records(label: str, nodes: DataFrame, resolution: Resolution) -> Records:
    """The nodes of one label."""
    frame = kept(_read(f"resolution.{label}", nodes, resolution, _only, resolution.prefer))
    return _records([frame], resolution)


def _only(text: Sided) -> Expression:
    """Within a label both sides are one."""
    return str(text)


def read_both(place: str, nodes: Mapping[str, DataFrame], across: Across) -> Records:
    """The nodes of two labels, the first even, the second odd."""
    frames = []
    for side, label in enumerate(across.between):
        read = _read(place, nodes[label], across, partial(across.of, label), None)
        frames.append(kept(read.withColumn("_id", F.col("_id") * 2 + side)))
    return _records(frames, across)


def _records(frames: list[DataFrame], config: Matching) -> Records:
    """Count and, of two labels, stack."""
    frame = frames[0] if len(frames) == 1 else kept(packed(reduce(DataFrame.unionAll, frames)))
    count = frame.count()
    for name, comparison in config.compare.items():
        if comparison.common is not None:
            frame = _without_common(frame, compared(name), comparison.common)
    matches = [F.col(f"_match{i}") for i in range(len(config.match))]
    blocks = [F.col(f"_block{i}") for i in range(len(config.block))]
    return Records(frame, count, len(frames), matches, blocks)


def _without_common(frame: DataFrame, column: str, most: int) -> DataFrame:
    """The records, null in a column where more of them than `most` have the value."""
    common = kept(frame.where(F.col(column).isNotNull()).groupBy(column).count().where(F.col("count") > most))
    if not common.count():
        return frame
    found = frame.join(F.broadcast(common.withColumnRenamed("count", "_common")), on=column, how="left")
    value = F.when(F.col("_common").isNull(), F.col(column)).alias(column)
    return found.select(*(value if name == column else name for name in frame.columns))


def _read(
    place: str, nodes: DataFrame, config: Matching, of: Callable[[Sided], Expression], prefer: Expression | None
) -> DataFrame:
    read = Expressions(nodes.withColumn("_row", F.lit(0)), place)
    matches = [_key(read, of(text), f"match[{i}]") for i, text in enumerate(config.match)]
    blocks = [_key(read, of(text), f"block[{i}]") for i, text in enumerate(config.block)]
    values = {
        name: read.value(of(comparison.value), f"compare.{name}.value") for name, comparison in config.compare.items()
    }
    shown = {of(text): column for text, column in zip(config.match, matches, strict=True)}
    shown |= {name: value.column.cast("string") for name, value in values.items()}
    chosen = read.value(prefer, "prefer").column if prefer else F.lit(0)
    ready = [prepared(v.column, v.type, config.compare[name].by).alias(compared(name)) for name, v in values.items()]
    return read.frame.select(
        F.monotonically_increasing_id().alias("_id"),
        "key",
        "_values",
        chosen.alias("_prefer"),
        *(column.alias(f"_match{i}") for i, column in enumerate(matches)),
        *(column.alias(f"_block{i}") for i, column in enumerate(blocks)),
        *ready,
        F.map_from_entries(
            F.array(*(F.struct(F.lit(name).alias("name"), column.alias("value")) for name, column in shown.items()))
        ).alias("_shown"),
    )


def _key(read: Expressions, text: Expression, field: str) -> Column:
    value = F.trim(read.value(text, field, "string").column)
    return F.when(value != "", value)


def vectors(records: Records, ids: DataFrame, name: str, encode: Encode | None, place: str) -> DataFrame:
    """``_id``, ``vector`` of the compared texts of some records; equal texts are encoded once."""
    if encode is None:
        raise ConfigError(f"{place}.compare.{name}: cosine needs a text encoder; set embed.text, or compare by tokens")
    wanted = records.frame.join(ids, on="_id", how="left_semi").select("_id", F.col(compared(name)).alias("text"))
    wanted = kept(wanted.where("text is not null"))
    encoded = packed(wanted.select("text").distinct()).mapInArrow(encode, ENCODED)
    return wanted.join(encoded, on="text", how="inner").select("_id", "vector")


def shown() -> Column:
    """The values that were read of a record as ``values``, a JSON object without nulls."""
    return F.to_json(F.map_filter("_shown", lambda _, value: value.isNotNull())).alias("values")


def unranked() -> list[Column]:
    """The columns of `RECORD` that choose which record of a group is kept, where none is chosen."""
    return [F.lit(None).cast("string").alias("prefer"), F.lit(None).cast("long").alias("filled")]
