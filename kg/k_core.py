"""The k-core of interactions: what is left when users and items with too few of them are taken out, repeatedly."""

from dataclasses import replace

from pyspark.sql import functions as F

from kg.feature_config import KCore
from kg.mapping import FILTERED, Mapped, refuse


def k_core(mapped: Mapped, core: KCore) -> Mapped:
    """Filter the rows of pairs outside the k-core.

    It is the largest set of pairs in which every user has at least `core.user` items, every item `core.item` users.
    """
    pairs = mapped.accepted.select("from_key", "to_key").distinct().localCheckpoint(eager=False)
    size = pairs.count()
    while size:
        for side, least in (("from_key", core.user), ("to_key", core.item)):
            enough = pairs.groupBy(side).count().where(F.col("count") >= least).select(side)
            pairs = pairs.join(enough, on=side, how="left_semi")
        pairs = pairs.localCheckpoint(eager=False)
        before, size = size, pairs.count()
        if before == size:
            break
    inside = pairs.withColumn("_inside", F.lit(True))
    frame = mapped.frame.join(inside, on=["from_key", "to_key"], how="left")
    frame = refuse(frame, F.col("_inside").isNull(), FILTERED, "k_core").drop("_inside")
    return replace(mapped, frame=frame)
