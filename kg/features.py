"""Graph features of nodes by GraphFrames, over all relationships of the graph.

They are of all rows, events of the test included, so they are tables of their own (``features/<Label>``): they
become node properties in Neo4j and never enter a snapshot that a model is evaluated on.
"""

from collections.abc import Mapping
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from kg.errors import ContractError
from kg.feature_config import Features
from kg.spark import graph_frame, kept, packed

RESET = 0.15
# What is left of the start after n rounds is 0.85^n: 4% after 20, where ranks no longer change places.
ROUNDS = 20


def features(
    nodes: Mapping[str, DataFrame], edges: Mapping[tuple[str, str], DataFrame], wanted: Features, rounds: int = ROUNDS
) -> DataFrame:
    """``label``, ``key``, ``degree`` (long: relationships in and out) and ``pagerank`` (double, mean 1 over all nodes).

    `nodes` (by label) have ``key``, `edges` (by the labels of their ends) ``from_key`` and ``to_key``. A feature that
    is not wanted is null. PageRank follows the relationships' direction, with a reset probability of 0.15.
    """
    labelled = [frame.select(F.lit(label).alias("label"), "key") for label, frame in nodes.items()]
    vertices = kept(packed(reduce(DataFrame.unionAll, labelled)).withColumn("id", _id(F.col("label"), "key")))
    links = [
        frame.select(_id(F.lit(source), "from_key").alias("src"), _id(F.lit(target), "to_key").alias("dst"))
        for (source, target), frame in edges.items()
    ]
    total, distinct = vertices.agg(F.count("*"), F.countDistinct("id")).first() or (0, 0)
    if total != distinct:
        raise ContractError("features", "nodes with different 64-bit hashes", f"{total} nodes have {distinct}")
    found = vertices.withColumn("degree", F.lit(None).cast("long")).withColumn("pagerank", F.lit(None).cast("double"))
    if not links:
        return found.drop("id")
    graph = graph_frame(vertices.select("id"), kept(packed(reduce(DataFrame.unionAll, links))))
    if wanted.degree:
        found = found.drop("degree").join(graph.degrees.withColumnRenamed("degree", "_degree"), on="id", how="left")
        found = found.withColumn("degree", F.coalesce("_degree", F.lit(0)).cast("long")).drop("_degree")
    if wanted.pagerank:
        ranks = graph.pageRank(resetProbability=RESET, maxIter=rounds).vertices.select("id", "pagerank")
        found = found.drop("pagerank").join(ranks, on="id", how="left")
    return found.select("label", "key", "degree", "pagerank")


def _id(label: Column, key: str) -> Column:
    """A node's number: a hash, so that no table of ids must be joined twice to every relationship."""
    return F.xxhash64(label, F.col(key))
