"""`crossgraph embed --refresh` by the real command: new rows get vectors and are served, and nothing is learned."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest

from embed.cache import read_views
from embed.checkpoint import load
from embed.infer import turned
from embed.snapshot import Snapshot
from flows.embed import MODEL
from flows.vectors import read_space, read_vectors
from kg.events import all_events, catalogue
from kg.jars import Jars
from kg.server_home import saved_connection
from kg.store import Store
from kg.tables import Output, Workspace
from tests.embed import growing
from tests.embed.growing import World

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PROJECT = """\
name: growing
sources:
  users: {format: csv, path: users.csv}
  films: {format: csv, path: films.csv}
  books: {format: csv, path: books.csv}
  likes: {format: csv, path: likes.csv}
  reads: {format: csv, path: reads.csv}
  about: {format: csv, path: about.csv}
nodes:
  User: {source: users, key: key, properties: {number: double(number)}}
  Film: {source: films, key: key, domain: films, text: [text]}
  Book: {source: books, key: key, domain: books, text: [text]}
  Topic: {source: about, key: dst}
relationships:
  LIKES: {source: likes, from: {User: src}, to: {Film: dst}, interaction: true, time: timestamp_seconds(int(at))}
  READS: {source: reads, from: {User: src}, to: {Book: dst}, interaction: true, time: timestamp_seconds(int(at))}
  ABOUT: {source: about, from: {Film: src}, to: {Topic: dst}}
embed: {image: null, epochs: 8, graph: {dim: 16}, batch_size: 256}
recommend: {ranker: {epochs: 2}}
"""


def write(folder: Path, world: World) -> None:
    """The project's sources."""
    for label, name in (("User", "users"), ("Film", "films"), ("Book", "books")):
        rows = [[key, number, world.texts.get(key)] for key, number in world.nodes[label].items()]
        _write(folder / f"{name}.csv", ["key", "number", "text"], rows)
    for edge, name in ((growing.LIKES, "likes"), (growing.READS, "reads"), (growing.ABOUT, "about")):
        rows = [[src, dst, 1_600_000_000 + crc32(f"{src}{dst}".encode()) % 10**7] for src, dst in world.edges[edge]]
        _write(folder / f"{name}.csv", ["src", "dst", "at"], rows)


def _write(path: Path, header: list[str], rows: list[list[Any]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


@dataclass
class Growing:
    """The project's folder, and how to run commands there."""

    folder: Path
    variables: dict[str, str]

    def run(self, *arguments: str, code: int = 0) -> str:
        command = [sys.executable, "-m", "flows.cli", *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env=self.variables, capture_output=True, text=True, timeout=400, check=False
        )
        assert done.returncode == code, done.stderr[-3000:]
        return done.stdout + done.stderr

    def figures(self) -> dict[str, Any]:
        return json.loads((self.folder / "runs/growing/run.json").read_text())

    def output(self, stage: str) -> Output:
        found = Workspace(self.folder / "runs/growing").stage(stage).current()
        assert found
        return found

    def rows(self, query: str) -> list[list[Any]]:
        with Store(saved_connection(self.folder / "home/neo4j/growing")) as store:
            return store.rows(query)

    def version(self) -> str:
        return str(self.rows("MATCH (v:EmbeddingVersion) RETURN v.version")[0][0])

    def z(self, label: str) -> dict[str, Any]:
        found = self.rows(f"MATCH (v:EmbeddingVersion) MATCH (n:{label}) RETURN n.key, n[v.property]")
        return {key: None if z is None else np.array(z, np.float32) for key, z in found}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, jars: Jars, cache: Path) -> Iterator[Growing]:
    folder = tmp_path_factory.mktemp("growing")
    (folder / "growing.yaml").write_text(PROJECT)
    write(folder, growing.world())
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("CROSSGRAPH_", "PREFECT_"))}
    own = {"HOME": str(folder / "home"), "CACHE": str(cache), "PREFECT": "false", "MEMORY": "4096"}
    own["JAVA_OPTIONS"] = os.environ.get("CROSSGRAPH_JAVA_OPTIONS", "")
    made = Growing(folder, clean | {f"CROSSGRAPH_{name}": value for name, value in own.items()})
    yield made
    made.run("neo4j", "stop", "growing.yaml")


def everything_anew(project: Growing) -> Any:
    """The newest vectors' model over all nodes, turned as they are."""
    tables, graph, encoded, made = (project.output(s) for s in ("tables", "graph", "encoded", "embeddings"))
    snapshot, nodes = Snapshot.read(graph), catalogue(graph)
    trained = load(made.filesystem, made.location(MODEL), snapshot, read_views(encoded, snapshot), nodes)
    return turned(trained.embed(all_events(tables, graph)), read_space(made)[0]), read_vectors(made, nodes)


def test_new_rows_get_vectors_without_training(project: Growing) -> None:
    told = project.run("embed", "growing.yaml", "--refresh", code=2)
    assert "run `crossgraph run growing` first" in told
    project.run("embed", "growing.yaml")
    first, before = project.version(), {label: project.z(label) for label in ("User", "Film", "Book")}

    told = project.run("embed", "growing.yaml", "--refresh")
    assert "nothing has changed" in told and project.version() == first
    assert set(project.figures()["did"].values()) == {0}
    assert {"embeddings", "published"} <= set(project.figures()["skipped"])

    world = growing.world()
    world.nodes["Film"]["a1"], world.texts["a1"] = None, "a film that nobody has seen"
    world.edges[growing.ABOUT]["a1", "t05"] = 1.0
    world.nodes["User"]["new"] = 30
    world.edges[growing.LIKES]["new", "f300"] = world.edges[growing.READS]["new", "b30"] = 1.0
    world.remove("Film", "f182")
    write(project.folder, world)
    told = project.run("embed", "growing.yaml", "--refresh")
    figures = project.figures()
    did, refreshed = figures["did"], figures["stages"]["embeddings"]["figures"]["refreshed"]
    assert (did["models_trained"], did["texts_encoded"]) == (0, 1)
    assert did["vectors_recomputed"] == refreshed["recomputed"] < refreshed["of"] / 4
    assert (refreshed["new"], refreshed["of"]) == (2, sum(map(len, before.values())) + 1)
    assert f"{refreshed['recomputed']} of {refreshed['of']} users and items" in told
    after = {label: project.z(label) for label in before}
    assert project.version() != first
    assert np.linalg.norm(after["Film"]["a1"]) == pytest.approx(1, abs=1e-4)
    assert np.linalg.norm(after["User"]["new"]) == pytest.approx(1, abs=1e-4)
    assert "f182" not in after["Film"]
    moved = [k for label, rows in after.items() for k, z in rows.items() if not np.array_equal(z, before[label].get(k))]
    assert {"a1", "new", "f300", "u182"} <= set(moved) and len(moved) <= refreshed["recomputed"]
    wanted, found = everything_anew(project)
    np.testing.assert_allclose(found.users["z"], wanted.users["z"], atol=1e-5)
    np.testing.assert_allclose(found.items["z"], wanted.items["z"], atol=1e-5)

    project.run("recommend", "growing.yaml")
    rows = project.output("recommendations").read("recommendations").to_pylist()
    assert {"new", "u000"} <= {row["user_id"] for row in rows} and "f182" not in {row["item_id"] for row in rows}
    project.run("plan", "growing.yaml", "--json", "plan.json")
    planned = json.loads((project.folder / "plan.json").read_text())["models"]
    assert {"trained/user_time", "embeddings"} <= set(planned)

    assert f"again, and no longer {project.version()}" in project.run("embed", "growing.yaml", "--rollback")
    assert project.version() == first
