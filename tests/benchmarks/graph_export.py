"""A snapshot in Parquet against `list(session.run(…))`, the plain way, over the same relationships."""

import resource
import statistics
import time
from pathlib import Path
from typing import Any

import neo4j

from kg.export import export
from kg.server_home import Connection
from kg.store import Store
from kg.tables import Output, Workspace
from tests.benchmarks.graph_data import EDGE, TYPE

PLAIN = (
    f"MATCH (u:User)-[r:{TYPE}]->(p:Product) "
    "RETURN u.key, p.key, r.row_id, r.count, r.first.epochMillis, r.last.epochMillis, r.weight, r.positive"
)
"""Times as integers, as ours travel: the driver's own datetime objects would make this five times as slow."""
MIB = 1024
"""`ru_maxrss` is in KiB."""


def export_figures(connection: Connection, folder: Path, *, rounds: int = 3) -> dict[str, Any]:
    """Relationships a second of both ways, alternating; medians, and their ratio.

    `folder` holds the workspace whose `tables` the database was loaded from. Ours reads the nodes too and writes
    Parquet; the plain way reads the relationships with the same columns and keeps them in memory. `peak_mib` is what
    our process had at most when only ours had run, `most_held` the most relationships that were in memory at a time.
    """
    tables = Workspace(folder).stage("tables").current()
    assert tables
    rows = tables.manifest.tables[f"relationships/{EDGE}"]
    ours, plain = [_ours(connection, tables, folder)], []
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB
    for _ in range(rounds):
        plain.append(_plain(connection, rows))
        ours.append(_ours(connection, tables, folder))
    snapshot = Workspace(folder).stage("graph").current()
    assert snapshot
    rates = {"ours_rate": rows / statistics.median(ours[1:]), "plain_rate": rows / statistics.median(plain)}
    return {
        **rates,
        "ratio": rates["ours_rate"] / rates["plain_rate"],
        "peak_mib": round(peak),
        "most_held": snapshot.manifest.figures["most_held"],
        "relationships": rows,
        "ours_seconds": ours[1:],
        "plain_seconds": plain,
    }


def _ours(connection: Connection, tables: Output, folder: Path) -> float:
    stage = Workspace(folder).stage("graph")
    begun = time.perf_counter()
    with Store(connection) as store, stage.create("benchmark") as draft:
        export(store, tables, draft)
    return time.perf_counter() - begun


def _plain(connection: Connection, rows: int) -> float:
    auth = (connection.user, connection.password)
    with (
        neo4j.GraphDatabase.driver(connection.uri, auth=auth) as driver,
        driver.session(database=connection.database) as session,
    ):
        begun = time.perf_counter()
        found = list(session.run(PLAIN))
        seconds = time.perf_counter() - begun
    if len(found) != rows:
        raise SystemExit(f"{TYPE}: expected {rows} relationships, found {len(found)}")
    return seconds
