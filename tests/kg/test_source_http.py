"""A JSON API that limits, fails and recovers, asked for real; pages that have landed are never asked for again."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pyspark.sql import SparkSession

from kg.errors import SourceError
from kg.land import land
from kg.landing import Landing
from kg.source_config import Credentials, Source
from kg.source_fingerprint import source_fingerprints
from kg.source_http import crawl
from kg.sources import read
from kg.tables import Workspace

SECRET = "sesame-4711"


class Api(ThreadingHTTPServer):
    """Serves `items` two a page, in every way of paging, and logs each request's path with its query."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.items: list[dict[str, Any]] = [{"id": n, "name": f"item {n}"} for n in range(1, 6)]
        self.log: list[str] = []
        self.failures: list[tuple[int, dict[str, str]]] = []
        """Statuses and headers that the next requests for page 2 are answered with, first come first served."""
        self.token: str | None = None
        self.key: str | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Api
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        api, url = self.server, urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(url.query).items()}
        api.log.append(self.path)
        if api.token and self.headers["Authorization"] != f"Bearer {api.token}":
            return self.answer(401, {})
        if api.key and asked.get("api_key") != api.key:
            return self.answer(403, {})
        start = int(asked.get("offset", 2 * (int(asked.get("page", asked.get("cursor", 1))) - 1)))
        if start == 2 and api.failures:
            status, headers = api.failures.pop(0)
            if status == 0:  # hangs up in the middle of a body
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.wfile.write(b'{"data": {"items": [')
                self.close_connection = True
                return None
            return self.answer(status, {}, headers)
        records, after = api.items[start : start + 2], start // 2 + 2
        more = start + 2 < len(api.items)
        following: Any = after if more else None
        if more and url.path == "/urls":
            following = f"{api.url}/urls?cursor={after}&api_key={api.key or ''}"
        link = f'<{url.path}?page={after}&api_key={api.key or ""}>; rel="next"' if more else ""
        if url.path == "/elsewhere":
            link = '<http://localhost:9/items>; rel="next"'
        if url.path == "/deaf":
            records = api.items[:2]
        body = {"data": {"items": records}, "meta": {"next": following}, "asked": len(api.log)}
        return self.answer(200, body, {"Link": link} if link else {})

    def answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    monkeypatch.setattr("kg.http_client.FIRST_WAIT", 0.01)
    server = Api()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def landing(tmp_path: Path) -> Landing:
    return Landing.of(Workspace(tmp_path / "run"))


def source(api: Api, by: str = "page", path: str = "/items", **given: Any) -> Source:
    paging = {"by": by, "size": 2, **({"next": "meta.next"} if by == "cursor" else {})}
    values = {"format": "http", "url": api.url + path, "records": "data.items", "paging": paging, **given}
    return Source.model_validate(values)


def bring(source: Source, landing: Landing, credentials: Credentials | None = None, now: float = 0) -> int:
    return crawl("s", source, landing.source("s"), credentials or Credentials(), now=lambda: now)


def ids(landing: Landing) -> list[int]:
    landed = landing.source("s")
    state = landed.state()
    assert state is not None
    return [json.loads(line)["id"] for f in state.files for line in (landed.read(f.path) or b"").splitlines()]


def everything(folder: Path) -> str:
    return "\n".join(path.read_text("utf-8") for path in sorted(folder.rglob("*")) if path.is_file())


@pytest.mark.parametrize(
    ("by", "second", "pages"),
    [
        ("page", "/items?limit=2&page=2", 4),
        ("offset", "/items?limit=2&offset=2", 4),
        ("cursor", "/items?limit=2&cursor=2", 3),
        ("link", "/items?page=2&api_key=", 3),
        ("cursor", "/urls?cursor=2&api_key=", 3),
    ],
)
def test_each_way_of_paging_gives_every_record_once(
    api: Api, landing: Landing, by: str, second: str, pages: int
) -> None:
    assert bring(source(api, by, urlsplit(second).path), landing) == pages
    assert ids(landing) == [1, 2, 3, 4, 5]
    assert (api.log[1], len(api.log)) == (second, pages)


def test_limits_failures_and_broken_answers_are_waited_for(api: Api, landing: Landing) -> None:
    api.failures = [(429, {"Retry-After": "0"}), (503, {}), (0, {}), (500, {})]
    assert bring(source(api), landing) == 4
    assert ids(landing) == [1, 2, 3, 4, 5]
    assert [int(parse_qs(urlsplit(path).query)["page"][0]) for path in api.log] == [1, 2, 2, 2, 2, 2, 3, 4]


