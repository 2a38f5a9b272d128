"""`crossgraph neo4j`: the local server of a project, or the user's own."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.project import load_project
from flows.settings import Settings, load_settings
from kg.dump import has_database, running
from kg.jars import find_jars
from kg.java import find_java
from kg.server import LocalServer, answers
from kg.server_home import saved_connection, server_status
from kg.store import Store


def server_home(settings: Settings, project: str) -> Path:
    """Where a project's local server lives."""
    return settings.home / "neo4j" / project


def local_server(settings: Settings, project: str) -> LocalServer:
    """A project's local server, running or not; `MachineError` when Java or the jars are lacking."""
    memory = settings.split
    return LocalServer(
        server_home(settings, project),
        find_jars(settings.cache_folder),
        find_java(prefer_packaged=settings.packaged_java),
        settings.java_options,
        page_cache=f"{memory.neo4j_pages}m",
        heap=f"{memory.neo4j_heap}m",
    )


@contextmanager
def graph_store(settings: Settings, project: str) -> Iterator[Store | None]:
    """A project's database, started for the block where it does not run; None where there never was one."""
    if own := settings.neo4j.connection():
        with Store(own) as store:
            yield store
    elif has_database(server_home(settings, project)):
        with running(local_server(settings, project)) as connection, Store(connection) as store:
            yield store
    else:
        yield None


def start_server(project: str) -> str:
    """Start the server unless it runs; a line that says how to reach it."""
    settings = load_settings()
    if own := settings.neo4j.connection():
        return f"CROSSGRAPH_NEO4J__URI is set: {own.uri} is used, nothing was started"
    local_server(settings, load_project(project).name).start()
    return server_line(project)[0]


def stop_server(project: str) -> str:
    """Stop the server; a line that says what happened."""
    settings = load_settings()
    name = load_project(project).name
    if not server_status(server_home(settings, name)).running:
        return f"the Neo4j of {name} was not running"
    local_server(settings, name).stop()
    return f"stopped the Neo4j of {name}"


def server_line(project: str) -> tuple[str, bool]:
    """Where the server is and how to log in, and whether it answers."""
    settings = load_settings()
    if own := settings.neo4j.connection():
        running = answers(own)
        return f"Neo4j at {own.uri} (your own) {'answers' if running else 'does not answer'}", running
    name = load_project(project).name
    home = server_home(settings, name)
    status = server_status(home)
    if not status.running:
        return f"the Neo4j of {name} is not running: `crossgraph neo4j start {project}` starts it", False
    user = saved_connection(home).user
    return (
        f"Neo4j of {name}: {status.uri}, browser {status.http}, user {user}, password in {home / 'password'}",
        True,
    )
