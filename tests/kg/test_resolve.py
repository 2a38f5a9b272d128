"""Nodes that are the same become one: chains over several keys, nulls, which one is kept, and both algorithms."""

import networkx as nx
from pyspark.sql import DataFrame, SparkSession

from kg.resolution import Resolution
from kg.resolve import Resolved, fold, resolve
from kg.resolve_groups import components

BY_BOTH = ["lower(trim(email))", "phone"]
# a and b share an email, b and c a phone: one person. d and e have neither; f's email is blank; g is alone.
PEOPLE = [
    ("a", "X@x ", None, None, 1),
    ("b", "x@x", "7", None, 2),
    ("c", None, "7", 30, 2),
    ("d", None, None, 40, 1),
    ("e", None, None, 40, 1),
    ("f", " ", None, None, 1),
    ("g", "g@x", "8", None, 2),
]


def people(spark: SparkSession) -> DataFrame:
    return spark.createDataFrame(PEOPLE, "key string, email string, phone string, age long, _values int")


def aliases(found: Resolved) -> dict[str, str]:
    return {row.alias: row.key for row in found.groups.aliases.collect()} if found.groups else {}


def test_a_chain_over_different_keys_is_one_node_and_null_never_matches(spark: SparkSession) -> None:
    # b and c have most values, b the smaller key.
    found = resolve("User", people(spark), Resolution(match=BY_BOTH))
    assert aliases(found) == {"a": "b", "c": "b"}
    assert found.groups is not None
    nodes = fold(people(spark), found.groups.aliases, ["email", "phone", "age"]).collect()
    assert sorted(row.key for row in nodes) == ["b", "d", "e", "f", "g"]
    (kept,) = [row for row in nodes if row.key == "b"]
    assert (kept.email, kept.phone, kept.age) == ("x@x", "7", 30)


def test_the_preferred_node_is_kept(spark: SparkSession) -> None:
    found = resolve("User", people(spark), Resolution(match=BY_BOTH, prefer="int(key = 'a')"))
    assert aliases(found) == {"b": "a", "c": "a"}


def test_without_equal_values_there_are_no_aliases(spark: SparkSession) -> None:
    found = resolve("User", people(spark), Resolution(match=["key || email"]))
    assert found.groups is None and found.figures == {"records": 7, "matched": 0}


def test_both_algorithms_find_the_components_of_networkx(spark: SparkSession) -> None:
    pairs = [(1, 2), (3, 2), (3, 4), (5, 6), (7, 8), (8, 5)]
    wanted = sorted(sorted(group) for group in nx.connected_components(nx.Graph(pairs)))
    frame = spark.createDataFrame(pairs, "left long, right long").localCheckpoint()
    for algorithm in ("graphx", "graphframes"):
        groups: dict[int, list[int]] = {}
        for row in components(frame, algorithm).collect():
            groups.setdefault(row.component, []).append(row.id)
        assert sorted(sorted(group) for group in groups.values()) == wanted, algorithm
