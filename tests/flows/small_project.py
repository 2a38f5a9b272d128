"""A project small enough to ingest in a test, as a user would have it, with a real Neo4j of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from typer.testing import CliRunner

from flows.cli import app
from flows.servers import local_server, server_home
from flows.settings import load_settings
from kg.tables import Output, Workspace
from tests.kg.small_graph import plain

PROJECT = """\
name: small
sources:
  users: {format: csv, path: users.csv}
  films: {format: csv, path: films.csv}
  seen: {format: csv, path: seen.csv, max_quarantined: 1}
nodes:
  User: {source: users, key: id, properties: {name: name, mail: mail}, text: [name]}
  Film: {source: films, key: id, domain: films, properties: {title: title}}
relationships:
  SAW: {source: seen, from: {User: user}, to: {Film: film}, interaction: true, rules: {some: "int(stars) > 0"}}
resolution:
  User: {match: [mail]}
"""
FILES = {
    "users.csv": "id,name,mail\nu-100,Ann,a@x\nu-200,Bob,b@x\nu-201,,b@x\nu-300,Cid,c@x\n",
    "films.csv": "id,title\nf1,One\nf2,Two\n",
    "seen.csv": "user,film,stars\nu-100,f1,5\nu-200,f1,4\nu-201,f2,3\nu-200,f2,0\nu-300,f2,0\nu-300,f1,1\n",
}


@dataclass
class Small:
    """The project, as a user would have it."""

    folder: Path

    @property
    def path(self) -> str:
        return str(self.folder / "small.yaml")

    @property
    def home(self) -> Path:
        return server_home(load_settings(), "small")

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.folder / "runs/small")

    def output(self, stage: str) -> Output:
        found = self.workspace.stage(stage).current()
        assert found
        return found

    def ingest(self) -> dict:
        """In a process of its own, for Spark may run in this one."""
        command = [sys.executable, "-m", "flows.cli", "ingest", self.path]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads((self.folder / "runs/small/run.json").read_text())

    def graph(self, query: str, **params: object) -> list[list[object]]:
        server = local_server(load_settings(), "small")
        return plain(server.start(), query, **params)

    def stop(self) -> None:
        local_server(load_settings(), "small").stop()

    def command(self, *arguments: str, code: int = 0, **more: str) -> str:
        done = CliRunner().invoke(app, [arguments[0], self.path, *arguments[1:]], **more)
        found = getattr(done.exception, "exit_code", done.exit_code) if done.exception else done.exit_code
        assert found == code, (done.output, done.exception)
        return f"{done.output}{done.exception or ''}"

    def files(self) -> dict[str, bytes]:
        root = self.folder / "runs/small"
        return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


@contextmanager
def small_project(folder: Path, cache: Path, project: str = PROJECT) -> Iterator[Small]:
    """The project in a folder that is the current one meanwhile, ingested; user u-201 became u-200."""
    (folder / "small.yaml").write_text(project)
    for name, text in FILES.items():
        (folder / name).write_text(text)
    before, here = dict(os.environ), Path.cwd()
    os.environ |= {
        "CROSSGRAPH_HOME": str(folder / "home"),
        "CROSSGRAPH_CACHE": str(cache),
        "CROSSGRAPH_MEMORY": "4096",
        "CROSSGRAPH_PREFECT": "false",
    }
    os.chdir(folder)
    made = Small(folder)
    try:
        made.ingest()
        yield made
    finally:
        made.stop()
        os.chdir(here)
        os.environ.clear()
        os.environ |= before
