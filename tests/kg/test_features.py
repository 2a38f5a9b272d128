"""Features of nodes against networkx: a small graph by hand, with keys that two labels share, and random ones."""

from collections import Counter
from typing import Any

import networkx as nx
import numpy as np
import pytest
from pyspark.sql import SparkSession

from kg.communities import colours
from kg.feature_config import Features, PageRank
from kg.features import features

Graph = tuple[dict[str, list[str]], dict[tuple[str, str], list[tuple[str, str]]]]
ALL = Features(directed_degree=True, communities=True, triangles=True, core=True)

NODES = {"A": ["1", "2", "3", "4"], "B": ["1", "2"]}
# A-A has a pair twice (two types) and a loop of two; A4 is alone.
EDGES = {("A", "A"): [("1", "2"), ("1", "2"), ("2", "1"), ("3", "1")], ("A", "B"): [("1", "1"), ("2", "1"), ("3", "2")]}


def network(nodes: dict[str, list[str]], edges: dict[tuple[str, str], list[tuple[str, str]]]) -> nx.MultiDiGraph:
    graph = nx.MultiDiGraph()
    graph.add_nodes_from((label, key) for label, keys in nodes.items() for key in keys)
    graph.add_edges_from(((a, f), (b, t)) for (a, b), pairs in edges.items() for f, t in pairs)
    return graph


def found(spark: SparkSession, graph: Graph, wanted: Features) -> dict[str, dict[tuple[str, str], Any]]:
    """By feature and node."""
    nodes = {label: spark.createDataFrame([(k,) for k in keys], "key string") for label, keys in graph[0].items()}
    edges = {ends: spark.createDataFrame(pairs, "from_key string, to_key string") for ends, pairs in graph[1].items()}
    table = features(nodes, edges, wanted)
    assert table.columns == ["label", "key", *wanted.columns]
    rows = table.collect()
    assert len(rows) == sum(len(keys) for keys in graph[0].values())
    return {name: {(r.label, r.key): r[name] for r in rows} for name in wanted.columns}


def random_graph(seed: int) -> Graph:
    """Users who see films, films that follow films: repeats, loops and nodes without any."""
    rng = np.random.default_rng(seed)
    nodes = {"User": [f"u{i}" for i in range(12)], "Film": [f"f{i}" for i in range(14)]}

    def pairs(a: str, b: str, n: int) -> list[tuple[str, str]]:
        return [(str(rng.choice(nodes[a][:-1])), str(rng.choice(nodes[b][:-1]))) for _ in range(n)]

    return nodes, {("User", "Film"): pairs("User", "Film", 30), ("Film", "Film"): pairs("Film", "Film", 50)}


def check(got: dict[str, dict[tuple[str, str], Any]], graph: nx.MultiDiGraph) -> None:
    simple = nx.Graph((a, b) for a, b in graph.edges() if a != b)
    simple.add_nodes_from(graph)
    assert got["degree"] == dict(graph.degree)
    assert got["in_degree"] == dict(graph.in_degree)
    assert got["out_degree"] == dict(graph.out_degree)
    assert got["triangles"] == nx.triangles(simple)
    assert got["core"] == nx.core_number(simple)
    ranks = nx.pagerank(graph, alpha=0.85, tol=1e-12, max_iter=1000)
    # GraphX's ranks have mean 1, those of networkx sum 1; what is left of the start after 20 rounds is 0.85^20 = 4%.
    assert got["pagerank"] == pytest.approx({node: rank * len(graph) for node, rank in ranks.items()}, rel=0.04)


@pytest.mark.parametrize(
    "graph",
    [
        pytest.param((NODES, EDGES), id="by hand"),
        pytest.param(random_graph(1), id="1"),
        pytest.param(random_graph(2), id="2", marks=pytest.mark.slow),
    ],
)
def test_features_equal_those_of_networkx(spark: SparkSession, graph: Graph) -> None:
    got = found(spark, graph, ALL)
    check(got, network(*graph))
    alone = [node for node in got["community"] if got["degree"][node] == 0]
    assert all(got["community"][node] == ":".join(node) for node in alone)


def test_pagerank_goes_on_to_its_tolerance_and_hands_on_its_damping(spark: SparkSession) -> None:
    got = found(spark, (NODES, EDGES), Features(degree=False, pagerank=PageRank(damping=0.5, tolerance=1e-7)))
    ranks = nx.pagerank(network(NODES, EDGES), alpha=0.5, tol=1e-12)
    assert got["pagerank"] == pytest.approx({node: rank * 6 for node, rank in ranks.items()}, rel=1e-5)


