"""A real local Neo4j: started, found, used, stopped, started again; and everything that may be in its way."""

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import neo4j
import psutil
import pytest

from kg.errors import LockedError, MachineError, StoreError
from kg.jars import Jars
from kg.java import Java, find_java
from kg.lock import held
from kg.server import LocalServer, answers
from kg.server_admin import last_complaint
from kg.server_home import Connection, free_port, is_free

SMALL = {"page_cache": "64m", "heap": "512m"}


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port that this process listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock.getsockname()[1]


@pytest.fixture
def unstarted(tmp_path: Path, jars: Jars, java: Java, java_options: str) -> LocalServer:
    return LocalServer(tmp_path / "home", jars, java, java_options, **SMALL)


def run(connection: Connection, query: str) -> list[neo4j.Record]:
    with neo4j.GraphDatabase.driver(connection.uri, auth=(connection.user, connection.password)) as driver:
        return driver.execute_query(query, database_=connection.database).records


@pytest.mark.slow
def test_start_stop_and_restart_on_the_packaged_java(tmp_path: Path, jars: Jars, java_options: str) -> None:
    packaged = find_java(prefer_packaged=True)
    options = f"{java_options} -Dcrossgraph.test=packaged"
    server = LocalServer(tmp_path / "home with a space", jars, packaged, options, **SMALL)
    assert not server.status().running
    connection = server.start(free_port(), free_port())
    try:
        status = server.status()
        assert (status.running, status.uri, status.home) == (True, connection.uri, server.home)
        command = psutil.Process(status.pid).cmdline()
        assert command[0] == str(packaged.path)
        assert "-Dcrossgraph.test=packaged" in command
        assert connection.password not in " ".join(command)
        run(connection, "CREATE (:Kept {value: 1})")

        assert server.start() == connection
        assert server.status() == status, "a second start changes nothing"
        with pytest.raises(MachineError, match="already runs on port"):
            server.start(bolt_port=free_port())

        assert server.stop()
        assert not server.status().running
        assert not server.stop(), "there is nothing left to stop"

        with ThreadPoolExecutor() as pool:
            both = list(pool.map(lambda _: server.start(), range(2)))
        assert both == [connection, connection], "ports and password are kept; two starts make one server"
        assert run(connection, "MATCH (n:Kept) RETURN n.value AS value")[0]["value"] == 1
    finally:
        server.stop()


def test_only_its_owner_reads_the_home_and_nothing_listens_outside(neo4j_server: LocalServer) -> None:
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in neo4j_server.home.iterdir()}
    assert modes["password"] == 0o600
    assert stat.S_IMODE(neo4j_server.home.stat().st_mode) == 0o700
    listening = psutil.Process(neo4j_server.status().pid).net_connections("tcp")
    hosts = {c.laddr.ip.removeprefix("::ffff:") for c in listening if c.status == psutil.CONN_LISTEN}
    assert hosts == {"127.0.0.1"}


def test_a_connection_does_not_show_its_password(connection: Connection) -> None:
    assert connection.password not in repr(connection)


def test_a_wrong_password_is_one_clear_line(connection: Connection) -> None:
    with pytest.raises(StoreError, match=f"^Neo4j at {connection.uri} refuses user neo4j: check the password$"):
        answers(replace(connection, password="wrong"))


def test_nothing_there_is_no_answer(connection: Connection) -> None:
    assert answers(connection)
    assert not answers(replace(connection, uri=f"bolt://127.0.0.1:{free_port()}"))


@pytest.mark.parametrize("pid", ["another's", "gone", "nonsense"])
def test_a_foreign_or_stale_pid_is_left_alone(unstarted: LocalServer, pid: str) -> None:
    unstarted.home.mkdir()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as bystander:
        noted = {"another's": str(bystander.pid), "gone": str(2**22 + 1), "nonsense": "x"}[pid]
        (unstarted.home / "server.pid").write_text(noted)
        assert not unstarted.status().running
        assert not unstarted.stop()
        assert bystander.poll() is None


def test_a_server_whose_pid_file_was_lost_is_found(neo4j_server: LocalServer) -> None:
    before = neo4j_server.status()
    (neo4j_server.home / "server.pid").rename(neo4j_server.home / "hidden")
    try:
        assert neo4j_server.status() == before
    finally:
        (neo4j_server.home / "hidden").rename(neo4j_server.home / "server.pid")


