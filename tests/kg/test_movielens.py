"""The shipped MovieLens project on the real files, its triples left out to be quick."""

from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
from pyspark.sql import SparkSession

from flows.project import load_project
from kg.clean import ingest
from kg.project import Graph
from kg.split import make_cuts, read_events
from kg.tables import Output, Workspace

COUNTS = {"users": 943, "items": 1682, "ratings": 100_000, "plots": 1682}
SOURCES = tuple(COUNTS)


@pytest.fixture(scope="module")
def graph(data_folder: Path) -> Graph:
    project = load_project("movielens-100k", [f"data={data_folder / 'ml100k-kg'}"])
    named = {name: getattr(project, name) for name in Graph.model_fields}
    named["sources"] = {name: project.sources[name] for name in SOURCES}
    movie = project.nodes["Movie"]
    joins = [join for join in movie.join if join.source in SOURCES]
    named["nodes"] = project.nodes | {"Movie": movie.model_copy(update={"join": joins, "image": None})}
    named["relationships"] = {name: project.relationships[name] for name in ("RATED", "HAS_GENRE")}
    return Graph.model_construct(**named | {"features": project.features.model_copy(update={"pagerank": False})})


@pytest.fixture(scope="module")
def tables(graph: Graph, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Output:
    stage = Workspace(tmp_path_factory.mktemp("movielens")).stage("tables")
    with stage.create("movielens") as draft:
        ingest(graph, spark, draft)
    output = stage.current()
    assert output is not None
    return output


def test_every_row_is_accepted_and_two_years_are_none(tables: Output) -> None:
    sources = tables.manifest.figures["sources"]
    assert {name: sources[name]["rows"] for name in SOURCES} == COUNTS
    assert all(account["accepted"] == account["rows"] for account in sources.values())
    assert sources["items"]["coerced"] == 2
    movies = tables.read("nodes/Movie")
    assert len(movies) == 1682
    assert pc.sum(pc.match_substring(movies["text"], "\n")).as_py() == 1671  # a title and a plot


def test_the_cut_holds_out_each_users_latest_fifth_of_what_they_liked(tables: Output, graph: Graph) -> None:
    events = read_events(tables)
    cut = make_cuts(events, graph)["user_time"]
    held = cut.filter(pc.equal(cut["split"], "test"))
    assert pc.all(held["positive"]).as_py()
    liked = cut.filter(cut["positive"]).group_by("from_key").aggregate([("row_id", "count")])
    wanted = dict(zip(liked["from_key"].to_pylist(), np.ceil(0.2 * liked["row_id_count"].to_numpy()), strict=True))
    found = held.group_by("from_key").aggregate([("row_id", "count")]).to_pydict()
    assert len(found["from_key"]) > 900
    assert all(n == wanted[user] for user, n in zip(found["from_key"], found["row_id_count"], strict=True))
