"""Servers of the benchmarks' own, in a folder that goes with them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kg.jars import default_cache, find_jars
from kg.java import find_java
from kg.server import LocalServer
from kg.server_home import Connection, free_port


class TimedServer(LocalServer):
    """Knows how long its starts have taken, in seconds, for figures that leave them out."""

    starting = 0.0

    def start(self, bolt_port: int | None = None, http_port: int | None = None, timeout: float = 180) -> Connection:
        """As its base."""
        begun = time.perf_counter()
        try:
            return super().start(bolt_port, http_port, timeout)
        finally:
            self.starting += time.perf_counter() - begun


@contextmanager
def server(home: Path, heap: str = "1g", page_cache: str = "512m") -> Iterator[TimedServer]:
    """A server that has not been started yet and is stopped in the end."""
    local = TimedServer(home, find_jars(default_cache()), find_java(), page_cache=page_cache, heap=heap)
    local.home.mkdir(parents=True, exist_ok=True)
    local.start(free_port(), free_port())
    try:
        yield local
    finally:
        local.stop()
