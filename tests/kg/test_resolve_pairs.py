"""Blocks and scores: who is compared, how often, and what comes out, on records small enough to work out by hand."""

from typing import Any

import pytest
from pydantic import ValidationError
from pyspark.sql import SparkSession

from kg.errors import ConfigError
from kg.resolution import Across, Resolution
from kg.resolve import resolve
from kg.resolve_blocks import candidates
from kg.resolve_pairs import Scorer
from kg.resolve_records import Records, read_records
from tests.benchmarks.persons import persons
from tests.benchmarks.resolution import PERSONS, measure

COLUMNS = "key string, name string, city string, age long, _values int"
BY_NAME = {"name": {"value": "name", "by": "edit", "tolerance": 1}, "city": {"value": "city", "by": "equal"}}


def records(spark: SparkSession, rows: list[tuple[Any, ...]], resolution: Resolution) -> Records:
    return read_records("User", spark.createDataFrame(rows, COLUMNS), resolution)


def pairs(spark: SparkSession, rows: list[tuple[Any, ...]], resolution: Resolution) -> dict[tuple[str, ...], int]:
    """Compared pairs by keys, with the block that found them."""
    read = records(spark, rows, resolution)
    names = {row._id: row.key for row in read.frame.collect()}
    found = candidates(read, resolution)
    collected = [(tuple(sorted((names[r.left], names[r.right]))), r.rule) for r in found.pairs.collect()]
    assert len(collected) == len(dict(collected)) == found.figures["compared"]
    return dict(collected)


def test_who_shares_a_block_is_compared_once_and_null_blocks_nobody(spark: SparkSession) -> None:
    rows = [("a", "x", "R", 1, 3), ("b", "x", "R", 2, 3), ("c", "y", "R", None, 2), ("d", " ", None, None, 1)]
    rows += [("e", None, " ", None, 0)]
    found = pairs(spark, rows, Resolution(block=["name", "city"], compare=BY_NAME))
    assert found == {("a", "b"): 0, ("a", "c"): 1, ("b", "c"): 1}


def test_a_large_block_costs_its_neighbours_and_finds_those_who_are_alike(spark: SparkSession) -> None:
    # 400 of one city, two by two of one name: all pairs would be 79,800.
    rows = [(f"k{i:03}", f"name{i // 2:04} {i // 2 * 7919 % 9973}", "R", i, 3) for i in range(400)]
    config = Resolution(block=["city"], compare=BY_NAME, window=3, stop=1)
    found = pairs(spark, rows, config)
    # Sorted by name and by city, each with the next three.
    assert len(found) <= 2 * 3 * 400
    assert all((f"k{i:03}", f"k{i + 1:03}") in found for i in range(0, 400, 2))
    read = records(spark, rows, config)
    assert candidates(read, config).figures == {"blocks": 1, "windowed": 1, "stopped": 0, "compared": len(found)}
    stopped = config.model_copy(update={"stop": 0.9})
    assert candidates(read, stopped).figures == {"blocks": 1, "windowed": 0, "stopped": 1, "compared": 0}


def test_the_score_is_the_weighted_mean_of_what_both_have_less_the_doubt(spark: SparkSession) -> None:
    compare = {
        "name": {"value": "name", "by": "edit", "tolerance": 1, "weight": 2},
        "city": {"value": "city", "by": "equal", "weight": 2, "against": 0.5},
        "age": {"value": "age", "by": "number", "tolerance": 10},
    }
    config = Resolution(block=["'all'"], compare=compare, doubt=0.2, stop=1)
    rows = [
        ("a", "abcd", "R", 30, 3),
        ("b", "abcx", "S", 35, 3),
        ("c", "abcd", "R", None, 2),
        ("d", None, "R", None, 1),
    ]
    read = records(spark, rows, config)
    names = {row._id: row.key for row in read.frame.collect()}
    scored = Scorer(read, config, "x").score(candidates(read, config).pairs).collect()
    scores = {tuple(sorted((names[r.left], names[r.right]))): r.score for r in scored}
    # Doubt: 0.2 of all weights (5) is 1. a, b: 0.75 x 2 + 0 x 0.5 + 0.5 x 1 of 2 + 0.5 + 1.
    assert scores["a", "b"] == pytest.approx(1.2 * 2 / (3.5 + 1))
    assert scores["a", "c"] == pytest.approx(1.2 * 4 / (4 + 1))
    # Of d only the city is known: less than the two fields that are asked for.
    assert scores["a", "d"] is None


def test_namesakes_of_one_city_of_whom_nothing_else_is_known_are_not_the_same(spark: SparkSession) -> None:
    # Name and city are 2.5 of all weights (9.5): (1 + d) 2.5 / (2.5 + 9.5 d) is 0.64 at a doubt d of 0.25.
    compare = {"name": {"value": "name", "weight": 2}, "city": {"value": "city", "weight": 0.5}}
    config = Resolution(block=["name"], compare=compare | {"age": {"value": "age", "by": "equal", "weight": 7}}, stop=1)
    rows = [("a", "Ann Lee", "R", None, 2), ("b", "Ann Lee", "R", None, 2)]
    rows += [("c", "Eva Roe", "R", 41, 3), ("d", "Eva Roe", "S", 41, 3)]
    found = resolve("User", spark.createDataFrame(rows, COLUMNS), config)
    assert found.groups and [(r.alias, r.key) for r in found.groups.aliases.collect()] == [("d", "c")]


