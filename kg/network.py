"""The whole graph as one network for Spark: nodes by number, links between them, and who is whose neighbour."""

from collections.abc import Mapping
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from kg.errors import ContractError
from kg.spark import kept, packed


def network(nodes: Mapping[str, DataFrame], edges: Mapping[tuple[str, str], DataFrame]) -> tuple[DataFrame, DataFrame]:
    """Vertices (``label``, ``key``, ``id``) and links (``src``, ``dst``), for arguments as those of `features`."""
    labelled = [frame.select(F.lit(label).alias("label"), "key") for label, frame in nodes.items()]
    vertices = kept(packed(reduce(DataFrame.unionAll, labelled)).withColumn("id", _id(F.col("label"), "key")))
    total, distinct = vertices.agg(F.count("*"), F.countDistinct("id")).first() or (0, 0)
    if total != distinct:
        raise ContractError("features", "nodes with different 64-bit hashes", f"{total} nodes have {distinct}")
    links = [
        frame.select(_id(F.lit(source), "from_key").alias("src"), _id(F.lit(target), "to_key").alias("dst"))
        for (source, target), frame in edges.items()
    ]
    none = vertices.where("false").select(F.col("id").alias("src"), F.col("id").alias("dst"))
    return vertices, kept(packed(reduce(DataFrame.unionAll, links, none)))


def neighbours(links: DataFrame) -> DataFrame:
    """Who is whose neighbour: each pair of nodes that are linked at all once, ``src`` less than ``dst``."""
    pair = [F.least("src", "dst").alias("src"), F.greatest("src", "dst").alias("dst")]
    return links.where("src != dst").select(*pair).distinct()


def both_ways(pairs: DataFrame) -> DataFrame:
    """``src``, ``dst``: every pair in both directions."""
    return pairs.unionAll(pairs.select(F.col("dst").alias("src"), F.col("src").alias("dst")))


def _id(label: Column, key: str) -> Column:
    """A node's number: a hash, so that no table of ids must be joined twice to every relationship."""
    return F.xxhash64(label, F.col(key))
