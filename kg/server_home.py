"""What the home folder of a local Neo4j and the process table tell, without asking the server itself.

Whether a server runs is read from the process table (its command line names the home), so that a stale
pid file is harmless and the process of somebody else is never taken for ours.
"""

import json
import os
import random
import socket
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psutil

from kg.errors import MachineError, StoreError

MAIN = "org.neo4j.server.CommunityEntryPoint"
DEFAULT_PORTS = (7687, 7474)


@dataclass(frozen=True)
class Connection:
    """How a Neo4j is reached."""

    uri: str
    user: str
    password: str = field(repr=False)
    database: str = "neo4j"


@dataclass(frozen=True)
class ServerStatus:
    """What is known of a local server without asking it anything."""

    running: bool
    home: Path
    pid: int | None = None
    uri: str | None = None
    """The Bolt address of a running server."""
    http: str | None = None
    """The address of its browser."""
    since: datetime | None = None


def saved_connection(home: Path) -> Connection:
    """How the server of a home is reached once it runs; `StoreError` if it was never started."""
    try:
        password = (home / "password").read_text().strip()
        return Connection(f"bolt://127.0.0.1:{read_ports(home)[0]}", "neo4j", password)
    except FileNotFoundError as error:
        raise StoreError(f"no Neo4j was ever started in {home}: run `crossgraph neo4j start`") from error


def server_status(home: Path) -> ServerStatus:
    """Whether the server of a home runs, where and since when; asks the system, not the server."""
    home = home.resolve()
    process = find_process(home)
    if process is None:
        return ServerStatus(False, home)
    bolt, http = read_ports(home)
    since = datetime.fromtimestamp(process.create_time(), UTC)
    return ServerStatus(True, home, process.pid, f"bolt://127.0.0.1:{bolt}", f"http://127.0.0.1:{http}", since)


def read_ports(home: Path) -> tuple[int, int]:
    """The Bolt and HTTP ports last chosen for a home; `FileNotFoundError` before the first start."""
    saved = json.loads((home / "ports.json").read_text())
    return saved["bolt"], saved["http"]


def choose_ports(home: Path, bolt_port: int | None = None, http_port: int | None = None) -> None:
    """Note the ports of the next start: those given, else those of before, Neo4j's usual ones, or any that are free."""
    try:
        before = read_ports(home)
    except (FileNotFoundError, ValueError, KeyError):
        before = DEFAULT_PORTS
    bolt = bolt_port or free_port(before[0], DEFAULT_PORTS[0])
    http = http_port or free_port(before[1], DEFAULT_PORTS[1])
    for port in (bolt, http):
        if not is_free(port):
            raise MachineError(f"port {port} is in use: name another one, or none to have one chosen")
    write_private(home / "ports.json", json.dumps({"bolt": bolt, "http": http}))


def find_process(home: Path) -> psutil.Process | None:
    """The running server of a home: by its pid file, else (a start was killed) by looking for it."""
    try:
        noted = psutil.Process(int((home / "server.pid").read_text()))
        if serves(noted, home):
            return noted
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
        pass
    return next((process for process in psutil.process_iter() if serves(process, home)), None)


def serves(process: psutil.Process, home: Path) -> bool:
    """Whether this process is the server of this home."""
    try:
        command = process.cmdline()
    except psutil.Error:  # gone, a zombie, or another user's
        return False
    return MAIN in command and f"--home-dir={home}" in command


def listens(home: Path) -> bool:
    """Whether it is the server of this home that has its Bolt port: another may have taken it a moment before."""
    process, (bolt, _) = find_process(home), read_ports(home)
    if process is None:
        return False
    try:
        found = process.net_connections(kind="tcp")
    except psutil.NoSuchProcess:
        return False
    return any(each.status == psutil.CONN_LISTEN and each.laddr.port == bolt for each in found)


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of the loopback address."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port(*preferred: int) -> int:
    """The first of `preferred` that is free, else any free port that no outgoing connection is given meanwhile.

    A system hands ports to outgoing connections from 32768 up (Linux) or 49152 up (IANA's range, elsewhere): one
    taken from there is often in use again before a server that starts a second later can have it.
    """
    for port in preferred:
        if is_free(port):
            return port
    for port in random.SystemRandom().sample(range(10_240, 32_768), 1000):
        if is_free(port):
            return port
    raise MachineError("no free port between 10240 and 32767 among 1000 tried")


def write_private(path: Path, text: str) -> None:
    """Replace a file of ours in one step; only the user may read it, passwords are among them."""
    partial = path.with_name(f".{path.name}.partial")
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    partial.replace(path)