@pytest.mark.parametrize(("common", "merged"), [(None, {"b", "d"}), (2, {"d"}), (3, {"b", "d"})])
def test_a_value_that_too_many_have_counts_as_missing(
    spark: SparkSession, common: int | None, merged: set[str]
) -> None:
    age = {"value": "age", "by": "equal", "weight": 7, "common": common}
    compare = {"name": {"value": "name", "weight": 2}, "city": {"value": "city", "weight": 0.5}, "age": age}
    config = Resolution(block=["name"], compare=compare, stop=1)
    rows = [("a", "Ann Lee", "R", 0, 2), ("b", "Ann Lee", "R", 0, 2), ("e", "Ida Fox", "R", 0, 2)]
    rows += [("c", "Eva Roe", "R", 41, 3), ("d", "Eva Roe", "S", 41, 3)]
    found = resolve("User", spark.createDataFrame(rows, COLUMNS), config)
    assert found.groups and {r.alias for r in found.groups.aliases.collect()} == merged


def test_only_equal_values_can_be_too_common() -> None:
    with pytest.raises(ValidationError, match="`common` goes with `by: equal`"):
        Resolution(block=["name"], compare={"name": {"value": "name", "by": "edit", "common": 9}})


def test_a_chain_is_cut_where_its_ends_have_nothing_in_common(spark: SparkSession) -> None:
    # Each next name has two letters more of the last one's; a and c share no letter. a has most values.
    rows = [("a", "aaaaaa", "R", 1, 3), ("b", "aaabbb", "R", None, 2), ("c", "bbbbbb", "R", None, 2)]
    compare = {"name": {"value": "name", "by": "edit", "tolerance": 1}}
    config = Resolution(block=["city"], compare=compare, threshold=0.5, floor=0.3, stop=1)
    whole = resolve("User", spark.createDataFrame(rows, COLUMNS), config.model_copy(update={"floor": 0}))
    cut = resolve("User", spark.createDataFrame(rows, COLUMNS), config)
    assert whole.groups and {r.alias for r in whole.groups.aliases.collect()} == {"b", "c"}
    assert cut.groups and {r.alias for r in cut.groups.aliases.collect()} == {"b"}
    assert (whole.figures["split"], cut.figures["split"]) == (0, 1)
    merged = {(r.left, r.right): r.merged for r in cut.groups.matches.collect()}
    assert merged == {("a", "b"): True, ("b", "c"): False}


def test_a_strong_key_merges_whatever_else_differs(spark: SparkSession) -> None:
    rows = [("a", "x", "R", 7, 3), ("b", "y", "S", 7, 3), ("c", "zz", "S", 8, 3), ("d", "zz", "S", 9, 3)]
    config = Resolution(match=["age"], block=["name"], compare=BY_NAME)
    found = resolve("User", spark.createDataFrame(rows, COLUMNS), config)
    assert found.groups
    assert {(r.left, r.right): (r.rule, r.score) for r in found.groups.matches.collect()} == {
        ("a", "b"): ("match[0]", 1.0),
        ("c", "d"): ("block[0]", 1.0),
    }


@pytest.mark.slow
def test_persons_with_noise_are_found_with_few_mistakes(spark: SparkSession) -> None:
    found = measure(spark, persons(1500, seed=11), PERSONS)
    assert found.precision >= 0.98 and found.recall >= 0.9
    assert found.compared < 1.5 * found.records


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ({"block": ["a"]}, "`block` and `compare` together"),
        ({}, "expected `match`"),
        ({"match": ["a"], "threshold": 2}, "less than or equal to 1"),
        ({"match": ["a"], "treshold": 0.5}, "Extra inputs"),
    ],
)
def test_a_section_that_could_find_nothing_is_refused(section: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        Resolution.model_validate(section)


def test_expressions_must_fit_the_labels() -> None:
    two = {"User": "a", "Film": "b"}
    assert [place for place, _ in Resolution(match=[two]).problems(("resolution", "User"))] == [
        ("resolution", "User", "match", 0)
    ]
    across = Across(between=["User", "Book"], match=[two])
    assert [place for place, _ in across.problems(("across", 0), ["Film", "User"])] == [
        ("across", 0, "between"),
        ("across", 0, "match", 0),
    ]


def test_cosine_without_an_encoder_says_what_to_do(spark: SparkSession) -> None:
    rows = [("a", "x", "R", 7, 3), ("b", "y", "R", 7, 3)]
    config = Resolution(block=["city"], compare={"name": {"value": "name", "by": "cosine"}}, stop=1)
    with pytest.raises(ConfigError, match=r"resolution.User.compare.name: cosine needs a text encoder; set embed.text"):
        resolve("User", spark.createDataFrame(rows, COLUMNS), config)
