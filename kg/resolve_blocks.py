"""Candidates: which records are compared, so that no step is quadratic in a block.

Blocks up to a size give all their pairs. A larger one is sorted by every compared text in turn, and each record is
paired with its next neighbours (the sorted-neighbourhood method, Hernández and Stolfo 1995).
"""

from dataclasses import dataclass, field

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from kg.resolution import Matching
from kg.resolve_records import Records, compared
from kg.similarity import sort_text
from kg.spark import kept


@dataclass
class Candidates:
    """Pairs to compare (``left``, ``right``: ids; ``rule``: the first block expression that found it), each once."""

    pairs: DataFrame
    figures: dict[str, int] = field(default_factory=dict)
    """`blocks` of at least two records, of them `windowed` and `stopped`; `compared` pairs."""


def candidates(records: Records, config: Matching) -> Candidates:
    """The pairs of the records' blocks. A pair of one side is none where the records have two."""
    blocks = kept(_blocks(records))
    limit = max(config.block_size, int(config.stop * records.count))
    small, stopped = F.col("_n") <= config.block_size, F.col("_n") > limit
    share = F.sum(1 / F.col("_n"))
    counts = blocks.agg(share, *(share_ for share_ in (_share(~small & ~stopped), _share(stopped)))).first()
    found, windowed, left_out = (round(count or 0) for count in (counts or (0, 0, 0)))
    pairs = _all_pairs(blocks.where(small))
    if windowed:
        pairs = pairs.unionAll(_neighbours(blocks.where(~small & ~stopped), records, config))
    once = kept(_oriented(pairs, records).groupBy("left", "right").agg(F.min("_rule").alias("rule")))
    figures = {"blocks": found, "windowed": windowed, "stopped": left_out, "compared": once.count()}
    return Candidates(once, figures)


def _share(condition: Column) -> Column:
    return F.sum(F.when(condition, 1 / F.col("_n")).otherwise(0))


def _blocks(records: Records) -> DataFrame:
    """``_id``, ``_rule``, ``_value``, ``_n``: every record in every block that holds another one too."""
    values = F.array(*records.blocks)
    entries = records.frame.select("_id", F.posexplode(values).alias("_rule", "_value")).where("_value is not null")
    size = F.count("*").over(Window.partitionBy("_rule", "_value"))
    return entries.withColumn("_n", size).where("_n > 1")


def _all_pairs(blocks: DataFrame) -> DataFrame:
    """Each record of a block with all after it."""
    members = blocks.groupBy("_rule", "_value").agg(F.collect_list("_id").alias("_ids"))
    following = members.select("_rule", "_ids", F.posexplode("_ids").alias("_nth", "_a"))
    rest = F.expr("slice(_ids, _nth + 2, size(_ids))")
    return following.select("_rule", "_a", F.explode(rest).alias("_b"))


def _neighbours(blocks: DataFrame, records: Records, config: Matching) -> DataFrame:
    """Each record of a block with the next few, in the order of every compared text."""
    texts = [sort_text(F.col(compared(name)), comparison.by) for name, comparison in config.compare.items()]
    # By key among equals, for ids differ from one machine to another.
    orders = records.frame.select("_id", "key", F.posexplode(F.array(*texts)).alias("_order", "_text"))
    entries = blocks.join(orders.where("_text is not null"), on="_id", how="inner")
    order = Window.partitionBy("_rule", "_value", "_order").orderBy("_text", "key")
    following = F.array(*(F.lead("_id", n).over(order) for n in range(1, config.window + 1)))
    beside = entries.select("_rule", F.col("_id").alias("_a"), following.alias("_following"))
    paired = beside.select("_rule", "_a", F.explode("_following").alias("_b"))
    return paired.where("_b is not null")


def _oriented(pairs: DataFrame, records: Records) -> DataFrame:
    """The smaller id left; of two sides the first."""
    if records.sides == 1:
        return pairs.select("_rule", F.least("_a", "_b").alias("left"), F.greatest("_a", "_b").alias("right"))
    apart = pairs.where("_a % 2 != _b % 2")
    first = F.col("_a") % 2 == 0
    left, right = F.when(first, F.col("_a")).otherwise(F.col("_b")), F.when(first, F.col("_b")).otherwise(F.col("_a"))
    return apart.select("_rule", left.alias("left"), right.alias("right"))
