"""Loads against what else there is: the Spark connector online, the bare importer for a first load, and a reload."""

import time
from pathlib import Path
from typing import Any

import neo4j

from kg.bulk import bulk_load
from kg.load import load
from kg.store import Store
from kg.tables import Output, Workspace
from tests.benchmarks.graph_connector import connector_load, connector_session
from tests.benchmarks.graph_data import EDGE, write_csv, write_tables
from tests.benchmarks.graph_servers import TimedServer

PROJECT = "benchmark"


def loaded(server: TimedServer, tables: Output, folder: Path, before: Output | None = None) -> tuple[float, Output]:
    """Load online into the running server; seconds, and the output of stage `loaded`."""
    stage = Workspace(folder).stage("loaded")
    begun = time.perf_counter()
    with Store(server.connection()) as store, stage.create(tables.manifest.created) as draft:
        load(store, tables, draft, PROJECT, before=before)
    seconds = time.perf_counter() - begun
    output = stage.current()
    assert output
    return seconds, output


def imported(server: TimedServer, tables: Output, folder: Path) -> tuple[float, Output]:
    """Our whole first load into an empty server, its starts not counted; seconds and the output."""
    stage = Workspace(folder).stage("loaded")
    begun, starting = time.perf_counter(), server.starting
    with stage.create(tables.manifest.created) as draft:
        bulk_load(server, tables, draft, PROJECT)
    seconds = time.perf_counter() - begun - (server.starting - starting)
    output = stage.current()
    assert output
    return seconds, output


def with_constraints(server: TimedServer) -> None:
    """Start an emptied server and make the constraints that both loads want there before."""
    server.drop_import()
    with Store(server.start()) as store:
        store.claim(PROJECT)
        store.ensure_unique(["User", "Product"])


def held(server: TimedServer) -> tuple[int, int]:
    """Nodes and relationships of the data."""
    connection = server.connection()
    with neo4j.GraphDatabase.driver(connection.uri, auth=(connection.user, connection.password)) as driver:
        count = "MATCH (n) WHERE n:User OR n:Product WITH count(n) AS n MATCH ()-[r]->() RETURN n, count(r)"
        [[nodes, relationships]] = driver.execute_query(count).records
    return nodes, relationships


def online_load(server: TimedServer, folder: Path, sizes: dict[str, int], rounds: int, mode: str) -> dict[str, Any]:
    """Seconds of both ways into a running server that was emptied, alternating."""
    tables = write_tables(folder / "online", sizes["relationships"], sizes["nodes"])
    ours, theirs = [], []
    for _ in range(rounds):
        with_constraints(server)
        with connector_session(folder) as spark:
            theirs.append(connector_load(spark, tables, server.connection(), mode))
        check(server, sizes)
        with_constraints(server)
        ours.append(loaded(server, tables, folder / "online")[0])
        check(server, sizes)
    return {"ours_seconds": ours, "connector_seconds": theirs, "mode": mode, **sizes}


def first_load(server: TimedServer, folder: Path, sizes: dict[str, int], rounds: int) -> dict[str, Any]:
    """Seconds of the bare import and of our whole first load, alternating; then of reloads of the same content."""
    tables = write_tables(folder / "first", sizes["relationships"], sizes["nodes"])
    arguments = write_csv(tables, folder / "csv")
    ours, bare = [], []
    output = None
    for _ in range(rounds):
        server.drop_import()
        begun = time.perf_counter()
        report = f"--report-file={folder / 'import.report'}"
        server.admin("database", "import", "full", "neo4j", "--overwrite-destination=true", report, *arguments)
        bare.append(time.perf_counter() - begun)
        server.drop_import()
        server.start()
        seconds, output = imported(server, tables, folder / "first")
        ours.append(seconds)
        check(server, sizes)
    assert output
    reloads = reload(server, folder / "first", tables, output, sizes, rounds)
    return {"ours_seconds": ours, "bare_seconds": bare, "nothing_changed": reloads, **sizes}


def reload(
    server: TimedServer, folder: Path, tables: Output, output: Output, sizes: dict[str, int], rounds: int
) -> dict[str, Any]:
    """Seconds and writes of a load of the same content in new tables, and of the very same tables."""
    shuffled = write_tables(folder, sizes["relationships"], sizes["nodes"], shuffled=True)
    new, same, written = [], [], 0
    for _ in range(rounds):
        for seconds, delivered in ((new, shuffled), (same, tables)):
            taken, output = loaded(server, delivered, folder, output)
            seconds.append(taken)
            written += output.manifest.figures["written"]
            # Delivered anew each time: what was loaded last is the other one.
    again, _ = loaded(server, tables, folder, output)
    check(server, sizes)
    return {"new_tables_seconds": [*new, *same], "same_output_seconds": again, "written": written}


def check(server: TimedServer, sizes: dict[str, int]) -> None:
    """A load that lost something is no load."""
    found, wanted = held(server), (sizes["nodes"], sizes["relationships"])
    if found != wanted:
        raise SystemExit(f"{EDGE}: expected {wanted} nodes and relationships, found {found}")
