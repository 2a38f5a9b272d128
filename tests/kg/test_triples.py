"""Triples with links, a k-core, pictures and features, in one small project."""

from collections.abc import Callable
from typing import Any

import networkx as nx
import pytest
from PIL import Image
from pyspark.sql import SparkSession

from kg.errors import ConfigError
from kg.tables import Output
from tests.kg.conftest import run_in

Ingest = Callable[[dict[str, str], dict[str, Any]], Output]

# Items a and b are in the 2-core of users 0 to 2; c has one user, and so user 3 has none left.
EVENTS = [("0", "a"), ("0", "b"), ("1", "a"), ("1", "b"), ("2", "a"), ("2", "b"), ("3", "a"), ("3", "c")]
GRAPH: dict[str, Any] = {
    "sources": {
        "events": {"format": "csv", "path": "events.csv"},
        "items": {"format": "csv", "path": "items.csv"},
        "links": {"format": "csv", "path": "links.csv", "max_quarantined": 0.5},
        "facts": {"format": "csv", "path": "facts.tsv", "options": {"sep": "\t"}, "max_quarantined": 0.5},
        "covers": {"format": "images", "path": "covers", "max_quarantined": 0.5},
    },
    "nodes": {
        "User": {"source": "events", "key": "user"},
        "Film": {
            "source": "items",
            "join": [{"source": "covers", "on": "id = stem"}],
            "key": "id",
            "domain": "films",
            "image": "path",
        },
    },
    "relationships": {
        "SAW": {
            "source": "events",
            "from": {"User": "user"},
            "to": {"Film": "item"},
            "interaction": True,
            "k_core": {"user": 2, "item": 2},
        },
        "FACTS": {
            "source": "facts",
            "triples": {"head": "h", "relation": "r", "tail": "t"},
            "link": {"source": "links", "node": "Film", "key": "id", "entity": "m"},
        },
    },
}


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory, spark: SparkSession) -> Output:
    folder = tmp_path_factory.mktemp("triples")
    (folder / "events.csv").write_text("user,item\n" + "".join(f"{u},{i}\n" for u, i in EVENTS))
    (folder / "items.csv").write_text("id\na\nb\nc\n")
    (folder / "links.csv").write_text("id,m\na,m.1\nb,m.2\nz,m.9\n")
    # A film's fact, its inverse, one between films, one between entities, and one without a tail
    facts = [
        "m.1\tfilm.by\te.1",
        "e.1\tfilm.made\tm.1",
        "m.1\tfilm.sequel\tm.2",
        "e.1\tfilm.knows\tm.9",
        "m.2\tfilm.by\t",
    ]
    (folder / "facts.tsv").write_text("\n".join(["h\tr\tt", *facts, ""]))
    (folder / "covers").mkdir()
    Image.new("RGB", (64, 48), "red").save(folder / "covers" / "a.jpg")
    whole = (folder / "covers" / "a.jpg").read_bytes()
    (folder / "covers" / "b.jpg").write_bytes(whole[: len(whole) // 2])
    return run_in(folder, GRAPH, spark)


def ends(output: Output, edge: str) -> list[tuple[str, str]]:
    found = output.read(f"relationships/{edge}", ["from_key", "to_key"]).to_pylist()
    return sorted((row["from_key"], row["to_key"]) for row in found)


def test_each_relation_is_a_type_and_linked_ends_are_our_nodes(output: Output) -> None:
    assert output.tables("relationships/") == [
        "relationships/Entity-FILM_KNOWS-Entity",
        "relationships/Entity-FILM_MADE-Film",
        "relationships/Film-FILM_BY-Entity",
        "relationships/Film-FILM_SEQUEL-Film",
        "relationships/User-SAW-Film",
    ]
    assert ends(output, "Film-FILM_BY-Entity") == [("a", "e.1")]
    assert ends(output, "Entity-FILM_MADE-Film") == [("e.1", "a")]
    assert ends(output, "Film-FILM_SEQUEL-Film") == [("a", "b")]
    assert sorted(output.read("nodes/Entity")["key"].to_pylist()) == ["e.1", "m.9"]
    assert output.manifest.meta["labels"]["Entity"] == {
        "side": "entity",
        "domain": None,
        "key": None,
        "sources": [],
    }


def test_a_link_without_its_node_and_a_triple_without_an_end_are_quarantined(output: Output) -> None:
    assert output.manifest.figures["sources"]["links"]["reasons"] == {"unknown_end:link": 1}
    assert output.manifest.figures["sources"]["facts"]["reasons"] == {"null_key": 1}
    assert output.manifest.figures["tables"]["relationships/FACTS"]["rows"] == 4


def test_the_k_core_filters_relationships_and_keeps_events(output: Output) -> None:
    network = nx.k_core(nx.Graph([(f"u{u}", f"i{i}") for u, i in EVENTS]), 2)
    wanted = sorted((u[1:], i[1:]) for u, i in (sorted(edge, reverse=True) for edge in network.edges))
    assert ends(output, "User-SAW-Film") == wanted
    assert output.manifest.tables["events/User-SAW-Film"] == len(EVENTS)
    # Each filtered event's row has made its user a node, so no row of the source is filtered.
    account = output.manifest.figures["sources"]["events"]
    assert (account["accepted"], account["filtered"], account["reasons"]) == (8, 0, {"k_core": 2})
    table = output.manifest.figures["tables"]["relationships/User-SAW-Film"]
    assert (table["mapped"], table["rows"], table["filtered"]) == (8, 6, 2)


def test_a_broken_picture_is_quarantined_and_its_node_has_none(output: Output) -> None:
    images = {row["key"]: row["image"] for row in output.read("nodes/Film").to_pylist()}
    assert str(images["a"]).endswith("covers/a.jpg")
    assert (images["b"], images["c"]) == (None, None)
    (bad,) = output.read("quarantine/covers").to_pylist()
    assert bad["reason"] == "broken_image"
    assert bad["row"].endswith("covers/b.jpg")


def test_degree_and_pagerank_equal_those_of_networkx(output: Output) -> None:
    network = nx.MultiDiGraph()
    for table in output.tables("nodes/"):
        label = table.removeprefix("nodes/")
        network.add_nodes_from((label, key) for key in output.read(table)["key"].to_pylist())
    for table in output.tables("relationships/"):
        source, _, target = table.removeprefix("relationships/").split("-")
        network.add_edges_from(
            ((source, f), (target, t)) for f, t in ends(output, table.removeprefix("relationships/"))
        )
    ranks = nx.pagerank(network, alpha=0.85, tol=1e-10)
    for table in output.tables("features/"):
        for row in output.read(table).to_pylist():
            node = (table.removeprefix("features/"), row["key"])
            assert row["degree"] == network.degree(node)
            # GraphX's ranks have mean 1, networkx's sum 1.
            assert row["pagerank"] == pytest.approx(ranks[node] * len(network), rel=0.05)


def test_two_relations_of_one_name_are_refused(ingested: Ingest) -> None:
    graph = {
        "sources": {"facts": {"format": "csv", "path": "facts.csv"}},
        "nodes": {"Film": {"source": "facts", "key": "h"}},
        "relationships": {"FACTS": {"source": "facts", "triples": {"head": "h", "relation": "r", "tail": "t"}}},
    }
    with pytest.raises(ConfigError, match=r"relations 'film.by' and 'film_by' would both be FILM_BY"):
        ingested({"facts.csv": "h,r,t\n1,film.by,2\n3,film_by,4\n"}, graph)
