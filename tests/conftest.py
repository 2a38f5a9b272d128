"""What tests of every package share: Java, the jars, a real Neo4j of their own, the real data if there is any."""

import os
from collections.abc import Iterator
from pathlib import Path

import neo4j
import pytest
from hypothesis import settings

import flows  # noqa: F401 - it tells OpenMP's threads how to wait, before anything loads torch
from kg.jars import Jars, default_cache, install_jars
from kg.java import Java, find_java
from kg.server import LocalServer
from kg.server_home import Connection, free_port

# Neo4j's start is half as long without the slower of Java's two compilers, which pays for itself in minutes.
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")

# The machine's other work decides how long an example takes; a test must not fail by it.
settings.register_profile("crossgraph", deadline=None)
settings.load_profile("crossgraph")


@pytest.fixture(scope="session")
def java_options() -> str:
    """Options for the packaged Java, as a user would set them."""
    return os.environ.get("CROSSGRAPH_JAVA_OPTIONS", "")


@pytest.fixture(scope="session")
def java() -> Java:
    """The Java that CrossGraph would choose here."""
    return find_java()


@pytest.fixture(scope="session")
def cache() -> Path:
    """The user's own cache folder: what was downloaded once is not downloaded again."""
    own = os.environ.get("CROSSGRAPH_CACHE")
    return Path(own) if own else default_cache(os.environ.get("XDG_CACHE_HOME"))


@pytest.fixture(scope="session")
def jars(cache: Path, java: Java, java_options: str) -> Jars:
    """The installed jars, fetched if they are not there."""
    return install_jars(cache, java, java_options)


@pytest.fixture(scope="session")
def neo4j_server(
    tmp_path_factory: pytest.TempPathFactory, jars: Jars, java: Java, java_options: str
) -> Iterator[LocalServer]:
    """A running Neo4j for the whole session: free ports, a password and a data folder of its own."""
    home = tmp_path_factory.mktemp("neo4j")
    server = LocalServer(home, jars, java, java_options, page_cache="128m", heap="768m")
    server.start(free_port(), free_port())
    yield server
    server.stop()


@pytest.fixture(scope="session")
def connection(neo4j_server: LocalServer) -> Connection:
    """How the session's Neo4j is reached; it holds whatever earlier tests left there."""
    return neo4j_server.connection()


@pytest.fixture
def clean_connection(connection: Connection) -> Connection:
    """The session's Neo4j, emptied: no nodes, no constraints, no indexes."""
    return emptied(connection)


def emptied(connection: Connection) -> Connection:
    """A Neo4j without what it held."""
    auth = (connection.user, connection.password)
    with (
        neo4j.GraphDatabase.driver(connection.uri, auth=auth) as driver,
        driver.session(database=connection.database) as session,
    ):
        session.run("MATCH ()-[r]->() CALL (r) { DELETE r } IN TRANSACTIONS OF 10000 ROWS").consume()
        session.run("MATCH (n) CALL (n) { DETACH DELETE n } IN TRANSACTIONS OF 10000 ROWS").consume()
        for kind, found in (
            ("CONSTRAINT", "SHOW CONSTRAINTS YIELD name RETURN name"),
            ("INDEX", "SHOW INDEXES YIELD name, type WHERE type <> 'LOOKUP' RETURN name"),
        ):
            for name in [record["name"] for record in session.run(found)]:
                session.run(f"DROP {kind} `{name.replace('`', '``')}`").consume()
    return connection


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data; tests that need it are skipped, visibly, without it."""
    folder = os.environ.get("CROSSGRAPH_DATA")
    if not folder:
        pytest.skip("CROSSGRAPH_DATA is not set: real-data tests skipped")
    return Path(folder)
