"""Every measure on values of which the similarity can be worked out by hand."""

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from kg.resolution import Comparison
from kg.similarity import prepared, similarity

EDIT = Comparison(value="v", by="edit", tolerance=1)
CASES = [
    # Case, accents, punctuation and blanks do not count.
    (Comparison(value="v", by="equal"), "  Müller-Łoś ", "muller łos", 1.0),
    (Comparison(value="v", by="equal"), "a", "b", 0.0),
    (Comparison(value="v", by="equal"), "a", "  ", None),
    # kitten to sitting: 3 edits of 7 letters; by the default no more than half may differ: 1 - (3 / 7) / 0.5.
    (EDIT, "kitten", "sitting", 1 - 3 / 7),
    (Comparison(value="v", by="edit"), "kitten", "sitting", 1 - 6 / 7),
    (Comparison(value="v", by="edit"), "kitten", "warsaw", 0.0),
    # Swapped names are equal when their words are sorted; one typo in nine letters is left.
    (EDIT, "Ann Lee", "Lee, Ann", 1.0),
    (EDIT, "Anna Frost", "Frost Anne", 1 - 1 / 10),
    (EDIT, None, "x", None),
    # {red, big, car} and {big, red, bus}: 2 words of 4.
    (Comparison(value="v", by="tokens"), "red big car", "Big red BUS", 0.5),
    (Comparison(value="v", by="tokens"), None, "a", None),
    (Comparison(value="v", by="number"), "3", "3.0", 1.0),
    (Comparison(value="v", by="number"), "3", "4", 0.0),
    (Comparison(value="v", by="number", tolerance=4), "3", "4", 0.75),
    (Comparison(value="v", by="number", tolerance=4), "-3", "4", 0.0),
    (Comparison(value="v", by="number", tolerance=4), None, "4", None),
]


def test_similarities_are_those_worked_out_by_hand(spark: SparkSession) -> None:
    frame = spark.createDataFrame([(0,)], "i int")
    type_ = frame.select(F.lit("").alias("v")).schema[0].dataType
    columns = []
    for number, (comparison, left, right, _) in enumerate(CASES):
        sides = [prepared(F.lit(value).cast("string"), type_, comparison.by) for value in (left, right)]
        columns.append(similarity(comparison, *sides).alias(str(number)))
    for (comparison, left, right, wanted), value in zip(CASES, frame.select(*columns).collect()[0], strict=True):
        assert value == (wanted if wanted is None else pytest.approx(wanted)), (comparison, left, right)