def test_a_named_port_in_use_is_refused_at_once(unstarted: LocalServer, taken_port: int) -> None:
    with pytest.raises(MachineError, match=f"^port {taken_port} is in use: name another one"):
        unstarted.start(bolt_port=taken_port)


def test_a_preferred_port_in_use_is_passed_over(taken_port: int) -> None:
    free = free_port()
    assert free_port(taken_port, free) == free
    assert is_free(free_port(taken_port))
    assert not is_free(taken_port)


def test_ports_of_our_choice_are_none_that_outgoing_connections_get() -> None:
    assert max(free_port() for _ in range(20)) < 32_768


@pytest.mark.slow
def test_servers_started_at_once_get_ports_of_their_own(tmp_path: Path, jars: Jars, java: Java) -> None:
    servers = [LocalServer(tmp_path / name, jars, java, page_cache="64m", heap="256m") for name in "ab"]
    with ThreadPoolExecutor(2) as threads:
        started = list(threads.map(LocalServer.start, servers))
    try:
        assert started[0].uri != started[1].uri
        assert all(map(answers, started))
    finally:
        for server in servers:
            server.stop()


@pytest.mark.slow
def test_a_port_lost_at_the_last_moment_is_replaced(
    unstarted: LocalServer, taken_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    choices = iter([taken_port, free_port(), free_port(), free_port()])
    monkeypatch.setattr("kg.server_home.free_port", lambda *preferred: next(choices))
    once = iter([True, True])
    monkeypatch.setattr("kg.server_home.is_free", lambda port: next(once, None) or is_free(port))
    connection = unstarted.start()
    try:
        assert connection.uri != f"bolt://127.0.0.1:{taken_port}"
    finally:
        unstarted.stop()


def test_a_crash_on_start_names_the_cause_and_the_log(
    tmp_path: Path, jars: Jars, java: Java, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = LocalServer(tmp_path, jars, java, heap="1k")
    monkeypatch.setattr(server, "admin", lambda *args: "")
    with pytest.raises(MachineError, match=f"^Neo4j ended while starting: Too small [^\n]+; see {server.log_file}$"):
        server.start(free_port(), free_port())
    assert not server.status().running


def test_no_answer_in_time_stops_the_server(unstarted: LocalServer) -> None:
    with pytest.raises(MachineError, match="no answer within 0 s"):
        unstarted.start(free_port(), free_port(), timeout=0.1)
    assert not unstarted.status().running


def test_a_start_in_progress_elsewhere_is_waited_for_and_then_named(unstarted: LocalServer) -> None:
    with (
        held(unstarted.home / "start.lock", wait=0, busy=""),
        pytest.raises(LockedError, match="another process is starting or stopping the Neo4j in"),
    ):
        unstarted.start(timeout=0.2)


def test_a_lock_ends_with_its_holder(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    code = "from kg.lock import held; from pathlib import Path; import os\n"
    code += f"with held(Path({str(lock)!r}), wait=0, busy=''): os._exit(9)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    with held(lock, wait=0, busy="still held"):
        pass


def test_a_server_never_started_has_no_connection(unstarted: LocalServer) -> None:
    with pytest.raises(StoreError, match=r"no Neo4j was ever started in .*: run `crossgraph neo4j start`$"):
        unstarted.connection()


def test_admin_runs_on_this_home_and_says_what_failed(neo4j_server: LocalServer) -> None:
    assert "Neo4j" in neo4j_server.admin("--version") or neo4j_server.admin("--version").startswith("5.26")
    with pytest.raises(StoreError, match=r"^neo4j-admin database nonsense failed: [^\n]+; see .*admin\.log$"):
        neo4j_server.admin("database", "nonsense")


@pytest.mark.parametrize(
    ("output", "complaint"),
    [
        ("a\nERROR Failed\n  Caused by: x.A: first\n  Caused by: x.B: in use\n", "Caused by: x.B: in use"),
        ("a\nERROR Failed\nStopped.\n", "ERROR Failed"),
        ("a\nToo small\n\n", "Too small"),
        ("", "it printed nothing"),
    ],
)
def test_the_line_that_says_most_is_found(output: str, complaint: str) -> None:
    assert last_complaint(output) == complaint


def test_the_server_outlives_the_process_that_started_it(neo4j_server: LocalServer) -> None:
    pid = neo4j_server.status().pid
    assert pid
    assert os.getsid(pid) == pid, "a session of its own: no Ctrl-C of ours reaches it"
