"""A deployment of prefect.yaml on a real Prefect server, run by a real worker."""

import json
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from kg.server_home import free_port
from kg.tables import Workspace

# The first test here pays for the whole demo, on whatever machine this is.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]


@pytest.fixture
def prefect(demo, tmp_path) -> Iterator[dict[str, str]]:
    """The environment of a running Prefect server with a home of its own."""
    port = free_port()
    variables = demo.variables() | {
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_CLI_PROMPT": "false",
        "DO_NOT_TRACK": "1",
        "NO_COLOR": "1",
    }
    log = (tmp_path / "server.log").open("w")
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, env=variables, cwd=tmp_path, stdout=log, stderr=log)
    try:
        until = time.monotonic() + 180
        while time.monotonic() < until and server.poll() is None:
            try:
                urllib.request.urlopen(f"{variables['PREFECT_API_URL']}/health", timeout=2)
                break
            except OSError:
                time.sleep(0.5)
        else:
            pytest.fail((tmp_path / "server.log").read_text()[-2000:])
        yield variables
    finally:
        server.terminate()
        server.wait(30)


def call(variables: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "prefect", *arguments],
        env=variables,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def ask(variables: dict[str, str], path: str) -> list[dict]:
    request = urllib.request.Request(
        f"{variables['PREFECT_API_URL']}/{path}", b"{}", {"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def work_off(variables: dict[str, str], workspace: str) -> tuple[str, str]:
    """Let a worker do what is scheduled; the state of the flow run on this workspace, and what the worker said."""
    told = call(variables, "worker", "start", "--pool", "crossgraph", "--type", "process", "--run-once")
    runs = [r for r in ask(variables, "flow_runs/filter") if r["parameters"].get("workspace") == workspace]
    [state] = [run["state"]["type"] for run in runs]
    return state, told


def test_a_worker_runs_a_deployment_and_leaves_its_figures(demo, prefect, tmp_path):
    workspace = shutil.copytree(demo.workspace, tmp_path / "copy")
    call(prefect, "work-pool", "create", "crossgraph", "--type", "process")
    call(prefect, "--no-prompt", "deploy", "--all")
    deployments = {d["name"]: d for d in ask(prefect, "deployments/filter")}
    assert set(deployments) == {"nightly-ingest", "nightly-vectors", "weekly-training", "daily-recommendations"}
    assert all(d["schedules"][0]["schedule"]["cron"] for d in deployments.values())
    parameters = {
        "project": "demo",
        "overrides": [f"data={demo.data}", "recommend.top_n=4"],
        "workspace": str(workspace),
    }
    call(
        prefect,
        "deployment",
        "run",
        "crossgraph-recommend/daily-recommendations",
        "--params",
        json.dumps(parameters),
    )
    state, told = work_off(prefect, str(workspace))
    assert state == "COMPLETED", told[-3000:]
    [artifact] = ask(prefect, "artifacts/filter")
    assert artifact["key"] == "crossgraph-demo"
    assert "recommendations" in artifact["data"]
    rows = Workspace(workspace).stage("recommendations").current().read("recommendations")
    assert max(rows["rank"].to_pylist()) == 4
    assert Workspace(demo.workspace).stage("recommendations").current().manifest.created != (
        Workspace(workspace).stage("recommendations").current().manifest.created
    )
