"""Graph features of nodes, over all relationships of the graph that sources gave (motifs are left out).

They are of all rows, events of the test included, so they are tables of their own (``features/<Label>``): they
become node properties in Neo4j and never enter a snapshot that a model is evaluated on.
"""

from collections.abc import Mapping

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from kg.communities import communities
from kg.core_numbers import core_numbers
from kg.feature_config import Features, PageRank
from kg.network import neighbours, network
from kg.spark import graph_frame, kept
from kg.triangles import triangles

DIGITS = 9


def features(nodes: Mapping[str, DataFrame], edges: Mapping[tuple[str, str], DataFrame], wanted: Features) -> DataFrame:
    """``label``, ``key`` and the columns of `wanted`, one row a node.

    `nodes` (by label) have ``key``, `edges` (by the labels of their ends) ``from_key`` and ``to_key``. ``degree``,
    ``in_degree``, ``out_degree`` (long) count relationships, parallel ones each, a loop as one in and one out;
    ``pagerank`` (double, mean 1 over all nodes) follows their direction. For the others direction, repeats and loops
    do not matter, only who is whose neighbour: ``community`` (string), ``triangles`` and ``core`` (long).
    """
    found, links = network(nodes, edges)
    ids = found.select("id")
    parts = []
    if wanted.degree or wanted.directed_degree:
        parts.append(degrees(links))
    if wanted.pagerank:
        parts.append(page_rank(ids, links, wanted.pagerank))
    pairs = kept(neighbours(links))
    if wanted.communities:
        parts.append(communities(found, pairs, list(edges), wanted.communities.rounds))
    if wanted.triangles:
        parts.append(triangles(pairs))
    if wanted.core:
        parts.append(core_numbers(pairs))
    for part in parts:
        found = found.join(part, on="id", how="left")
    # A node without relationships is in none of these tables but in PageRank's and the communities'.
    counts = [name for name in wanted.columns if name not in ("pagerank", "community")]
    return found.fillna(0, counts).select("label", "key", *wanted.columns)


def degrees(links: DataFrame) -> DataFrame:
    """``id``, ``in_degree``, ``out_degree``, ``degree`` of the nodes that have links."""
    outgoing = F.struct(F.col("src").alias("id"), F.lit(1).alias("out"))
    incoming = F.struct(F.col("dst").alias("id"), F.lit(0).alias("out"))
    ends = links.select(F.explode(F.array(outgoing, incoming)).alias("end")).select("end.id", "end.out")
    total = F.count("*")
    out = F.sum("out")
    return ends.groupBy("id").agg((total - out).alias("in_degree"), out.alias("out_degree"), total.alias("degree"))


def page_rank(ids: DataFrame, links: DataFrame, how: PageRank) -> DataFrame:
    """``id``, ``pagerank``: by GraphX; its sums come in any order, so the last digits are cut off."""
    if links.isEmpty():
        # On a graph without edges GraphX had not come to an end after five minutes.
        return ids.select("id", F.lit(1.0).alias("pagerank"))
    stop = {"maxIter": how.rounds} if how.tolerance is None else {"tol": how.tolerance}
    found = graph_frame(ids, links).pageRank(resetProbability=round(1 - how.damping, 12), **stop)
    return found.vertices.select("id", F.round("pagerank", DIGITS).alias("pagerank"))
