"""Bad input: one line that says what to do, and the graph and earlier outputs as they were."""

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kg.graph_digest import digest
from kg.store import Store

# The first test here pays for the whole demo, on whatever machine this is.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def untouched(demo) -> Iterator[None]:
    """Nothing of the demo has changed when the test is over; a record of refused rows may have come."""
    outputs, graph = made_of(demo), demo.graph_digest()
    yield
    assert made_of(demo) == outputs
    assert demo.graph_digest() == graph


def made_of(demo) -> dict[str, str]:
    return {name: digest for name, digest in demo.outputs().items() if not name.startswith("refused/")}


def fails(demo, *arguments: str, code: int, says: str, **variables: str) -> str:
    """Run a command that must fail with one line of ours, beside its log and Java's word on its options."""
    done = demo.run(*arguments, check=False, **variables)
    others = re.compile(r"\d\d:\d\d:\d\d |NOTE: Picked up JDK_JAVA_OPTIONS: ")
    lines = [line for line in done.stderr.splitlines() if not others.match(line)]
    assert done.returncode == code, done.stderr[-2000:]
    assert len(lines) == 1, lines
    assert lines[0].startswith("crossgraph: ")
    assert re.search(says, lines[0]), lines[0]
    return lines[0]


@pytest.mark.usefixtures("untouched")
def test_a_missing_file_is_named(demo):
    arguments = demo.project("sources.films.path=/nowhere/films.csv")
    fails(demo, "run", *arguments, code=3, says="source films: nothing to read at /nowhere/films.csv")
    assert demo.figures()["status"] == "failed"


def test_a_malformed_project_file_is_placed(demo, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nsources:\n  a: {format: csv, pth: x}\nnodes: {}\n")
    done = demo.run("run", str(path), check=False)
    assert done.returncode == 2
    assert f"{path}:3: sources.a.pth: unknown key, did you mean path?" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Traceback" in demo.run("run", str(path), "--debug", check=False).stderr


@pytest.mark.usefixtures("untouched")
def test_an_unreachable_neo4j(demo):
    where = {"CROSSGRAPH_NEO4J__URI": "bolt://127.0.0.1:1", "CROSSGRAPH_NEO4J__PASSWORD": "x"}
    fails(demo, "run", *demo.project(), code=5, says="cannot be reached.*CROSSGRAPH_NEO4J__URI", **where)


@pytest.mark.usefixtures("untouched")
def test_a_wrong_password(demo):
    where = {"CROSSGRAPH_NEO4J__URI": demo.connection.uri, "CROSSGRAPH_NEO4J__PASSWORD": "wrong"}
    line = fails(demo, "run", *demo.project(), code=5, says="refuses the credentials.*PASSWORD", **where)
    assert "wrong" not in line


@pytest.mark.usefixtures("untouched")
def test_a_source_without_the_key_column(demo):
    fails(demo, "ingest", *demo.project("nodes.Film.key=film_number"), code=3, says="nodes.Film.key.*film_number")


@pytest.mark.usefixtures("untouched")
def test_too_many_rows_of_the_wrong_type(demo):
    arguments = demo.project("sources.book_reads.max_quarantined=0")
    fails(demo, "ingest", *arguments, code=3, says="source book_reads: 7 of .* bad_type:weight.*max_quarantined")
    assert any(name.startswith("refused/") for name in demo.outputs()), "the refused rows are kept to be looked at"


def test_another_projects_graph_is_refused(demo, tmp_path):
    where = {
        "CROSSGRAPH_NEO4J__URI": demo.connection.uri,
        "CROSSGRAPH_NEO4J__PASSWORD": demo.connection.password,
    }
    workspace = copied(demo, tmp_path)
    arguments = [*demo.project("name=other"), "--workspace", str(workspace)]
    fails(demo, "run", *arguments, code=5, says="holds project 'demo', not 'other'", **where)


@pytest.mark.usefixtures("untouched")
def test_a_second_run_at_the_same_time_names_the_first(demo):
    script = (
        "import sys, time\n"
        "from flows.tasks import opened\n"
        "with opened('demo', [], 'run'):\n"
        "    print('held', flush=True); time.sleep(600)\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script], cwd=demo.folder, env=demo.variables(), stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        fails(demo, "recommend", *demo.project(), code=7, says=f"process {holder.pid}")
    finally:
        holder.kill()
        holder.wait()
    demo.run("recommend", *demo.project())


def copied(demo, tmp_path: Path) -> Path:
    return Path(shutil.copytree(demo.workspace, tmp_path / "copy"))


@pytest.mark.usefixtures("untouched")
def test_a_full_disk(demo, tmp_path):
    """A file system with little room where mounting is allowed, else a limit on the size of a file."""
    mount = tmp_path / "small"
    mount.mkdir()
    size = sum(path.stat().st_size + 4096 for path in demo.workspace.rglob("*"))
    options = f"size={size + (1 << 20)}"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(mount)], capture_output=True, check=False
    )
    try:
        workspace = Path(shutil.copytree(demo.workspace, mount / "demo"))
        stage = workspace / "recommendations"
        before = sorted(path.name for path in stage.iterdir())
        filler = mount / "filler"
        if mounted.returncode == 0:
            with filler.open("wb", buffering=0) as file:
                try:
                    while file.write(b"x" * 4096):
                        pass
                except OSError:
                    pass
        command = demo.command("recommend", *demo.project("recommend.top_n=19"), "--workspace", str(workspace))
        done = subprocess.run(
            command,
            cwd=demo.folder,
            env=demo.variables(),
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=None if mounted.returncode == 0 else _small_files_only,
        )
        assert done.returncode == 6, done.stderr[-2000:]
        assert "is full: free some space and run again" in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr
        assert sorted(path.name for path in stage.iterdir()) == before
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", str(mount)], check=False)


def _small_files_only() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


def test_a_killed_run_is_taken_up_and_ends_with_the_same_graph(demo, tmp_path, clean_connection):
    """Killed while loading into another, empty database; the same command then ends as the undisturbed run did."""
    workspace = copied(demo, tmp_path)
    arguments = ["ingest", *demo.project(), "--workspace", str(workspace)]
    where = {
        "CROSSGRAPH_NEO4J__URI": clean_connection.uri,
        "CROSSGRAPH_NEO4J__PASSWORD": clean_connection.password,
    }
    killed = subprocess.Popen(
        demo.command(*arguments), cwd=demo.folder, env=demo.variables() | where, stderr=subprocess.PIPE, text=True
    )
    with Store(clean_connection) as store:
        until = time.monotonic() + 120
        while not store.value("MATCH (n:User) RETURN count(n)") and time.monotonic() < until:
            assert killed.poll() is None, killed.stderr.read() if killed.stderr else ""
            time.sleep(0.02)
        os.kill(killed.pid, signal.SIGKILL)
        killed.communicate()
        assert killed.returncode == -signal.SIGKILL
        assert demo.figures(workspace)["status"] == "running"
        demo.run(*arguments, **where)
        assert digest(store) == demo.graph_digest()
    assert demo.figures(workspace)["did"]["rows_written"] > 0
    demo.run(*arguments, **where)
    assert demo.figures(workspace)["did"]["rows_written"] == 0
