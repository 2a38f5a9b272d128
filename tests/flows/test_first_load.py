"""The flows choose the importer for the first load of an empty local server, and nothing else tells from the graph."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.ingest import load_graph
from flows.project import load_project
from flows.servers import local_server
from flows.settings import load_settings
from flows.tasks import Run
from kg import bulk
from kg.load import load
from kg.server_home import Connection, saved_connection
from kg.store import Store
from kg.tables import Draft, Output, Workspace
from tests.kg.small_graph import Rows, graph_digest, plain, rows, write

pytestmark = pytest.mark.slow

EVENTS, USERS, FILMS = 3_000, 400, 30
# The command, for which these few rows are worth an import.
INGEST = "from kg import bulk; bulk.WORTH = 1; from flows.cli import app; app(['ingest', 'small.yaml'])"
PROJECT = """
name: small
sources:
  films: {format: parquet, path: films.parquet}
  users: {format: parquet, path: users.parquet}
  events: {format: parquet, path: events.parquet}
nodes:
  Film: {source: films, key: film, domain: films, properties: {title: title}}
  User: {source: users, key: user}
relationships:
  SAW: {source: events, from: {User: user}, to: {Film: film}, interaction: true, time: at, key: [from, to, time]}
features: {degree: false, pagerank: false}
"""


@pytest.fixture
def folder(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working folder of a user, whose local server is stopped in the end."""
    monkeypatch.chdir(tmp_path)
    for name, value in {"CACHE": str(cache), "HOME": "home", "RUNS": "runs", "MEMORY": "4096"}.items():
        monkeypatch.setenv(f"CROSSGRAPH_{name}", value)
    (tmp_path / "small.yaml").write_text(PROJECT)
    yield tmp_path
    local_server(load_settings(), "small").stop()


def digest_online(connection: Connection, output: Output, folder: Path) -> str:
    """Of the graph that the same tables make in a server that is loaded batch by batch."""
    with Store(connection) as store:
        load(store, output, Draft(output.filesystem, str(folder / "online")), "small")
    return graph_digest(connection)


def write_sources(events: pa.Table) -> None:
    pq.write_table(pa.table({"user": [f"u{n}" for n in range(USERS)]}), "users.parquet")
    films = range(FILMS)
    pq.write_table(pa.table({"film": [f"f{n}" for n in films], "title": [f"Film {n}" for n in films]}), "films.parquet")
    pq.write_table(events, "events.parquet")


def ingest() -> dict:
    """The real command; what run.json says of the load."""
    environment = os.environ | {"CROSSGRAPH_PREFECT": "false"}
    subprocess.run([sys.executable, "-c", INGEST], env=environment, check=True, stdout=subprocess.DEVNULL)
    return json.loads(Path("runs/small/run.json").read_text())["stages"]["loaded"]["figures"]


def test_the_first_ingest_is_imported_and_the_next_one_writes_what_changed(
    folder: Path, clean_connection: Connection
) -> None:
    users, films = ([f"{kind}{n % of}" for n in range(EVENTS)] for kind, of in (("u", USERS), ("f", FILMS)))
    events = pa.table({"user": users, "film": films, "at": pa.array(range(EVENTS), pa.int64())})
    write_sources(events)
    figures = ingest()
    assert (figures["how"], figures["written"]) == ("bulk", EVENTS + USERS + FILMS)
    connection = saved_connection(folder / "home" / "neo4j" / "small")
    assert plain(connection, "MATCH (:User)-[r:SAW]->(:Film) RETURN count(r)") == [[EVENTS]]
    output = Workspace("runs/small").stage("tables").current()
    assert output
    assert graph_digest(connection) == digest_online(clean_connection, output, folder)
    write_sources(events.slice(1))
    figures = ingest()
    assert (figures["how"], figures["written"]) == ("online", 1)
    assert plain(connection, "MATCH (:User)-[r:SAW]->(:Film) RETURN count(r)") == [[EVENTS - 1]]


def made(run: Run, content: Rows) -> Output:
    """An output of stage `tables` in the run's workspace."""
    stage = run.workspace.stage("tables")
    with stage.create("made") as draft:
        write(draft, content)
    output = stage.current()
    assert output
    return output


def new_run() -> Run:
    return Run(load_project("small.yaml"), load_settings(), "ingest")


def test_what_the_importer_refuses_is_loaded_online_but_for_the_rows_to_blame(
    folder: Path, clean_connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "WORTH", 1)
    content = rows()
    content["nodes/Genre"] += [{"key": f"genre {n}"} for n in range(9)]
    without = made(run := new_run(), content)
    wanted = digest_online(clean_connection, without, folder)
    # Longer than an index of Neo4j holds.
    content["nodes/Genre"].append({"key": "x" * 40_000})
    loaded = load_graph(run, made(run, content))
    figures = loaded.manifest.figures
    assert figures["how"] == "online"
    assert figures["import_refused"]
    assert graph_digest(run.connection) == wanted
    assert loaded.manifest.tables["quarantine/nodes/Genre"] == 1


def test_the_importer_is_used_for_an_empty_database_only_and_where_it_may_be(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "WORTH", 1)
    run = new_run()
    output = made(run, rows())
    plain(run.connection, "CREATE (:Theirs)")
    assert load_graph(run, output).manifest.figures["how"] == "online"
    plain(run.connection, "MATCH (n) DETACH DELETE n")
    monkeypatch.setenv("CROSSGRAPH_BULK", "false")
    assert load_graph(new_run(), output).manifest.figures["how"] == "online"
    plain(run.connection, "MATCH (n) DETACH DELETE n")
    for [name] in plain(run.connection, "SHOW CONSTRAINTS YIELD name"):
        plain(run.connection, f"DROP CONSTRAINT `{name}`")
    monkeypatch.setenv("CROSSGRAPH_BULK", "true")
    assert load_graph(new_run(), output).manifest.figures["how"] == "bulk"
