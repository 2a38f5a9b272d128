"""Entity resolution: nodes of one label that are the same become one.

Nodes match that agree on a strong key, or that share a block and are alike in what is compared. The connected
components of the matches are the groups: one node of each is kept, the others become aliases of it.
"""

from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from kg.resolution import Resolution
from kg.resolve_blocks import candidates
from kg.resolve_groups import members
from kg.resolve_pairs import Scorer, matches, similarity_column
from kg.resolve_records import Encode, Records, read_records, shown
from kg.schema import RECORD
from kg.spark import kept


@dataclass(frozen=True)
class Groups:
    """The nodes of a label that are the same."""

    aliases: DataFrame
    """``alias``, ``key``: which node becomes which."""
    matches: DataFrame
    """The pairs behind it, under `match_schema`."""
    records: DataFrame
    """Every node of a group under `RECORD`: what was read of it."""


@dataclass(frozen=True)
class Resolved:
    """What resolution did in a label; no groups where no two nodes are the same."""

    figures: dict[str, Any]
    groups: Groups | None = None


def resolve(label: str, nodes: DataFrame, resolution: Resolution, encode: Encode | None = None) -> Resolved:
    """Find which nodes of a label are the same.

    `nodes` has ``key``, the label's columns and ``_values``, how many of them are not null. The node with the
    highest `prefer` is kept, then the one with most values, then the smallest key. `encode` makes the vectors that
    a comparison by cosine needs.
    """
    records = read_records(label, nodes, resolution)
    scorer = Scorer(records, resolution, f"resolution.{label}", encode)
    figures: dict[str, Any] = {"records": records.count}
    blocks = candidates(records, resolution) if resolution.block else None
    figures |= blocks.figures if blocks else {}
    matched = kept(matches(scorer, blocks.pairs if blocks else None))
    figures["matched"] = size = matched.count()
    if not size:
        return Resolved(figures)
    chosen, split = members(scorer, matched.select("left", "right"), size, resolution)
    named = kept(_named(records, chosen))
    aliases = named.where("key != kept").select(F.col("key").alias("alias"), F.col("kept").alias("key"))
    explained = _explained(matched, named, list(resolution.compare))
    return Resolved(figures | {"split": split}, Groups(aliases, explained, named.select(*RECORD.names)))


def _named(records: Records, chosen: DataFrame) -> DataFrame:
    """The members of groups under `RECORD`, with their ids."""
    kept_keys = records.frame.select(F.col("_id").alias("_kept"), F.col("key").alias("kept"))
    of = records.frame.select(
        "_id",
        "key",
        F.col("_prefer").cast("string").alias("prefer"),
        F.col("_values").cast("long").alias("filled"),
        shown(),
    )
    return chosen.join(of, on="_id", how="inner").join(kept_keys, on="_kept", how="inner")


def _explained(matched: DataFrame, named: DataFrame, names: list[str]) -> DataFrame:
    """The matches by keys, the smaller one left; `merged` says whether both ended in one group."""
    for side in ("left", "right"):
        of = named.select(F.col("_id").alias(side), F.col("key").alias(f"{side}_key"), F.col("kept").alias(f"_{side}"))
        matched = matched.join(of, on=side, how="left")
    ends = [F.least("left_key", "right_key").alias("left"), F.greatest("left_key", "right_key").alias("right")]
    merged = (F.col("_left") == F.col("_right")).alias("merged")
    return matched.select(*ends, "rule", "score", merged, *map(similarity_column, names))


def fold(nodes: DataFrame, aliases: DataFrame, columns: list[str]) -> DataFrame:
    """Nodes with aliases folded into the nodes that are kept, whose null columns the others fill.

    Of several that could fill a column the one with most values does, then the one with the smallest key.
    """
    known = aliases.select(F.col("alias").alias("key"), F.col("key").alias("_kept"))
    grouped = nodes.join(known, on="key", how="left").withColumn("_node", F.coalesce("_kept", "key"))
    best = [F.col("_kept").isNull().desc(), F.col("_values").desc(), F.col("key").asc()]
    group = Window.partitionBy("_node").orderBy(*best).rowsBetween(Window.unboundedPreceding, Window.unboundedFollowing)
    filled = {column: F.first(F.col(f"`{column}`"), ignorenulls=True).over(group) for column in columns}
    return grouped.withColumns(filled).where("_kept is null").drop("_kept", "_node")
