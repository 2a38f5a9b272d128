"""A local Neo4j's database as one file and back; in the Community edition the server must not run meanwhile.

A dump keeps the database's id (measured on 5.26.30), so that a workspace which was saved beside it goes on trusting it.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kg.errors import ArchiveError, MachineError
from kg.jars import Jars
from kg.server import LocalServer
from kg.server_home import Connection

DATABASE = "neo4j"


@contextmanager
def running(server: LocalServer) -> Iterator[Connection]:
    """The server up for the block, and afterwards as it was."""
    was = server.status().running
    connection = server.start()
    try:
        yield connection
    finally:
        if not was:
            server.stop()


@contextmanager
def stopped(server: LocalServer) -> Iterator[None]:
    """The server down for the block, and afterwards as it was."""
    was = server.stop()
    try:
        yield
    finally:
        if was:
            server.start()


def has_database(home: Path) -> bool:
    """Whether the server of a home was ever started."""
    return (home / "data" / "databases" / DATABASE).is_dir()


def dump(server: LocalServer, folder: Path) -> Path:
    """Write ``neo4j.dump`` into a folder; `StoreError` where Neo4j refuses."""
    folder.mkdir(parents=True, exist_ok=True)
    with stopped(server):
        server.admin("database", "dump", DATABASE, f"--to-path={folder}", "--overwrite-destination=true")
    return folder / f"{DATABASE}.dump"


def load(server: LocalServer, folder: Path) -> None:
    """Replace the database by ``neo4j.dump`` of a folder; a home that is not there yet is made, password and all."""
    server.prepare()
    with stopped(server):
        server.admin("database", "load", DATABASE, f"--from-path={folder}", "--overwrite-destination=true")


def neo4j_version(jars: Jars) -> str:
    """The version of the installed server."""
    found = [re.fullmatch(r"neo4j-server-(\d+\.\d+\.\d+)\.jar", path.name) for path in jars.neo4j_lib.iterdir()]
    if versions := [match[1] for match in found if match]:
        return versions[0]
    raise MachineError(f"no neo4j-server jar in {jars.neo4j_lib}: run `crossgraph setup`")


def check_version(dumped: str, installed: str) -> None:
    """`ArchiveError` for a dump of a newer Neo4j than is here, which this one could not read."""
    if _numbers(dumped)[:2] > _numbers(installed)[:2]:
        raise ArchiveError(f"the backup was made by Neo4j {dumped}, here is {installed}: install a newer crossgraph")


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]
