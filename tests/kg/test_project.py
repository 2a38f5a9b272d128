"""The graph's part of the project file says where it does not fit together."""

from typing import Any

import pytest
from pydantic import ValidationError

from kg.project import Graph
from kg.schema import EdgeType

FILE: dict[str, Any] = {
    "sources": {"people": {"format": "csv", "path": "people.csv"}, "films": {"format": "jsonl", "path": "films.jsonl"}},
    "nodes": {
        "Person": {"source": "people", "key": "id"},
        "Film": {"source": "films", "key": "id", "domain": "films", "properties": {"year": "int(year)"}},
        "Genre": {"source": "films", "key": "explode(genres)"},
    },
    "relationships": {
        "SAW": {"source": "people", "from": {"Person": "id"}, "to": {"Film": "film"}, "interaction": True},
        "HAS": {"source": "films", "from": {"Film": "id"}, "to": {"Genre": "explode(genres)"}},
    },
}


def changed(path: str, value: object) -> dict[str, Any]:
    """A copy of FILE with one place changed."""

    def put(node: dict[str, Any], keys: list[str]) -> dict[str, Any]:
        return {**node, keys[0]: put(node.get(keys[0], {}), keys[1:]) if keys[1:] else value}

    return put(FILE, path.split("."))


def test_sides_targets_and_users_follow_from_the_interactions() -> None:
    graph = Graph.model_validate(FILE)
    assert not list(graph.problems())
    assert [graph.side(label) for label in ("Person", "Film", "Genre")] == ["user", "item", "entity"]
    assert graph.targets == {"films": EdgeType("Person", "SAW", "Film")}
    assert graph.user_label == "Person"


@pytest.mark.parametrize(
    ("path", "value", "place", "message"),
    [
        ("nodes.Film.source", "movies", ("nodes", "Film", "source"), "unknown source 'movies'"),
        ("nodes.Film.required", ["title"], ("nodes", "Film", "required"), "'title' is no property"),
        *(
            ("nodes.Film.properties", {name: "1"}, ("nodes", "Film", "properties", name), "a name of ours")
            for name in ("key", "text", "image", "degree", "pagerank", "domain", "h_a", "v_b", "c_a", "z_b")
        ),
        *(
            (f"relationships.{part}.properties", {name: "1"}, ("relationships", part, "properties", name), "of ours")
            for part in ("SAW", "HAS")
            for name in "row_id from_key to_key count first last weight positive time src dst".split()
        ),
        ("relationships.HAS.key", ["from", "to", "time"], ("relationships", "HAS", "key"), "`interaction: true`"),
        ("relationships.HAS.to", {"Tag": "x"}, ("relationships", "HAS", "to"), "unknown label 'Tag'"),
        ("relationships.HAS.from", None, ("relationships", "HAS"), "expected `from` and `to`, or `triples`"),
        ("relationships.HAS.weight", "1", ("relationships", "HAS", "weight"), "only with `interaction: true`"),
        ("relationships.HAS.key", ["from", "at"], ("relationships", "HAS", "key"), r"unknown ['at']"),
        ("relationships.SAW.to", {"Genre": "g"}, ("relationships", "SAW", "to"), "give Genre a `domain`"),
        ("resolution", {"Pers": {"match": ["name"]}}, ("resolution", "Pers"), "expected one of the labels"),
        *(
            ("motifs", {name: motif}, ("motifs", name, *place), message)
            for name, motif, place, message in (
                ("HAS", {"between": "Film", "through": "HAS"}, (), "a name that no relationship has"),
                ("ALIKE", {"between": "Movie", "through": "HAS"}, ("between",), "unknown label 'Movie'"),
                ("ALIKE", {"between": "Film", "through": ["HAS", "HAD"]}, ("through",), "unknown 'HAD'"),
                ("ALIKE", {"between": "Person", "through": "HAS"}, ("through",), "an end in Person, HAS has none"),
                ("ALIKE", {"between": "Film", "through": "HAS", "positive": True}, ("positive",), "HAS is none"),
            )
        ),
    ],
)
def test_a_reference_that_leads_nowhere_is_named(
    path: str, value: object, place: tuple[str, ...], message: str
) -> None:
    problems = dict(Graph.model_validate(changed(path, value)).problems())
    assert message in problems[place]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("nodes.Film.properties", {"Key": "1", "Degree": "1", "h_c": "1", "z": "1", "count": "1"}),
        ("nodes.Genre.properties", {"domain": "1"}),  # only items have ours
        ("relationships.HAS.properties", {"Weight": "1", "type": "1", "degree": "1"}),
        ("relationships.SAW.key", ["from", "to", "time"]),
    ],
)
def test_names_that_only_look_like_ours_are_free(path: str, value: object) -> None:
    assert not list(Graph.model_validate(changed(path, value)).problems())


def test_a_feature_that_is_wanted_has_its_name_for_itself() -> None:
    named = changed("nodes.Film.properties", {"community": "1", "core": "1"})
    assert not list(Graph.model_validate(named).problems())
    wanted = Graph.model_validate(named | {"features": {"communities": True}})
    assert [place for place, _ in wanted.problems()] == [("nodes", "Film", "properties", "community")]


def test_two_target_interactions_of_one_domain_are_refused() -> None:
    again = changed("relationships.LIKED", FILE["relationships"]["SAW"])
    assert any("one target interaction" in message for _, message in Graph.model_validate(again).problems())


@pytest.mark.parametrize("path", ["nodes.Film.keyy", "sources.films.fmt", "relationships.SAW.fro"])
def test_a_typo_is_an_error(path: str) -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        Graph.model_validate(changed(path, "x"))


def test_names_that_would_break_table_names_are_refused() -> None:
    with pytest.raises(ValidationError, match="String should match pattern"):
        Graph.model_validate(changed("nodes.A-B", {"source": "films", "key": "id"}))
