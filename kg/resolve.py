"""Entity resolution: nodes of one label that agree on a normalised key are one node.

The keys are SQL expressions over the label's own table. Nodes that share a value of a key are joined, and the
connected components of that graph are the nodes' groups: one of each is kept, the others become aliases of it.
"""

from functools import reduce

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from kg.expressions import Expressions
from kg.resolution import Resolution
from kg.spark import graph_frame, kept

# On 20,000 vertices GraphX took 4.6 s and GraphFrames' own algorithm 41 s, but GraphX holds the graph in memory.
GRAPHX_LIMIT = 1_000_000


def resolve(label: str, nodes: DataFrame, resolution: Resolution) -> DataFrame | None:
    """Which node becomes which: ``alias``, ``key``; None when no two are the same.

    `nodes` has ``key``, the label's columns and ``_values``, how many of them are not null. The node with the
    highest `prefer` is kept, then the one with most values, then the smallest key.
    """
    pairs = kept(_pairs(label, nodes, resolution))
    size = pairs.count()
    if not size:
        return None
    groups = components(pairs, "graphx" if size <= GRAPHX_LIMIT else "graphframes")
    read = Expressions(nodes.withColumn("_row", F.lit(0)), f"resolution.{label}")
    prefer = read.value(resolution.prefer, "prefer").column if resolution.prefer else F.lit(0)
    ranked = read.frame.select("key", "_values", prefer.alias("_prefer")).join(groups, on="key", how="inner")
    best = [F.col("_prefer").desc_nulls_last(), F.col("_values").desc(), F.col("key").asc()]
    chosen = F.first("key").over(Window.partitionBy("component").orderBy(*best))
    found = ranked.select(F.col("key").alias("alias"), chosen.alias("key"))
    return found.where("alias != key").localCheckpoint()


def _pairs(label: str, nodes: DataFrame, resolution: Resolution) -> DataFrame:
    """``src``, ``dst``: each node beside the smallest key among those that share a value with it."""
    read = Expressions(nodes.withColumn("_row", F.lit(0)), f"resolution.{label}")
    values = [read.value(text, f"match[{i}]", "string").column for i, text in enumerate(resolution.match)]
    anchor = F.min("key").over(Window.partitionBy("_value"))
    found = []
    for value in values:
        valued = read.frame.select("key", value.alias("_value")).where(F.trim("_value") != "")
        found.append(valued.select(F.col("key").alias("src"), anchor.alias("dst")).where("src != dst"))
    return reduce(DataFrame.unionAll, found).distinct()


def components(pairs: DataFrame, algorithm: str) -> DataFrame:
    """``key``, ``component``: the connected components of pairs of keys (``src``, ``dst``)."""
    keys = pairs.select(F.col("src").alias("key")).union(pairs.select(F.col("dst").alias("key"))).distinct()
    numbered = keys.withColumn("id", F.monotonically_increasing_id()).localCheckpoint()
    edges = pairs
    for side in ("src", "dst"):
        ids = numbered.select(F.col("key").alias(side), F.col("id").alias(f"{side}_id"))
        edges = edges.join(ids, on=side, how="inner")
    edges = edges.select(F.col("src_id").alias("src"), F.col("dst_id").alias("dst")).localCheckpoint()
    found = graph_frame(numbered.select("id"), edges).connectedComponents(algorithm=algorithm)
    return numbered.join(found, on="id", how="inner").select("key", "component")


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
