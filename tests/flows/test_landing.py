"""What sources deliver lands before the tables are made: killed, continued, unchanged, in processes of their own."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

TOKEN = "sesame-4711"
PROJECT = """\
name: tiny
features: {{degree: false, pagerank: false}}
sources:
  films: {{format: http, url: "{url}/films", records: items, paging: {{by: page}}}}
  books: {{format: csv, path: "books/*.csv", mode: append}}
nodes:
  Film: {{source: films, key: id, properties: {{title: title}}}}
  Book: {{source: books, key: id}}
"""
MAKE = """\
from flows.ingest import make_tables
from flows.tasks import opened
with opened("tiny.yaml", [], "ingest") as run:
    make_tables(run)
"""


class Api(ThreadingHTTPServer):
    """Three pages of one film each; page 2 does not answer while `holds`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.log: list[str] = []
        self.holds = True


class Handler(BaseHTTPRequestHandler):
    server: Api

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        page = int(self.path.rpartition("page=")[2])
        self.server.log.append(f"{page}")
        while page == 2 and self.server.holds:
            time.sleep(0.05)
        known = self.headers["Authorization"] == f"Bearer {TOKEN}"
        items = [{"id": page, "title": f"film {page}"}] if page < 4 else []
        content = json.dumps({"items": items}).encode()
        self.send_response(200 if known else 401)
        self.send_header("Content-Length", str(len(content)))
        with contextlib.suppress(BrokenPipeError):  # who asked was killed
            self.end_headers()
            self.wfile.write(content)


@pytest.fixture
def api() -> Iterator[Api]:
    server = Api()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.holds = False
    server.shutdown()
    server.server_close()
    thread.join()


def started(folder: Path, **more: str) -> subprocess.Popen[str]:
    """Make the tables of the project in a folder; no Neo4j is started, nor asked."""
    ours = {
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "CROSSGRAPH_HOME": str(folder / "home"),
        "CROSSGRAPH_NEO4J__URI": "bolt://127.0.0.1:1",
        "CROSSGRAPH_NEO4J__PASSWORD": "unused",
        "CROSSGRAPH_SOURCES__FILMS__TOKEN": TOKEN,
    }
    command = [sys.executable, "-c", MAKE]
    given = {"cwd": folder, "env": {**os.environ, **ours, **more}, "text": True}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **given)


def made(folder: Path) -> dict[str, Any]:
    """Run it to its end and give run.json."""
    process = started(folder)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    assert TOKEN not in output
    figures: dict[str, Any] = json.loads((folder / "runs/tiny/run.json").read_text())
    return figures


def test_a_killed_crawl_goes_on_and_unchanged_content_leaves_the_tables(tmp_path: Path, api: Api, jars: Any) -> None:
    (tmp_path / "tiny.yaml").write_text(PROJECT.format(url=f"http://127.0.0.1:{api.server_address[1]}"))
    (tmp_path / "books").mkdir()
    (tmp_path / "books/1.csv").write_text("id\n1\n")
    process = started(tmp_path)
    while len(api.log) < 2 and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert api.log == ["1", "2"]
    api.holds = False
    first = made(tmp_path)
    assert api.log == ["1", "2", "2", "3", "4"]
    assert first["landed"] == {"films": 3, "books": 1}
    assert first["stages"]["tables"]["rows"] == {"nodes/Book": 1, "nodes/Film": 3}
    # The API is asked again, and says the same; the file that landed is gone.
    (tmp_path / "books/1.csv").unlink()
    second = made(tmp_path)
    assert api.log[5:] == ["1", "2", "3", "4"]
    assert (second["landed"], second["skipped"]) == ({"films": 4, "books": 0}, ["tables"])
    kept = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert kept and not any(TOKEN.encode() in content for content in kept)
