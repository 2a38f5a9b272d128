"""From matches to groups: connected components, the record of each that is kept, and chains that are cut again."""

from functools import reduce

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from kg.resolution import Resolution
from kg.resolve_pairs import Scorer
from kg.spark import graph_frame, kept

# On 20,000 vertices GraphX took 4.6 s and GraphFrames' own algorithm 41 s, but GraphX holds the graph in memory.
GRAPHX_LIMIT = 1_000_000


def components(pairs: DataFrame, algorithm: str) -> DataFrame:
    """``id``, ``component``: the connected components of pairs of ids (``left``, ``right``)."""
    vertices = kept(pairs.select(F.explode(F.array("left", "right")).alias("id")).distinct())
    edges = kept(pairs.select(F.col("left").alias("src"), F.col("right").alias("dst")))
    return graph_frame(vertices, edges).connectedComponents(algorithm=algorithm)


def members(scorer: Scorer, matched: DataFrame, size: int, resolution: Resolution) -> tuple[DataFrame, int]:
    """Who is in a group: ``_id``, ``_kept`` (the id that stands for the group); and how many were split off.

    `matched` are `size` pairs ``left``, ``right``. Whoever is tied to the kept record by a chain alone and scores
    below `floor` beside it leaves the group; those who leave are grouped anew by the matches among themselves.
    """
    found: list[DataFrame] = []
    split, everyone = 0, matched
    while True:
        groups = components(matched, "graphx" if size <= GRAPHX_LIMIT else "graphframes")
        chosen = kept(_kept(scorer.records.frame, groups))
        if not resolution.compare or not resolution.floor:
            return reduce(DataFrame.unionAll, [*found, chosen]), split
        strangers = kept(_strangers(scorer, matched, chosen, resolution.floor))
        leaving = strangers.count()
        found.append(chosen.join(strangers, on="_id", how="left_anti"))
        if not leaving:
            break
        split += leaving
        for side in ("left", "right"):
            matched = matched.join(strangers.withColumnRenamed("_id", side), on=side, how="left_semi")
        matched = kept(matched)
        size = matched.count()
        if not size:
            break
    grouped = kept(reduce(DataFrame.unionAll, found))
    return (_with_single(grouped, everyone), split) if split else (grouped, split)


def _with_single(grouped: DataFrame, everyone: DataFrame) -> DataFrame:
    """Who left a group and found no other stands for itself."""
    all_ = everyone.select(F.explode(F.array("left", "right")).alias("_id")).distinct()
    return kept(all_.join(grouped, on="_id", how="left").select("_id", F.coalesce("_kept", "_id").alias("_kept")))


def _kept(records: DataFrame, groups: DataFrame) -> DataFrame:
    """The highest `prefer`, then the most values, then the smallest key stands for a group."""
    ranked = records.select("_id", "key", "_values", "_prefer").join(groups.withColumnRenamed("id", "_id"), on="_id")
    best = [F.col("_prefer").desc_nulls_last(), F.col("_values").desc(), F.col("key").asc()]
    first = F.first("_id").over(Window.partitionBy("component").orderBy(*best))
    return ranked.select("_id", first.alias("_kept"))


def _strangers(scorer: Scorer, matched: DataFrame, chosen: DataFrame, floor: float) -> DataFrame:
    """``_id`` of those who have not matched the record kept for them, and are unlike it."""
    ends = [F.least("left", "right").alias("left"), F.greatest("left", "right").alias("right")]
    beside = chosen.where("_id != _kept").select(F.col("_id").alias("left"), F.col("_kept").alias("right"))
    indirect = beside.select("*", *(e.alias(f"_{n}") for n, e in enumerate(ends)))
    direct = matched.select(*(e.alias(f"_{n}") for n, e in enumerate(ends)))
    far = indirect.join(direct, on=["_0", "_1"], how="left_anti").select("left", "right")
    return scorer.score(far).where(F.col("score") < floor).select(F.col("left").alias("_id"))
