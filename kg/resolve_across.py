"""Entity resolution across two labels: nodes that are the same stay two, joined by a relationship with a score.

It is read from what nodes are, never from what users did, so it may be learned from.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from kg.relationships import digest
from kg.resolution import Across
from kg.resolve_blocks import candidates
from kg.resolve_pairs import Scorer, matches, similarity_column
from kg.resolve_records import Encode, Records, read_both, shown, unranked
from kg.schema import SAME, EdgeType, relationship_schema
from kg.spark import conform, kept


@dataclass(frozen=True)
class Same:
    """The nodes of two labels that are the same."""

    matches: DataFrame
    """Under `match_schema`, the first label's key left; `merged` says whether a relationship is made."""
    records: DataFrame
    """Under `RECORD`, each ``Label:key`` beside the one that it is joined with."""
    figures: dict[str, Any]


def resolve_across(place: str, nodes: Mapping[str, DataFrame], across: Across, encode: Encode | None = None) -> Same:
    """Find which nodes of one label are which of the other; `nodes` (by label) as the node tables hold them.

    `place` is where the section stands, for messages; `encode` as for `resolve`.
    """
    records = read_both(place, {label: frame.withColumn("_values", F.lit(0)) for label, frame in nodes.items()}, across)
    figures: dict[str, Any] = {"records": records.count}
    blocks = candidates(records, across) if across.block else None
    figures |= blocks.figures if blocks else {}
    matched = matches(Scorer(records, across, place, encode), blocks.pairs if blocks else None)
    for side in ("left", "right"):
        of = records.frame.select(F.col("_id").alias(side), F.col("key").alias(f"{side}_key"))
        matched = matched.join(of, on=side, how="inner")
    names = list(across.compare)
    keyed = matched.select(
        F.col("left_key").alias("left"),
        F.col("right_key").alias("right"),
        "rule",
        "score",
        *map(similarity_column, names),
    )
    found = kept(keyed.withColumn("merged", _best() if across.one_to_one else F.lit(True)))
    counts = found.agg(F.count("*"), F.sum(F.col("merged").cast("int"))).first()
    figures |= {"matched": counts[0] if counts else 0, "joined": (counts[1] if counts else 0) or 0}
    return Same(found, _read(records, found, across), figures)


def _read(records: Records, found: DataFrame, across: Across) -> DataFrame:
    """What was read of every node that is joined, under `RECORD`."""
    joined = found.where("merged")
    parts = []
    for parity, (side, other) in enumerate((("left", "right"), ("right", "left"))):
        label, counterpart = across.between[parity], across.between[1 - parity]
        of = records.frame.where(F.col("_id") % 2 == parity).select(F.col("key").alias(side), "_shown")
        key = F.concat(F.lit(f"{label}:"), F.col(side)).alias("key")
        kept_key = F.concat(F.lit(f"{counterpart}:"), F.col(other)).alias("kept")
        parts.append(joined.join(of, on=side, how="inner").select(key, kept_key, *unranked(), shown()))
    return parts[0].unionAll(parts[1])


def _best() -> Column:
    """Whether each is the other's best match; the smaller key among equals."""
    nth = [
        F.row_number().over(Window.partitionBy(side).orderBy(F.col("score").desc(), other))
        for side, other in (("left", "right"), ("right", "left"))
    ]
    return (nth[0] == 1) & (nth[1] == 1)


def same_as(found: DataFrame, edge: EdgeType) -> DataFrame:
    """The relationships of an edge type that the matches of two labels make."""
    made = found.where("merged").select(F.col("left").alias("from_key"), F.col("right").alias("to_key"), "score")
    return conform(
        made.withColumn("row_id", digest(edge, "from_key", "to_key")), relationship_schema(SAME, interaction=False)
    )