def test_retry_after_is_honoured(api: Api, landing: Landing, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("kg.http_client.sleep", waits.append)
    api.failures = [(429, {"Retry-After": "7"}), (429, {"Retry-After": "Fri, 31 Dec 2100 23:59:59 GMT"})]
    with pytest.raises(SourceError, match=r"asks to wait \d+ seconds \(status 429\); run again then"):
        bring(source(api), landing)
    assert waits == [7.0]


def test_requests_keep_to_the_rate(api: Api, landing: Landing, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    waits: list[float] = []
    monkeypatch.setattr("kg.http_client.monotonic", lambda: clock[0])
    monkeypatch.setattr("kg.http_client.sleep", lambda s: (waits.append(s), clock.__setitem__(0, clock[0] + s)))
    bring(source(api, requests_per_second=4), landing)
    # Between four requests that take no time on this clock.
    assert waits == pytest.approx([0.25, 0.25, 0.25])


def test_a_crawl_that_failed_goes_on_after_its_last_page(
    api: Api, landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kg.http_client.ATTEMPTS", 2)
    api.failures = [(500, {})] * 2
    with pytest.raises(SourceError, match=r"does not answer \(status 500, 2 attempts\); run again"):
        bring(source(api), landing)
    with pytest.raises(SourceError, match="has landed in a workspace yet"):
        read(None, "s", source(api), landing)  # type: ignore[arg-type]
    before = len(api.log)
    assert bring(source(api), landing) == 3
    assert [urlsplit(path).query for path in api.log[before:]] == [f"limit=2&page={n}" for n in (2, 3, 4)]
    assert ids(landing) == [1, 2, 3, 4, 5]


def test_killed_after_its_last_page_a_crawl_is_finished_without_a_request(
    api: Api, landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("kg.source_http._finish", _killed)
        with pytest.raises(KeyboardInterrupt):
            bring(source(api), landing)
    assert bring(source(api), landing) == 0
    assert (ids(landing), len(api.log)) == ([1, 2, 3, 4, 5], 4)


def _killed(*args: Any) -> None:
    raise KeyboardInterrupt


def test_refresh_says_when_to_crawl_again_and_content_alone_what_changed(api: Api, landing: Landing) -> None:
    def digest() -> str | None:
        return source_fingerprints({"s": source(api)}, landing)["s"]

    assert bring(source(api), landing, now=1000) == 4
    first = digest()
    assert bring(source(api, refresh="never"), landing, now=9999) == 0
    assert bring(source(api, refresh=60), landing, now=1059) == 0
    assert bring(source(api, refresh=60), landing, now=1060) == 4
    assert bring(source(api, refresh=60), landing, now=1119) == 0  # counted from the latest crawl
    assert bring(source(api), landing, now=1119) == 4
    assert digest() == first
    api.items = api.items[1:]
    bring(source(api), landing, now=1120)
    assert digest() != first
    assert ids(landing) == [2, 3, 4, 5]


def test_in_mode_append_crawls_add_up_and_redelivered_records_do_not(api: Api, landing: Landing) -> None:
    bring(source(api, mode="append"), landing)
    api.items = [{"id": 5, "name": "item 5"}, {"id": 6, "name": "item 6"}]
    bring(source(api, mode="append"), landing)
    state = landing.source("s").state()
    bring(source(api, mode="append"), landing)
    assert ids(landing) == [1, 2, 3, 4, 5, 6]
    assert state and landing.source("s").state().files == state.files  # type: ignore[union-attr]
    with pytest.raises(SourceError, match="name the new source otherwise, or remove that folder"):
        bring(source(api, mode="append", records="data"), landing)


def test_secrets_are_sent_and_nowhere_kept_or_shown(
    api: Api, landing: Landing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    monkeypatch.setattr("kg.http_client.ATTEMPTS", 2)
    api.token, api.key = SECRET, SECRET
    with pytest.raises(SourceError, match="answers 401: set CROSSGRAPH_SOURCES__S__TOKEN") as refused:
        bring(source(api, "link"), landing)
    secret = Credentials(token=SECRET, parameters={"api_key": SECRET})
    api.failures = [(500, {})] * 2
    with pytest.raises(SourceError) as failed:
        bring(source(api, "link"), landing, secret)
    assert SECRET in api.log[-1]
    assert bring(source(api, "link"), landing, secret) == 2
    assert ids(landing) == [1, 2, 3, 4, 5]
    api.failures = [(500, {})] * 2
    with pytest.raises(SourceError) as failed_again:
        bring(source(api, "cursor", "/urls"), landing, secret)
    assert "/urls?cursor=2" in everything(tmp_path)
    shown = f"{refused.value}{failed.value}{failed_again.value}{caplog.text}{everything(tmp_path)}"
    assert SECRET not in shown


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"path": "/elsewhere", "by": "link"}, "sends on to localhost, which is another server"),
        ({"path": "/deaf"}, "page 2 of .* repeats the page before it; does the API page by `page`"),
        (
            {"records": "items"},
            r"expected a list of records at 'items' .*, found NoneType in \['asked', 'data', 'meta'",
        ),
    ],
)
def test_an_api_that_answers_otherwise_is_named(
    api: Api, landing: Landing, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(SourceError, match=message):
        bring(source(api, **given), landing)


def test_records_are_rows_by_url_and_number(api: Api, landing: Landing, spark: SparkSession) -> None:
    described = source(api, rename={"name": "title"})
    assert land({"s": described}, landing, {}, lambda: spark) == {"s": 4}
    rows = read(spark, "s", described, landing)
    found = [(r["_file"], r["_row"], r["id"], r["title"]) for r in rows.good.sort("_position").collect()]
    assert found == [(f"{api.url}/items", n, n, f"item {n}") for n in range(1, 6)]
