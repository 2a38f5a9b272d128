"""What the project file says of sources, what does not fit together, and that it holds no secrets."""

from typing import Any

import pytest

from kg.source_config import Credentials, Source

PLACE = ("sources", "s")


def problems(**given: Any) -> list[tuple[str, str]]:
    found = Source.model_validate(given).problems(PLACE)
    return [(".".join(map(str, place)), what) for place, what in found]


@pytest.mark.parametrize(
    "given",
    [
        {"format": "csv", "path": None},
        {"format": "images", "path": "covers"},
        {"format": "parquet", "path": "s3://box/raw", "mode": "append", "images": {"cover": "bytes"}},
        {"format": "videos", "path": "trailers", "frames": {"every": 2.5}},
        {"format": "jdbc", "url": "jdbc:postgresql://db:5432/shop?sslmode=require", "table": "a", "fetch_size": 10},
        {"format": "jdbc", "url": None, "query": "select 1", "mode": "append", "watermark": "at"},
        {"format": "http", "url": "https://api/items?v=2", "paging": {"by": "page", "size": 10}, "refresh": 60},
        {"format": "csv", "path": "a@b.csv", "options": {"sep": ";"}},
    ],
)
def test_what_fits_together_has_no_problems(given: dict[str, Any]) -> None:
    assert problems(**given) == []


@pytest.mark.parametrize(
    ("given", "place", "what"),
    [
        ({"format": "csv"}, "sources.s", "expected a key `path`"),
        ({"format": "http"}, "sources.s", "expected a key `url`"),
        ({"format": "jdbc", "url": "u", "path": "p", "table": "t"}, "sources.s.path", "expected `url` for format jdbc"),
        ({"format": "jdbc", "url": "u"}, "sources.s", "expected `table` or `query`"),
        ({"format": "jdbc", "url": "u", "table": "t", "query": "q"}, "sources.s", "expected `table` or `query`"),
        ({"format": "csv", "path": "p", "table": "t"}, "sources.s.table", "is for format jdbc, not for csv"),
        ({"format": "jdbc", "url": "u", "table": "t", "watermark": "w"}, "sources.s.watermark", "expected `mode: app"),
        ({"format": "videos", "path": "p", "mode": "append"}, "sources.s.mode", "expected `full` for videos"),
    ],
)
def test_what_does_not_fit_is_named_with_what_was_expected(given: dict[str, Any], place: str, what: str) -> None:
    found = problems(**given)
    assert [p for p, _ in found] == [place]
    assert what in found[0][1]


@pytest.mark.parametrize(
    ("given", "place", "advice"),
    [
        ({"url": "jdbc:postgresql://db/x?user=me&password=hunter2", "table": "t"}, "url", "__S__PASSWORD"),
        ({"url": "jdbc:postgresql://me:hunter2@db/x", "table": "t"}, "url", "__S__PASSWORD"),
        ({"url": "u", "table": "t", "options": {"Password": "hunter2"}}, "options.Password", "__S__PASSWORD"),
        ({"format": "http", "url": "https://api/?api_key=hunter2"}, "url", "__S__PARAMETERS"),
        ({"format": "http", "url": "u", "headers": {"Authorization": "hunter2"}}, "headers.Authorization", "TOKEN"),
        ({"format": "http", "url": "u", "parameters": {"access_token": "hunter2"}}, "parameters.access_token", "TOKEN"),
        ({"format": "csv", "path": "s3://key:hunter2@box/a.csv"}, "path", "in the environment"),
    ],
)
def test_a_secret_in_the_file_is_refused_and_not_repeated(given: dict[str, Any], place: str, advice: str) -> None:
    found = problems(**{"format": "jdbc", **given})
    assert [p for p, _ in found] == [f"sources.s.{place}"]
    assert advice in found[0][1] and "hunter2" not in found[0][1]


def test_credentials_do_not_show_themselves() -> None:
    secret = Credentials("hunter2", "hunter2", "hunter2", {"x": "hunter2"}, {"y": "hunter2"})
    assert "hunter2" not in f"{secret!r} {secret}"
