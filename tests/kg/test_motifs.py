"""Motifs as relationships: pairs against networkx, the caps, what is skipped, and that no snapshot learns from them."""

from collections import Counter
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from pyspark.sql import SparkSession

from kg.errors import ContractError
from kg.export import export
from kg.feature_config import Motif
from kg.load import load
from kg.motifs import MotifAccount, check_account, find_motif
from kg.schema import EdgeType
from kg.server_home import Connection
from kg.store import Store
from kg.tables import Draft, Output, Workspace
from tests.kg.small_graph import plain

RATED, SEEN = EdgeType("User", "RATED", "Film"), EdgeType("Film", "SEEN_BY", "User")
FOLLOWS = EdgeType("User", "FOLLOWS", "User")
SIMILAR = EdgeType("User", "SIMILAR", "User")
Pairs = list[tuple[str, str]]


def found(
    spark: SparkSession, through: dict[EdgeType, Pairs], **options: Any
) -> tuple[dict[tuple[str, str], tuple[int, float]], MotifAccount]:
    """Shared and Jaccard by pair."""
    frames = [(edge, spark.createDataFrame(pairs, "from_key string, to_key string")) for edge, pairs in through.items()]
    wanted = Motif(between="User", through=[edge.type for edge in through], **options)
    table, account = find_motif(wanted, SIMILAR, frames)
    rows = table.collect()
    check_account(SIMILAR.name, account, len(rows))
    assert len({row.row_id for row in rows}) == len(rows)
    return {(row.from_key, row.to_key): (row.shared, row.jaccard) for row in rows}, account


def by_networkx(through: dict[EdgeType, Pairs], at_least: int) -> dict[tuple[str, str], tuple[int, float]]:
    """All pairs of users: two paths of length two are one shared node, whatever repeats or loops there are."""
    graph = nx.Graph()
    for edge, pairs in through.items():
        turned = edge.source != "User"
        for a, b in (pair[::-1] if turned else pair for pair in pairs):
            if edge.source != edge.target or a != b:
                graph.add_edge(("user", a), (edge.name, b))
    wanted = {}
    for a, b in combinations(sorted(key for kind, key in graph if kind == "user"), 2):
        mine, theirs = set(graph[("user", a)]), set(graph[("user", b)])
        if (shared := len(mine & theirs)) >= at_least:
            wanted[(a, b)] = (shared, pytest.approx(shared / len(mine | theirs)))
    return wanted


@pytest.mark.parametrize("seed", [1, 2])
def test_pairs_are_those_of_networkx(spark: SparkSession, seed: int) -> None:
    rng = np.random.default_rng(seed)

    def pairs(n: int, a: str, b: str) -> Pairs:
        return [(f"{a}{rng.integers(9)}", f"{b}{rng.integers(8)}") for _ in range(n)]

    # Repeats, a type that points to users, and a type among users with loops.
    through = {RATED: pairs(30, "u", "f"), SEEN: pairs(20, "f", "u"), FOLLOWS: pairs(15, "u", "u")}
    wanted = by_networkx(through, 2)
    got, account = found(spark, through, at_least=2)
    assert len(wanted) > 5
    assert got == wanted
    assert account == MotifAccount(pairs=len(wanted), rows=len(wanted), capped=0, skipped=0)


def test_a_pair_stays_that_is_among_the_best_of_either_end(spark: SparkSession) -> None:
    # a and b share 3, b and c 2 (of 4 and 2, so 1/2), a and d 1, b and d 1 (b has one more, so less alike).
    likes = {"a": "123", "b": "1234", "c": "34", "d": "1"}
    through = {RATED: [(user, film) for user, films in likes.items() for film in films]}
    got, account = found(spark, through, at_least=1, top=1)
    # a's best is b, b's is a, c's is b, and d's is a: 1/3 against 1/4. Not among any best: a-c and b-d.
    assert got == {("a", "b"): (3, 0.75), ("b", "c"): (2, 0.5), ("a", "d"): (1, pytest.approx(1 / 3))}
    assert account == MotifAccount(pairs=5, rows=3, capped=2, skipped=0)


def test_what_too_many_share_is_skipped_and_counted(spark: SparkSession) -> None:
    through = {RATED: [(f"u{i}", "all") for i in range(5)] + [("u0", "x"), ("u1", "x"), ("u0", "y"), ("u1", "y")]}
    got, account = found(spark, through, at_least=2, most=4)
    assert got == {("u0", "u1"): (2, 1.0)}
    assert account == MotifAccount(pairs=1, rows=1, capped=0, skipped=1)
    assert found(spark, through, at_least=3, most=5)[0] == {("u0", "u1"): (3, 1.0)}


def test_a_lost_pair_is_found_out() -> None:
    check_account("A-B-A", MotifAccount(5, 3, 2, 0), 3)
    with pytest.raises(ContractError, match="2 written"):
        check_account("A-B-A", MotifAccount(5, 3, 2, 0), 2)


