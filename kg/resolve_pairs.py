"""From candidates to matches: the similarity of every compared field, the score, and who agrees on a strong key."""

from dataclasses import dataclass
from functools import reduce

import pyarrow as pa
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from kg.resolution import Matching
from kg.resolve_records import Encode, Records, compared, vectors
from kg.similarity import similarity
from kg.spark import kept

# Up to so many records travel to every task, and no pair is shuffled to find its two.
BROADCAST = 100_000


@dataclass(frozen=True)
class Scorer:
    """Scores pairs of some records by the comparisons of a section of the project file."""

    records: Records
    config: Matching
    place: str
    encode: Encode | None = None

    def score(self, pairs: DataFrame, threshold: float | None = None) -> DataFrame:
        """`pairs` (``left``, ``right``: ids) with ``score`` and a column ``similarity_<name>`` a comparison.

        The score is null where too few fields could be compared. With a threshold only pairs that reach it are
        left, and texts are encoded only of those whose other fields leave it open.
        """
        found = self._joined(pairs)
        names = list(self.config.compare)
        alike = {
            similarity_column(name): similarity(c, F.col(f"_left.{compared(name)}"), F.col(f"_right.{compared(name)}"))
            for name, c in self.config.compare.items()
            if c.by != "cosine"
        }
        both = [F.col(f"_{side}.{compared(n)}").isNotNull() for n in self.config.cosine for side in ("left", "right")]
        for number, name in enumerate(self.config.cosine):
            alike[similarity_column(name)] = F.when(both[2 * number] & both[2 * number + 1], 1.0)
        found = self._scored(found.withColumns(alike).drop("_left", "_right"), threshold)
        if not self.config.cosine:
            return found
        found = kept(found)
        for name in self.config.cosine:
            found = self._by_cosine(found, name)
        return self._scored(found.select(*pairs.columns, *map(similarity_column, names)), threshold)

    def _joined(self, pairs: DataFrame) -> DataFrame:
        values = self.records.frame.select("_id", *map(compared, self.config.compare))
        few = self.records.count <= BROADCAST
        for side in ("left", "right"):
            of = values.select(F.col("_id").alias(side), F.struct(*values.columns[1:]).alias(f"_{side}"))
            pairs = pairs.join(F.broadcast(of) if few else of, on=side, how="inner")
        return pairs

    def _scored(self, pairs: DataFrame, threshold: float | None) -> DataFrame:
        score = _mean(self.config)
        scored = pairs.withColumn("score", score)
        return scored if threshold is None else scored.where(F.col("score") >= threshold)

    def _by_cosine(self, pairs: DataFrame, name: str) -> DataFrame:
        """The pairs with the cosine of a text, in place of the 1 that it could be at most."""
        open_ = pairs.where(F.col(similarity_column(name)).isNotNull())
        ids = open_.select(F.explode(F.array("left", "right")).alias("_id")).distinct()
        found = kept(vectors(self.records, ids, name, self.encode, self.place))
        for side in ("left", "right"):
            of = found.select(F.col("_id").alias(side), F.col("vector").alias(f"_{side}"))
            pairs = pairs.join(of, on=side, how="left")
        cosine = similarity(self.config.compare[name], F.col("_left"), F.col("_right"))
        return pairs.withColumn(similarity_column(name), cosine).drop("_left", "_right")


def similarity_column(name: str) -> str:
    """The column of a comparison's similarity."""
    return f"similarity_{name}"


def _mean(config: Matching) -> Column:
    """The weighted mean of the similarities that there are; null of too few.

    A similarity s weighs w(s) = against + (weight - against) s; with W = sum of the weights and d = doubt the score is
    (1 + d) sum w(s) s / (sum w(s) + d W).
    """
    alike = {name: F.col(similarity_column(name)) for name in config.compare}
    number = _sum([column.isNotNull().cast("int") for column in alike.values()])
    weights, total = [], []
    for name, column in alike.items():
        weight, against = config.compare[name].weights
        share = F.lit(against) + column * (weight - against)
        weights.append(F.coalesce(share, F.lit(0.0)))
        total.append(F.coalesce(share * column, F.lit(0.0)))
    doubt = config.doubt * sum(comparison.weight for comparison in config.compare.values())
    mean = _sum(total) / (_sum(weights) + doubt) * (1 + config.doubt)
    return F.when(number >= min(config.least, len(alike)), mean)


def _sum(columns: list[Column]) -> Column:
    return reduce(lambda a, b: a + b, columns)


def strong(records: Records) -> DataFrame:
    """``left``, ``right``, ``rule``: each record beside the smallest key that agrees on a `match` with it."""
    found = []
    for number, value in enumerate(records.matches):
        agreed = records.frame.where(value.isNotNull())
        for side in range(records.sides):
            other = F.lit(True) if records.sides == 1 else F.col("_id") % 2 == 1 - side
            anchor = F.min(F.when(other, F.struct("key", "_id"))).over(Window.partitionBy(value))
            pair = agreed.select("_id", anchor["_id"].alias("_anchor"))
            if records.sides == 2:
                pair = pair.where(F.col("_id") % 2 == side)
            ends = [F.col("_anchor"), F.col("_id")] if side == records.sides - 1 else [F.col("_id"), F.col("_anchor")]
            left, right = ends
            pair = pair.where("_anchor is not null and _anchor != _id")
            found.append(pair.select(left.alias("left"), right.alias("right"), F.lit(f"match[{number}]").alias("rule")))
    return reduce(DataFrame.unionAll, found)


def matches(scorer: Scorer, pairs: DataFrame | None) -> DataFrame:
    """Who is the same as whom: ``left``, ``right``, ``rule``, ``score`` and a similarity a comparison, each pair once.

    `pairs` are the candidates of blocks. A pair that agrees on a strong key has the score 1.
    """
    records, config = scorer.records, scorer.config
    columns = ["left", "right", "rule", *map(similarity_column, config.compare), "score"]
    found = []
    if pairs is not None:
        named = pairs.withColumn("rule", F.format_string("block[%d]", "rule"))
        found.append(scorer.score(named, config.threshold).select(*columns))
    if config.match:
        nothing = {similarity_column(name): F.lit(None).cast("double") for name in config.compare}
        found.append(strong(records).withColumns(nothing | {"score": F.lit(1.0)}).select(*columns))
    together = reduce(DataFrame.unionAll, found)
    if len(config.match) + bool(config.compare) == 1:
        return together
    ends = (F.least("left", "right"), F.greatest("left", "right"))
    best = Window.partitionBy(*ends).orderBy(F.col("score").desc(), "rule")
    return together.withColumn("_nth", F.row_number().over(best)).where("_nth = 1").drop("_nth")


def match_schema(config: Matching) -> pa.Schema:
    """Of ``matches/<Label>``: one row a pair that was found the same, with what that was judged by.

    `rule` is the first expression that brought them together (``match[0]``, ``block[1]``); `merged` is false where
    the group was split again.
    """
    text = [pa.field(name, pa.string(), nullable=False) for name in ("left", "right", "rule")]
    values = [pa.field(similarity_column(name), pa.float64()) for name in config.compare]
    return pa.schema([*text, pa.field("score", pa.float64()), pa.field("merged", pa.bool_()), *values])
