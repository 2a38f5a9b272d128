"""``kill -9`` of the loader and of Neo4j in the middle of every kind of step: the graph ends as an undisturbed one."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kg.graph_digest import digest
from kg.jars import Jars
from kg.java import Java
from kg.ledger import WRITERS
from kg.server import LocalServer
from kg.server_home import free_port
from kg.store import Store
from kg.tables import Output
from tests.kg.small_graph import Rows, event, plain, tables

pytestmark = pytest.mark.slow

USERS, FILMS = 200, 120
# Each phase has batches before and after the one that is killed.
FIRST_KILLS = ["nodes/User create 2", "relationships/User-RATED-Film create 3"]
SECOND_KILLS = ["nodes/Film update 1", "relationships/User-RATED-Film delete 2", "nodes/User delete 1"]


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, jars: Jars, java: Java, java_options: str
) -> Iterator[LocalServer]:
    """A Neo4j of this module's own, that may be killed."""
    home = tmp_path_factory.mktemp("killed")
    server = LocalServer(home, jars, java, java_options, page_cache="64m", heap="384m")
    server.start(bolt_port=free_port(), http_port=free_port())
    yield server
    server.stop()


def content(users: int, title: str) -> Rows:
    """Users who rated five films each; with fewer users some vanish, another title changes every film."""
    at = datetime(2024, 1, 1, tzinfo=UTC)
    return {
        "nodes/User": [{"key": f"u{u}", "age": u % 90} for u in range(users)],
        "nodes/Film": [{"key": f"f{f}", "title": f"{title} {f}"} for f in range(FILMS)],
        "relationships/User-RATED-Film": [
            event(f"r{u}-{n}", f"u{u}", f"f{(u * 7 + n * n) % FILMS}", at, weight=float(n))
            for u in range(users)
            for n in range(5)
        ],
    }


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> list[Output]:
    """The tables of a first load, and of a second one that creates nothing, updates and deletes."""
    folder = tmp_path_factory.mktemp("versions")
    return [tables(folder / "1", content(USERS, "One")), tables(folder / "2", content(USERS // 2, "Two"))]


@pytest.fixture(scope="module")
def undisturbed(server: LocalServer, versions: list[Output], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The digests that the two loads end with when nobody kills anything."""
    folder, found = tmp_path_factory.mktemp("undisturbed"), []
    empty(server)
    for version in versions:
        rest(run(server, version, folder))
        found.append(graph_digest(server))
    return found


def empty(server: LocalServer) -> None:
    plain(server.connection(), "MATCH (n) DETACH DELETE n")


def graph_digest(server: LocalServer) -> str:
    with Store(server.connection()) as store:
        return digest(store)


def run(server: LocalServer, version: Output, loaded: Path) -> subprocess.Popen[str]:
    """Start the loader."""
    workspace = str(Path(version.path).parent.parent)
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.kg.loading", workspace, str(loaded)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin
    child.stdin.write(json.dumps(asdict(server.connection())))
    child.stdin.close()
    return child


def lines_until(child: subprocess.Popen[str], wanted: str) -> list[str]:
    """What the loader says up to the batch that is wanted, which it is about to commit."""
    assert child.stdout
    said = []
    for line in child.stdout:
        said.append(line.strip())
        if said[-1] == f"new {wanted}":
            return said
    raise AssertionError(f"the loader ended before {wanted}: {said}")


def rest(child: subprocess.Popen[str]) -> list[str]:
    """What it says to its end, which must be a good one."""
    assert child.stdout
    said = [line.strip() for line in child.stdout]
    child.stdout.close()
    assert child.wait(60) == 0
    return said


def kill(child: subprocess.Popen[str]) -> None:
    """``kill -9``."""
    child.kill()
    child.wait()
    assert child.stdout
    child.stdout.close()


def check(server: LocalServer, users: int, expected: str) -> None:
    """The graph is the undisturbed one, nothing is doubled and the ledger is gone."""
    assert graph_digest(server) == expected
    count = "MATCH ()-[r:RATED]->() RETURN count(r), count(DISTINCT r.row_id)"
    assert plain(server.connection(), count) == [[users * 5, users * 5]]
    assert plain(server.connection(), "MATCH (b:CrossGraphBatch) RETURN count(b)") == [[0]]


def test_the_loader_is_killed_in_every_phase(
    server: LocalServer, versions: list[Output], undisturbed: list[str], tmp_path: Path
) -> None:
    empty(server)
    for version, kills, users, expected in zip(
        versions, (FIRST_KILLS, SECOND_KILLS), (USERS, USERS // 2), undisturbed, strict=True
    ):
        committed: Counter[str] = Counter()
        for wanted in kills:
            child = run(server, version, tmp_path)
            said = lines_until(child, wanted)
            kill(child)
            committed.update(line for line in said if line.startswith("new"))
            assert graph_digest(server) != expected
        said = rest(run(server, version, tmp_path))
        # What was said to be under way when it was killed may not have been committed.
        assert sum(line.startswith("known") for line in said) >= sum(committed.values()) - WRITERS * len(kills)
        check(server, users, expected)


def test_tables_that_changed_after_a_kill_are_loaded_from_what_the_graph_holds(
    server: LocalServer, versions: list[Output], undisturbed: list[str], tmp_path: Path
) -> None:
    empty(server)
    child = run(server, versions[0], tmp_path)
    lines_until(child, FIRST_KILLS[1])
    kill(child)
    said = rest(run(server, versions[1], tmp_path))
    assert not any(line.startswith("known") for line in said)
    check(server, USERS // 2, undisturbed[1])


def test_neo4j_is_killed_in_nodes_relationships_and_deletes(
    server: LocalServer, versions: list[Output], undisturbed: list[str], tmp_path: Path
) -> None:
    empty(server)
    for version, kills, users, expected in zip(
        versions, (FIRST_KILLS, SECOND_KILLS[1:2]), (USERS, USERS // 2), undisturbed, strict=True
    ):
        for wanted in kills:
            child = run(server, version, tmp_path)
            lines_until(child, wanted)
            pid = server.status().pid
            assert pid
            os.kill(pid, signal.SIGKILL)
            kill(child)
            server.start()
        rest(run(server, version, tmp_path))
        check(server, users, expected)
