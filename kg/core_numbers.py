r"""Core numbers: the largest k of which a node is in the k-core, where every node has k neighbours or more.

After Lü et al. (2016), The H-index of a network node and its relation to degree and coreness, Nature Communications 7:

.. math:: h_0(i) = \deg i, \quad h_{n+1}(i) = \max \{h : |\{j \sim i : h_n(j) \ge h\}| \ge h\}

falls to the core number of :math:`i`. GraphFrames has no core numbers.
"""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from kg.network import both_ways
from kg.spark import kept


def core_numbers(pairs: DataFrame) -> DataFrame:
    """``id``, ``core`` (long) of the nodes that have neighbours; `pairs` (``src`` < ``dst``) come once each.

    Rounds go on until none falls: a few dozen on interactions, up to half the length of the longest chain of nodes.
    """
    ends = kept(both_ways(pairs))
    found = ends.groupBy("dst").agg(F.count("*").alias("core")).localCheckpoint(eager=False)
    total = None
    while total != (total := found.agg(F.sum("core")).first()):
        known = found.select(F.col("dst").alias("src"), "core")
        lists = ends.join(known, on="src", how="inner").groupBy("dst").agg(F.collect_list("core").alias("core"))
        ordered = F.sort_array("core", asc=False)
        found = lists.select("dst", F.size(F.filter(ordered, lambda h, place: h > place)).cast("long").alias("core"))
        found = found.localCheckpoint(eager=False)
    return found.withColumnRenamed("dst", "id")
