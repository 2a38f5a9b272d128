"""Triangles of an undirected graph.

GraphFrames' `triangleCount` joins all pairs of a node's neighbours, which is quadratic in a node with many. Here each
pair is kept at its end with fewer neighbours, so that no node has more than √(2 pairs) of them: Schank & Wagner (2005),
Finding, counting and listing all triangles in large graphs, "forward".
"""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from kg.spark import kept


def triangles(pairs: DataFrame) -> DataFrame:
    """``id``, ``triangles`` (long) of the nodes that are in one; `pairs` (``src`` < ``dst``) come once each."""
    kept_at = kept(_kept_at_the_lesser(pairs))
    other = kept_at.select("id", F.col("other").alias("third"))
    wedges = kept_at.join(other, on="id", how="inner").where("other < third")
    closing = pairs.select(F.col("src").alias("other"), F.col("dst").alias("third"))
    found = wedges.join(closing, on=["other", "third"], how="inner")
    corners = found.select(F.explode(F.array("id", "other", "third")).alias("id"))
    return corners.groupBy("id").agg(F.count("*").alias("triangles"))


def _kept_at_the_lesser(pairs: DataFrame) -> DataFrame:
    """``id``, ``other``: each pair from its end with fewer neighbours, the smaller id where both have as many."""
    ends = pairs.select(F.explode(F.array("src", "dst")).alias("id"))
    degrees = kept(ends.groupBy("id").agg(F.count("*").alias("degree")))
    known = pairs
    for side in ("src", "dst"):
        rank = degrees.select(F.col("id").alias(side), F.struct("degree", "id").alias(f"{side}_rank"))
        known = known.join(rank, on=side, how="inner")
    first = F.col("src_rank") < F.col("dst_rank")
    lesser, greater = F.when(first, F.col("src")).otherwise(F.col("dst")), F.when(first, F.col("dst"))
    return known.select(lesser.alias("id"), greater.otherwise(F.col("src")).alias("other"))
