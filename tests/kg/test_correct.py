"""Corrections take the place of their rows before the contract and every mapping, and every row is still counted."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pyspark.sql import SparkSession

from kg.clean import ingest
from kg.corrections import Correction
from kg.project import Graph
from kg.quarantine import Refused, refused_rows
from kg.tables import Output, Workspace

FILES = {
    # Lines: 3 has too many values; 4 and 5 an age that is none, 6 repeats 5; 7 breaks a rule; 8 has no id
    "users.csv": "id;full name;age\na;Ann;1\nb;Bob;2;3\nc;Cy;x\nd;Di;y\nd;Di;y\ne;Ed;200\n;Flo;5\n",
    # 2 is no JSON, 3 too old, 4 without an id
    "others.jsonl": '{"id":"o1","n":1,"tags":["p"]}\nno json\n{"id":"o2","n":300}\n{"n":5}\n',
}
OFF = {"degree": False, "pagerank": False}


def graph_in(folder: Path) -> Graph:
    users = {"columns": {"age": {"type": "int"}}}
    return Graph.model_validate(
        {
            "sources": {
                "users": {
                    "format": "csv",
                    "path": str(folder / "users.csv"),
                    "options": {"sep": ";"},
                    "rename": {"full name": "name"},
                    "max_quarantined": 1,
                    "contract": users,
                },
                "others": {"format": "jsonl", "path": str(folder / "others.jsonl"), "max_quarantined": 1},
                "covers": {"format": "images", "path": str(folder / "covers"), "max_quarantined": 1},
            },
            "nodes": {
                "User": {
                    "source": ["users", "others"],
                    "key": "id",
                    "properties": {"age": "coalesce(int(age), n)", "name": "name", "tags": "tags"},
                    "rules": {"young": "coalesce(int(age), n) < 150"},
                },
                "Cover": {"source": "covers", "key": "stem", "image": "path"},
            },
            "features": OFF,
        }
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("corrected")
    for name, text in FILES.items():
        (made / name).write_text(text)
    (made / "covers").mkdir()
    (made / "mended").mkdir()
    for name in ("one", "two"):
        Image.new("RGB", (8, 8)).save(made / "covers" / f"{name}.png")
    for name in ("two", "three"):
        (made / "covers" / f"{name}.png").write_bytes(b"no picture")
    Image.new("RGB", (8, 8)).save(made / "mended" / "2.png")
    return made


def ingested(spark: SparkSession, folder: Path, corrections: dict[str, list[Correction]]) -> Output:
    stage = Workspace(folder / "run").stage("tables")
    with stage.create("test") as draft:
        ingest(graph_in(folder), spark, draft, corrections=corrections)
    output = stage.current()
    assert output is not None
    return output


@pytest.fixture(scope="module")
def before(spark: SparkSession, folder: Path) -> dict[str, Refused]:
    """What is refused without corrections, by source and row."""
    found = refused_rows([ingested(spark, folder, {})])
    return {f"{row.source}:{row.row.rsplit('/', 1)[-1]}": row for row in found}


def to(row: Refused, raw: dict[str, Any] | None) -> Correction:
    return Correction(row.file, row.row, row.raw, raw)


@pytest.fixture(scope="module")
def after(spark: SparkSession, folder: Path, before: dict[str, Refused]) -> Output:
    """Some rows mended, some dropped, some corrected to what is still bad, one stale and one of a row that is gone."""
    users = {
        "users:3": {"line": "b;Bob;22"},
        "users:4": {"id": "c", "name": "Cy", "age": "33"},
        # As line 2 is: a duplicate. Line 6, which repeats what line 5 was, stays a repeat.
        "users:5": {"id": "a", "name": "Ann", "age": "1"},
        "users:7": {"id": "e", "name": "Ed", "age": "old"},
        "users:8": None,
    }
    others = {
        "others:2": {"line": '{"id": "o3", "n": 3, "tags": ["q", "r"]}'},
        "others:3": {"id": "o2", "n": "many"},
        "others:4": {"id": "o4", "n": 4, "weight": 1},
    }
    covers = {
        "covers:two.png": {"path": str(folder / "mended" / "2.png"), "stem": "two"},
        "covers:three.png": {"path": str(folder / "absent.png"), "stem": "three"},
    }
    corrections = {
        source: [to(before[key], raw) for key, raw in of.items()]
        for source, of in (("users", users), ("others", others), ("covers", covers))
    }
    path = str(folder / "users.csv")
    corrections["users"] += [Correction(path, "2", '{"id":"z"}', None), Correction(path, "99", "{}", None)]
    return ingested(spark, folder, corrections)


def test_without_corrections_these_rows_are_refused(before: dict[str, Refused]) -> None:
    assert {key: row.reasons for key, row in before.items()} == {
        "users:3": ("malformed",),
        "users:4": ("type:age",),
        "users:5": ("type:age",),
        "users:7": ("rule:young in nodes/User",),
        "users:8": ("null_key in nodes/User",),
        "others:2": ("malformed",),
        "others:3": ("rule:young in nodes/User",),
        "others:4": ("null_key in nodes/User",),
        "covers:two.png": ("broken_image",),
        "covers:three.png": ("broken_image",),
    }


def test_corrected_rows_take_the_way_of_all_rows(after: Output, folder: Path) -> None:
    columns = ["key", "age", "name", "tags"]
    nodes = {row["key"]: row for row in after.read("nodes/User", columns).to_pylist()}
    assert sorted(nodes) == ["a", "b", "c", "o1", "o3"]
    assert nodes["b"] == {"key": "b", "age": 22, "name": "Bob", "tags": None}
    assert nodes["c"]["age"] == 33
    assert nodes["o3"] == {"key": "o3", "age": 3, "name": None, "tags": ["q", "r"]}
    covers = {row["key"]: row["image"] for row in after.read("nodes/Cover", ["key", "image"]).to_pylist()}
    assert covers == {"one": str(folder / "covers" / "one.png"), "two": str(folder / "mended" / "2.png")}


def test_what_is_still_bad_is_in_quarantine_again_as_it_is_now(after: Output) -> None:
    found = {
        row.row.rsplit("/", 1)[-1]: (row.source, row.reasons, json.loads(row.raw)) for row in refused_rows([after])
    }
    assert {key: of[:2] for key, of in found.items()} == {
        "7": ("users", ("type:age",)),
        "3": ("others", ("correction:n",)),
        "4": ("others", ("correction:weight",)),
        "three.png": ("covers", ("broken_image",)),
    }
    assert found["7"][2] == {"id": "e", "name": "Ed", "age": "old"}
    assert found["3"][2] == {"id": "o2", "n": "many"}
    assert found["4"][2] == {"id": "o4", "n": 4, "weight": 1}


def test_a_corrected_row_is_still_one_row_and_a_dropped_one_is_filtered(after: Output) -> None:
    users = after.manifest.figures["sources"]["users"]
    counts = {name: users[name] for name in ("rows", "accepted", "duplicate", "filtered", "quarantined")}
    assert counts == {"rows": 7, "accepted": 3, "duplicate": 2, "filtered": 1, "quarantined": 1}
    assert users["reasons"] == {"dropped": 1, "type:age": 1}


def test_what_became_of_each_correction_is_said(after: Output, folder: Path) -> None:
    assert after.manifest.figures["corrections"] == {
        "users": {"corrected": 4, "dropped": 1, "stale": 2},
        "others": {"corrected": 3, "dropped": 0, "stale": 0},
        "covers": {"corrected": 2, "dropped": 0, "stale": 0},
    }
    outcomes = {row["row"]: row["outcome"] for row in after.read("corrections/users").to_pylist()}
    assert (outcomes["2"], outcomes["99"], outcomes["8"], outcomes["3"]) == ("stale", "stale", "dropped", "corrected")