def test_a_graph_without_relationships_has_features(spark: SparkSession) -> None:
    got = found(spark, ({"A": ["1", "2"]}, {}), ALL)
    one, two = ("A", "1"), ("A", "2")
    assert got["pagerank"] == {one: 1.0, two: 1.0}
    assert got["community"] == {one: "A:1", two: "A:2"}
    for name in ("degree", "in_degree", "out_degree", "triangles", "core"):
        assert got[name] == {one: 0, two: 0}


def clubs(label_of: Any) -> tuple[Graph, list[set[tuple[str, str]]]]:
    """Four groups of six nodes that know one another, in a ring of single links, and the groups."""
    ring = nx.ring_of_cliques(4, 6)
    node = {i: (label_of(i), f"{i:02}") for i in ring}
    nodes: dict[str, list[str]] = {}
    for label, key in node.values():
        nodes.setdefault(label, []).append(key)
    edges: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for i, j in ring.edges:
        (a, f), (b, t) = node[i], node[j]
        edges.setdefault((a, b), []).append((f, t))
    return (nodes, edges), [{node[i] for i in range(g * 6, g * 6 + 6)} for g in range(4)]


@pytest.mark.slow
@pytest.mark.parametrize("label_of", [lambda i: "N", lambda i: "NM"[i % 2]], ids=["one label", "two labels"])
def test_communities_are_those_of_networkx_in_any_order_of_rows(spark: SparkSession, label_of: Any) -> None:
    (nodes, edges), groups = clubs(label_of)
    undirected = network(nodes, edges).to_undirected()
    assert sorted(nx.community.label_propagation_communities(undirected), key=min) == groups
    wanted = Features(degree=False, pagerank=False, communities={"rounds": 20})
    got = found(spark, (nodes, edges), wanted)["community"]
    assert got == {node: ":".join(min(group)) for group in groups for node in group}
    turned = {ends: pairs[::-1] for ends, pairs in reversed(edges.items())}
    assert found(spark, ({k: v[::-1] for k, v in nodes.items()}, turned), wanted)["community"] == got


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_at_the_end_everyone_is_where_most_of_its_neighbours_are(spark: SparkSession, seed: int) -> None:
    # What label propagation ends with by definition (Raghavan et al. 2007), on graphs without clear groups.
    nodes, edges = random_graph(seed)
    got = found(spark, (nodes, edges), Features(degree=False, pagerank=False, communities={"rounds": 40}))["community"]
    graph = nx.Graph(network(nodes, edges))
    graph.remove_edges_from(list(nx.selfloop_edges(graph)))
    assert 1 < len(set(got.values())) < len(got)
    for node in graph:
        votes = Counter(got[other] for other in graph[node])
        assert votes[got[node]] == max(votes.values(), default=0), node
    members = {name: [node for node in got if got[node] == name] for name in got.values()}
    assert all(name == ":".join(min(of)) for name, of in members.items())


def test_users_and_items_do_not_swap_communities_for_ever(spark: SparkSession) -> None:
    # Two halls of users and items: complete bipartite, where synchronous propagation changes sides with each round.
    nodes = {"User": [f"u{i}" for i in range(6)], "Film": [f"f{i}" for i in range(6)]}
    edges = {("User", "Film"): [(f"u{i}", f"f{j}") for i in range(6) for j in range(6) if (i < 3) == (j < 3)]}
    wanted = Features(degree=False, pagerank=False, communities=True)
    got = found(spark, (nodes, edges), wanted)["community"]
    assert got == {(label, key): "Film:f0" if int(key[1]) < 3 else "Film:f3" for label in nodes for key in nodes[label]}


def test_labels_that_are_linked_have_colours_of_their_own() -> None:
    linked = [("User", "Film"), ("Film", "Genre"), ("Genre", "Genre"), ("User", "Genre")]
    got = colours({"User", "Film", "Genre"}, linked)
    assert all(got[a] != got[b] for a, b in linked if a != b)
    assert set(colours({"User", "Film", "Book"}, [("User", "Film"), ("User", "Book")]).values()) == {0, 1}


def test_switches_become_settings() -> None:
    assert Features().columns == ["degree", "pagerank"]
    assert Features(pagerank=False, communities=True).columns == ["degree", "community"]
    assert Features(pagerank=True) == Features()
    assert Features.model_validate({"pagerank": {"damping": 0.5}}).pagerank == PageRank(damping=0.5)
