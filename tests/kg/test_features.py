"""Degree and PageRank of a small graph against networkx, with keys that two labels share."""

import networkx as nx
import pytest
from pyspark.sql import SparkSession

from kg.feature_config import Features
from kg.features import features

NODES = {"A": ["1", "2", "3", "4"], "B": ["1", "2"]}
# A-A has a pair twice (two types) and a loop of two; A4 is alone.
EDGES = {("A", "A"): [("1", "2"), ("1", "2"), ("2", "1"), ("3", "1")], ("A", "B"): [("1", "1"), ("2", "1"), ("3", "2")]}


@pytest.fixture(scope="module")
def network() -> nx.MultiDiGraph:
    graph = nx.MultiDiGraph()
    graph.add_nodes_from((label, key) for label, keys in NODES.items() for key in keys)
    graph.add_edges_from(((a, f), (b, t)) for (a, b), pairs in EDGES.items() for f, t in pairs)
    return graph


def found(spark: SparkSession, wanted: Features, rounds: int) -> dict[tuple[str, str], tuple[int | None, float | None]]:
    nodes = {label: spark.createDataFrame([(k,) for k in keys], "key string") for label, keys in NODES.items()}
    edges = {ends: spark.createDataFrame(pairs, "from_key string, to_key string") for ends, pairs in EDGES.items()}
    return {(r.label, r.key): (r.degree, r.pagerank) for r in features(nodes, edges, wanted, rounds).collect()}


def test_degree_and_pagerank_equal_those_of_networkx(spark: SparkSession, network: nx.MultiDiGraph) -> None:
    got = found(spark, Features(), rounds=40)
    ranks = nx.pagerank(network, alpha=0.85, tol=1e-12, max_iter=1000)
    assert {node: degree for node, (degree, _) in got.items()} == dict(network.degree)
    # GraphX's ranks have mean 1, those of networkx sum 1.
    assert {node: rank for node, (_, rank) in got.items()} == pytest.approx(
        {node: rank * len(network) for node, rank in ranks.items()}, rel=2e-3
    )


def test_a_feature_that_is_not_wanted_is_null(spark: SparkSession, network: nx.MultiDiGraph) -> None:
    got = found(spark, Features(pagerank=False), rounds=1)
    assert got == {node: (degree, None) for node, degree in network.degree}