FILES = {
    "films.csv": "id,genre\nf1,War\nf2,War\nf3,Love\nf4,War\nf4,Love\nf3,War\n",
    "ratings.csv": "user,film,stars\na,f1,5\na,f2,5\nb,f1,5\nb,f2,5\nc,f1,1\nc,f2,5\nc,f3,5\n",
}
GRAPH: dict[str, Any] = {
    "sources": {
        "films": {"format": "csv", "path": "films.csv"},
        "ratings": {"format": "csv", "path": "ratings.csv"},
        "absent": {"format": "csv", "path": None},
    },
    "nodes": {
        "User": {"source": "ratings", "key": "user"},
        "Film": {"source": "films", "domain": "films", "key": "id"},
        "Genre": {"source": "films", "key": "genre"},
        "Tag": {"source": "absent", "key": "tag"},
    },
    "relationships": {
        "RATED": {
            "source": "ratings",
            "from": {"User": "user"},
            "to": {"Film": "film"},
            "interaction": True,
            "positive": "stars > 3",
        },
        "HAS_GENRE": {"source": "films", "from": {"Film": "id"}, "to": {"Genre": "genre"}},
        "TAGGED": {"source": "absent", "from": {"Film": "film"}, "to": {"Tag": "tag"}},
    },
    "motifs": {
        "SAME_TASTE": {"between": "User", "through": "RATED", "positive": True},
        "SAME_GENRES": {"between": "Film", "through": ["HAS_GENRE", "TAGGED"]},
        "SAME_TAGS": {"between": "Film", "through": "TAGGED"},
    },
    "features": {"pagerank": False, "triangles": True},
}


@pytest.fixture(scope="module")
def output(ingested: Callable[[dict[str, str], dict[str, Any]], Output]) -> Output:
    return ingested(FILES, GRAPH)


def ends(output: Output, table: str) -> list[tuple[str, str, int]]:
    rows = output.read(table).to_pylist()
    return sorted((row["from_key"], row["to_key"], row["shared"]) for row in rows)


def test_motifs_are_tables_of_their_own_with_an_account(output: Output) -> None:
    # c did not like f1.
    assert ends(output, "relationships/User-SAME_TASTE-User") == [("a", "b", 2)]
    assert ends(output, "relationships/Film-SAME_GENRES-Film") == [("f3", "f4", 2)]
    figures = output.manifest.figures
    assert figures["motifs"] == {
        "relationships/Film-SAME_GENRES-Film": vars(MotifAccount(pairs=1, rows=1, capped=0, skipped=0)),
        "relationships/User-SAME_TASTE-User": vars(MotifAccount(pairs=1, rows=1, capped=0, skipped=0)),
    }
    assert figures["left_out"]["motifs.SAME_TAGS"] == "without TAGGED"
    assert not [table for table in figures["tables"] if "SAME" in table]
    # Features are of what sources gave: no triangle comes from a motif.
    assert set(output.read("features/Film")["triangles"].to_pylist()) == {0}
    assert output.scan("features/Film").schema.names == ["key", "degree", "triangles"]


def test_what_comes_of_interactions_is_marked(output: Output) -> None:
    edges = output.manifest.meta["edges"]
    plain_edge = {"interaction": False, "target": False, "domain": None, "key": None}
    assert edges["User-SAME_TASTE-User"] == plain_edge | {"derived": True}
    assert edges["Film-SAME_GENRES-Film"] == plain_edge


def test_motifs_are_loaded_and_those_of_interactions_are_in_no_snapshot(
    output: Output, clean_connection: Connection, tmp_path: Path
) -> None:
    stage = Workspace(tmp_path).stage("graph")
    with Store(clean_connection) as store, stage.create("test") as draft:
        load(store, output, Draft(output.filesystem, output.path), "motifs")
        export(store, output, draft)
    snapshot = stage.current()
    assert snapshot is not None
    query = "MATCH (a)-[r]->(b) WHERE type(r) STARTS WITH 'SAME' RETURN a.key, type(r), b.key, r.shared, r.jaccard"
    assert sorted(plain(clean_connection, query)) == [
        ["a", "SAME_TASTE", "b", 2, 1.0],
        ["f3", "SAME_GENRES", "f4", 2, 1.0],
    ]
    assert Counter(t for t in snapshot.manifest.tables if "SAME" in t) == Counter(["edges/Film-SAME_GENRES-Film"])
    assert "User-SAME_TASTE-User" not in snapshot.manifest.meta["edges"]
    assert snapshot.read("edges/Film-SAME_GENRES-Film")["shared"].to_pylist() == [2]
    assert snapshot.scan("nodes/Film").schema.names == ["key", "text", "image"]
