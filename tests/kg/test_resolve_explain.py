"""Resolution in an ingest: merged persons, films that two shops sell, and why, read from the tables alone."""

from collections.abc import Callable
from typing import Any

import pytest

from embed.config import TextModel
from flows.encoding import text_encoder
from kg.errors import ConfigError
from kg.project import Graph
from kg.resolve_explain import explain
from kg.tables import Output

Ingest = Callable[..., Output]
FILES = {
    # p1, p2 and p3 are one: p2 shares p1's phone, p3 p2's e-mail and (swapped) name. p4 is p1's sister.
    "people.csv": (
        "id,name,email,phone,born\np1,Ann Lee,,030-111,1980-01-02\np2,Anne Lee,ann@x,030111,1980-01-02\n"
        "p3,Lee Anne,ANN@x,,\np4,Eva Lee,,030-111,1985-06-07\n"
    ),
    "films.csv": "id,title,year\nf1,The Long Night,1990\nf2,Red River,1948\nf3,Alone,2001\n",
    "movies.csv": (
        'id,name,made\nm1,"Long Night, The",1990\nm2,The Long Night,1991\nm3,River Red,1948\nm4,Night,1990\n'
    ),
}
# The longest word of a title.
LONGEST = "array_max(transform(split(lower({0}), '[^a-z]+'), w -> struct(length(w), w))).w"
GRAPH: dict[str, Any] = {
    "sources": {name: {"format": "csv", "path": f"{name}.csv"} for name in ("people", "films", "movies")},
    "nodes": {
        "Person": {
            "source": "people",
            "key": "id",
            "properties": {n: n for n in ("name", "email", "phone", "born")},
        },
        "Film": {
            "source": "films",
            "key": "id",
            "domain": "films",
            "properties": {"title": "title", "year": "int(year)"},
        },
        "Movie": {
            "source": "movies",
            "key": "id",
            "domain": "movies",
            "properties": {"name": "name", "made": "int(made)"},
        },
    },
    "resolution": {
        "Person": {
            "block": ["lower(email)", "regexp_replace(phone, '[^0-9]', '')"],
            "compare": {
                "name": {"value": "name", "by": "edit", "weight": 2},
                "email": {"value": "email", "by": "equal", "weight": 2, "against": 0.5},
                "phone": {"value": "regexp_replace(phone, '[^0-9]', '')", "by": "equal", "against": 0.5},
                "born": {"value": "born", "by": "edit", "weight": 2},
            },
        }
    },
    "across": [
        {
            "between": ["Film", "Movie"],
            "block": [{"Film": LONGEST.format("title"), "Movie": LONGEST.format("name")}],
            "compare": {
                "title": {"value": {"Film": "title", "Movie": "name"}, "by": "tokens", "weight": 2},
                "year": {"value": {"Film": "year", "Movie": "made"}, "by": "number", "tolerance": 3},
            },
        }
    ],
}


@pytest.fixture(scope="module")
def output(ingested: Ingest) -> Output:
    return ingested(FILES, GRAPH)


@pytest.fixture(scope="module")
def graph() -> Graph:
    return Graph.model_validate(GRAPH)


def test_a_chain_of_pairs_tells_why_a_record_became_a_node(output: Output, graph: Graph) -> None:
    found = explain(output, graph, "p1")
    assert (found.label, found.kept) == ("Person", "p2")
    assert found.reason == "it has the most values: 4"
    assert {key: [(p.left, p.right) for p in chain] for key, chain in found.merged.items()} == {
        "p1": [("p1", "p2")],
        "p3": [("p2", "p3")],
    }
    (pair,) = found.merged["p1"]
    assert pair.rule == "block[1] regexp_replace(phone, '[^0-9]', '')"
    # One edit of eight letters, and half of them would be too many.
    assert ("name", "Ann Lee", "Anne Lee", pytest.approx(0.75)) in pair.fields
    assert ("email", None, "ann@x", None) in pair.fields
    assert pair.score >= graph.resolution["Person"].threshold
    assert explain(output, graph, "Person:p2") == found


def test_who_was_not_merged_is_told_so(output: Output, graph: Graph) -> None:
    found = explain(output, graph, "Person:p4")
    assert (found.kept, found.merged, found.reason) == ("p4", {}, "no other record was found to be the same")


def test_what_is_in_no_table_is_an_error_that_names_the_labels(output: Output, graph: Graph) -> None:
    with pytest.raises(ConfigError, match=r"nobody: no node has this key, .* \['Film', 'Movie', 'Person'\]"):
        explain(output, graph, "nobody")
    with pytest.raises(ConfigError, match="Film:p1: no node or merged record of Film has the key 'p1'"):
        explain(output, graph, "Film:p1")
    with pytest.raises(ConfigError, match="neither `resolution` nor `across`"):
        explain(output, graph.model_copy(update={"resolution": {}, "across": []}), "p1")


def test_films_of_two_shops_are_joined_by_their_best_match(output: Output, graph: Graph) -> None:
    edge = "Film-SAME_AS-Movie"
    rows = output.read(f"relationships/{edge}").to_pylist()
    # m2 has the same title as f1 but another year; f3 has no counterpart, m4 shares no block.
    assert sorted((r["from_key"], r["to_key"], r["score"]) for r in rows) == [
        ("f1", "m1", pytest.approx(1.0)),
        ("f2", "m3", pytest.approx(1.0)),
    ]
    meta = output.manifest.meta["edges"][edge]
    assert (meta["interaction"], meta["target"], meta["domain"]) == (False, False, None)
    assert output.manifest.figures["resolution"][edge]["joined"] == 2
    ((label, pair),) = explain(output, graph, "f2").same
    assert label == "Movie" and pair.right == "m3"
    assert ("title", "Red River", "River Red", 1.0) in pair.fields


@pytest.mark.slow
def test_cosine_compares_by_meaning_with_the_packaged_encoder(ingested: Ingest) -> None:
    plots = {
        "a": "A lonely sheriff defends a small desert town against a gang of outlaws.",
        "b": "Bandits threaten a little town in the desert and its sheriff stands up to them alone.",
        "c": "Two robots fall in love on a space station while it runs out of energy.",
    }
    files = {"films.csv": "id,plot\n" + "".join(f'{key},"{plot}"\n' for key, plot in plots.items())}
    graph = {
        "sources": {"films": {"format": "csv", "path": "films.csv"}},
        "nodes": {"Film": {"source": "films", "key": "id", "text": ["plot"]}},
        "resolution": {
            "Film": {
                "block": ["'all'"],
                "compare": {"plot": {"value": "text", "by": "cosine"}},
                "threshold": 0.6,
                "stop": 1,
            }
        },
    }
    found = ingested(files, graph, encode=text_encoder(TextModel(), "cpu"))
    assert found.read("aliases/Film").to_pylist() == [{"alias": "b", "key": "a"}]
    (match,) = found.read("matches/Film").to_pylist()
    assert 0.6 < match["score"] < 1 and match["similarity_plot"] == pytest.approx(match["score"])
