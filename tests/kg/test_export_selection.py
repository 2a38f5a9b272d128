"""A part of the graph as a snapshot: each way to choose, on a graph that is small enough to do it by hand."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from kg.errors import ConfigError, ContractError
from kg.export import export
from kg.selection import Selection
from kg.server import Connection
from kg.store import Store
from kg.tables import Output, Workspace
from tests.kg.small_graph import EARLY, LATE, event, rows, tables
from tests.kg.test_export import loaded, snapshot

Found = dict[str, list[str]]


@pytest.fixture(scope="module")
def graph(connection: Connection, tmp_path_factory: pytest.TempPathFactory) -> Output:
    """The small graph, loaded once."""
    with Store(connection) as store:
        store.sweep("MATCH (n) CALL (n) { DETACH DELETE n } IN TRANSACTIONS OF 10000 ROWS RETURN count(*)")
    return loaded(connection, tables(tmp_path_factory.mktemp("selection")))


def found(output: Output) -> Found:
    """Keys by label and row ids by type, of what is not empty."""
    parts = {name.removeprefix("nodes/"): output.read(name)["key"].to_pylist() for name in output.tables("nodes/")}
    for name in output.tables("edges/"):
        parts[name.split("-")[1]] = sorted(output.read(name)["row_id"].to_pylist())
    return {name: held for name, held in parts.items() if held}


def selected(connection: Connection, graph: Output, **selection: Any) -> Found:
    return found(snapshot(connection, graph, Selection.model_validate(selection)))


def around(hops: int, types: list[str] | None = None, **seeds: Any) -> dict[str, Any]:
    return {"around": {"seeds": seeds, "hops": hops, "types": types}}


# The small graph: ann -r1,r4- f1 -g1- Drama, ann -r2- f2 -g2- Drama, bob -r3- f2, ćeda -x1- b1; f10 and Sci-Fi alone.
HOPS: list[tuple[dict[str, Any], Found]] = [
    (around(0, User=["bob"]), {"User": ["bob"]}),
    (around(1, User=["bob"]), {"User": ["bob"], "Film": ["f2"], "RATED": ["r3"]}),
    (
        around(2, User=["bob"]),
        {"User": ["ann", "bob"], "Film": ["f2"], "Genre": ["Drama"], "RATED": ["r2", "r3"], "HAS_GENRE": ["g2"]},
    ),
    (
        around(3, User=["bob"]),
        {
            "User": ["ann", "bob"],
            "Film": ["f1", "f2"],
            "Genre": ["Drama"],
            "RATED": ["r1", "r2", "r3", "r4"],
            "HAS_GENRE": ["g1", "g2"],
        },
    ),
    (around(9, User=["ćeda"]), {"User": ["ćeda"], "Book": ["b1"], "READ": ["x1"]}),
    (around(3, Film=["f10"], Genre=["Sci-Fi"]), {"Film": ["f10"], "Genre": ["Sci-Fi"]}),
    # Along one type only, against its direction too
    (
        around(2, ["HAS_GENRE"], Film=["f1"]),
        {"Film": ["f1", "f2"], "Genre": ["Drama"], "HAS_GENRE": ["g1", "g2"]},
    ),
    # What is left out is not walked over: r2 is later, r3 is on the near side of every moment.
    (
        around(2, User=["bob"]) | {"until": EARLY},
        {"User": ["bob"], "Film": ["f2"], "Genre": ["Drama"], "RATED": ["r3"], "HAS_GENRE": ["g2"]},
    ),
    (
        around(1, User=["ann"]) | {"where": {"RATED": {"weight": {"min": 4}}}},
        {"User": ["ann"], "Film": ["f1"], "RATED": ["r1"]},
    ),
    # Not over a label that is not selected either
    (around(9, Genre=["Drama"]) | {"labels": ["Genre", "User"]}, {"Genre": ["Drama"]}),
]  # fmt: skip


@pytest.mark.parametrize(("selection", "expected"), HOPS)
def test_what_lies_around_seeds(
    connection: Connection, graph: Output, selection: dict[str, Any], expected: Found
) -> None:
    assert selected(connection, graph, **selection) == expected


def test_seeds_may_lie_in_a_file(connection: Connection, graph: Output, tmp_path: Path) -> None:
    (tmp_path / "seeds.txt").write_text("ćeda\n\n", "utf-8")
    selection = Selection.model_validate(around(0, User="seeds.txt")).anchored(tmp_path)
    assert found(snapshot(connection, graph, selection)) == {"User": ["ćeda"]}
    with pytest.raises(ConfigError, match=r"around.seeds.User: expected a readable file .*nowhere\.txt"):
        selected(connection, graph, **around(0, User=str(tmp_path / "nowhere.txt")))


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"Film": {"title": {"one_of": ["Zwei", ""]}}}, ["f10", "f2"]),
        ({"Film": {"score": {"max": 0}}}, ["f2"]),
        ({"Film": {"score": {"min": -1, "max": 1e300}, "title": {"min": "A"}}}, ["f2"]),
        ({"Film": {"new": {"one_of": [False]}}}, ["f1"]),
        ({"Film": {"seen_at": {"min": EARLY}}}, ["f2"]),
        ({"Film": {"seen_at": {"min": "1965-03-01T12:00:00.250002"}}}, []),
        ({"Film": {"local": {"one_of": ["2000-01-01T00:00:00.000001"]}}}, ["f2"]),
    ],
)
def test_nodes_are_chosen_by_their_properties(
    connection: Connection, graph: Output, where: dict[str, Any], expected: list[str]
) -> None:
    assert selected(connection, graph, labels=["Film"], where=where).get("Film", []) == expected


def test_relationships_are_chosen_by_their_properties_and_go_with_their_ends(
    connection: Connection, graph: Output
) -> None:
    rated = {"labels": ["User", "Film"], "types": ["RATED"]}
    assert selected(connection, graph, **rated, where={"RATED": {"last": {"min": LATE}}})["RATED"] == ["r2", "r4"]
    assert selected(connection, graph, **rated, where={"RATED": {"positive": {"one_of": [True]}}})["RATED"] == [
        "r1",
        "r4",
    ]
    young = {"User": {"born": {"min": "1990-02-03"}}}
    assert selected(connection, graph, **rated, where=young) == {
        "User": ["ann"],
        "Film": ["f1", "f10", "f2"],
        "RATED": ["r1", "r2", "r4"],
    }


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ({"Film": {"tags": {"min": "a"}}}, "where.Film.tags: a property that is one number"),
        ({"Film": {"raw": {"one_of": ["a"]}}}, "where.Film.raw: a property that is one number"),
        ({"Film": {"score": {"min": "high"}}}, "where.Film.score.min: expected a value of type double; found 'high'"),
        ({"Film": {"seen_at": {"min": "soon"}}}, "expected a value of type timestamp"),
        ({"User": {"born": {"min": True}}}, "expected a value of type date32"),
        ({"Film": {"year": {"min": 1}}}, "where.Film: unknown .'year'."),
        ({"Flim": {"year": {"min": 1}}}, "where: unknown .'Flim'."),
    ],
)
def test_a_condition_that_cannot_be_is_refused(
    connection: Connection, graph: Output, where: dict[str, Any], said: str
) -> None:
    with pytest.raises(ContractError, match=said):
        selected(connection, graph, where=where)


def test_own_properties_may_be_left_out(connection: Connection, graph: Output) -> None:
    selection = Selection(properties={"Film": ["score"], "RATED": [], "User": []})
    found = snapshot(connection, graph, selection)
    whole = snapshot(connection, graph)
    assert found.read("nodes/Film").equals(whole.read("nodes/Film").select(["key", "score", "text", "image"]))
    assert found.read("nodes/User").column_names == ["key", "text", "image"]
    rated = whole.read("edges/User-RATED-Film")
    assert found.read("edges/User-RATED-Film").equals(rated.drop_columns(["note"]))
    assert found.read("nodes/Book").equals(whole.read("nodes/Book"))
    with pytest.raises(ContractError, match=r"properties.Film: unknown .'rating'."):
        selected(connection, graph, properties={"Film": ["rating"]})


@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        (
            {"User": ["nobody", "ann"]},
            "around.seeds.User: keys of selected nodes in the graph; 1 others, first 'nobody'",
        ),
        ({"Usr": ["ann"]}, "around.seeds: unknown .'Usr'."),
        ({"Film": ["f1"]}, "around.seeds: unknown .'Film'.; found .'User'."),
    ],
)
def test_seeds_that_are_not_selected_are_refused(
    connection: Connection, graph: Output, seeds: dict[str, list[str]], said: str
) -> None:
    with pytest.raises(ContractError, match=said):
        selected(connection, graph, labels=["User"], around={"seeds": seeds})


def test_types_derived_from_all_rows_are_for_others_only(connection: Connection, graph: Output) -> None:
    graph.manifest.meta["edges"]["Film-HAS_GENRE-Genre"]["derived"] = True
    try:
        assert "HAS_GENRE" not in selected(connection, graph)
        # Nor does a walk go over them.
        assert selected(connection, graph, **around(9, Genre=["Drama"])) == {"Genre": ["Drama"]}
        with pytest.raises(ContractError, match=r"found .'HAS_GENRE'."):
            selected(connection, graph, types=["RATED", "HAS_GENRE"])
        stage = Workspace(Path(graph.path).parents[1]).stage("graph")
        with stage.create("for others") as draft, Store(connection) as store:
            export(store, graph, draft, Selection(types=["HAS_GENRE"]), derived=True)
        assert stage.outputs()[-1].manifest.tables["edges/Film-HAS_GENRE-Genre"] == 2
    finally:
        del graph.manifest.meta["edges"]["Film-HAS_GENRE-Genre"]["derived"]


@pytest.mark.parametrize(
    ("until", "expected"),
    [
        (datetime(1500, 1, 1), ["old", "untimed"]),
        (datetime(1700, 1, 1), ["old", "untimed"]),
        (datetime(1499, 12, 31, 23, 59, 59, 999_999), ["untimed"]),
        (datetime(9000, 1, 1, tzinfo=UTC), ["late", "old", "r", "untimed"]),
        (datetime(8999, 12, 31, tzinfo=UTC), ["old", "r", "untimed"]),
    ],
)
def test_moments_further_away_than_a_duration_of_microseconds(
    clean_connection: Connection, tmp_path: Path, until: datetime, expected: list[str]
) -> None:
    content = rows()
    far = {
        "old": datetime(1500, 1, 1, tzinfo=UTC),
        "r": EARLY,
        "late": datetime(9000, 1, 1, tzinfo=UTC),
        "untimed": None,
    }
    content["relationships/User-RATED-Film"] = [event(name, "ann", "f1", at) for name, at in far.items()]
    output = loaded(clean_connection, tables(tmp_path, content))
    assert selected(clean_connection, output, until=until, types=["RATED"])["RATED"] == expected


def test_what_is_no_selection_is_refused() -> None:
    for given, said in (
        ({"where": {"Film": {"year": {}}}}, "at least one of min, max and one_of"),
        ({"where": {"Film": {"year": {"min": [1]}}}}, "expected a number, a text"),
        ({"around": {"seeds": {}}}, "at least 1"),
        ({"around": {"seeds": {"Film": ["f"]}, "hops": -1}}, "greater than or equal to 0"),
        ({"lables": ["Film"]}, "lables"),
    ):
        with pytest.raises(ValueError, match=said):
            Selection.model_validate(given)


def test_numbers_are_keys_too() -> None:
    assert Selection.model_validate(around(1, Film=[7])).around.seeds == {"Film": ["7"]}


def test_dates_survive_a_manifest() -> None:
    selection = Selection(until=date(2020, 1, 2), where={"Film": {"shown": {"min": date(2020, 1, 2)}}})
    again = Selection.model_validate(selection.model_dump(mode="json"))
    assert (again.until, again.where["Film"]["shown"].min) == (datetime(2020, 1, 2), "2020-01-02")
