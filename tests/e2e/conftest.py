"""One small demo, made once by the real command with its own Neo4j, which all tests here look at."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kg.graph_digest import digest
from kg.jars import Jars
from kg.server_home import Connection, saved_connection
from kg.store import Store

SCALE = "0.15"
# Enough to learn what was planted in so few rows, and little enough for a test.
QUICK = ("embed.epochs=25", "embed.patience=6", "recommend.resamples=200", "recommend.ranker.epochs=25")


@dataclass
class Demo:
    """Where the demo ran, and how to run more commands there."""

    folder: Path
    cache: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def workspace(self) -> Path:
        return self.folder / "runs" / "demo"

    @property
    def data(self) -> Path:
        return self.folder / "runs" / "demo-data"

    @property
    def connection(self) -> Connection:
        return saved_connection(self.folder / "home" / "neo4j" / "demo")

    @property
    def truth(self) -> dict:
        return json.loads((self.data / "truth.json").read_text())

    def figures(self, workspace: Path | None = None) -> dict:
        return json.loads(((workspace or self.workspace) / "run.json").read_text())

    def variables(self) -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("CROSSGRAPH_", "PREFECT_"))}
        own = {
            "CROSSGRAPH_HOME": str(self.folder / "home"),
            "CROSSGRAPH_CACHE": str(self.cache),
            "CROSSGRAPH_JAVA_OPTIONS": os.environ.get("CROSSGRAPH_JAVA_OPTIONS", ""),
            "CROSSGRAPH_MEMORY": "6144",
            "CROSSGRAPH_PREFECT": "false",
            "PREFECT_HOME": str(self.folder / "prefect"),
            "COLUMNS": "200",
        }
        return clean | own | self.environment

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "flows.cli", *arguments]

    def project(self, *overrides: str) -> list[str]:
        """`demo` on this demo's data with its settings, for any command that takes a project."""
        values = [f"data={self.data}", *QUICK, *overrides]
        return ["demo", *(word for value in values for word in ("--set", value))]

    def run(self, *arguments: str, check: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.variables() | variables,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert not check or done.returncode == 0, done.stderr[-3000:]
        return done

    def graph_digest(self) -> str:
        with Store(self.connection) as store:
            return digest(store)

    def outputs(self) -> dict[str, str]:
        """A digest of every file of every stage; run.json and its history tell of failed runs too."""
        return {
            str(path.relative_to(self.workspace)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.workspace.rglob("*"))
            if path.is_file() and path.name != "run.json" and "history" not in path.parts
        }


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory, jars: Jars, cache: Path) -> Iterator[Demo]:
    """The small demo after its first run; its Neo4j is stopped at the end."""
    made = Demo(tmp_path_factory.mktemp("demo"), cache)
    overrides = [word for value in QUICK for word in ("--set", value)]
    try:
        first = made.run("demo", "--scale", SCALE, *overrides)
        (made.folder / "first.out").write_text(first.stdout)
        (made.folder / "first.json").write_text(json.dumps(made.figures()))
        yield made
    finally:
        made.run("neo4j", "stop", "demo", check=False)


@pytest.fixture(scope="session")
def first(demo: Demo) -> dict:
    """The figures of the first run."""
    return json.loads((demo.folder / "first.json").read_text())
