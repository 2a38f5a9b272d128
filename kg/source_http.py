"""A paged JSON API: each page lands on disk before the next one is asked for.

``landing/<source>/crawl`` holds ``000001.jsonl`` (a record a line) and beside it, written first, ``000001.next.json``
(where to go on). A crawl that was killed or refused goes on after its last page; when it is finished its records
become one file of the source's, and the pages are removed.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from kg.errors import SourceError
from kg.http_client import Answer, Client
from kg.landing import Landed, LandedFile, State, described
from kg.source_config import Credentials, Source

Progress = Callable[[str], None]
CRAWL = "crawl"
# An unfinished crawl that is older is started anew: what its pages said may be long gone.
STALE = 86_400.0


@dataclass(frozen=True)
class Ask:
    """What one page is asked by: the source's URL with `parameters`, or the `url` that the page before named."""

    parameters: dict[str, str | int]
    url: str | None = None


def crawl(
    name: str,
    source: Source,
    landed: Landed,
    credentials: Credentials,
    progress: Progress = lambda step: None,
    now: Callable[[], float] = time.time,
) -> int:
    """Land all pages if a crawl is due, and give the number of pages asked for.

    `SourceError` when the API refuses, keeps failing, or answers otherwise than `paging` and `records` say; what has
    landed by then stays.
    """
    if problem := next(source.secrets(("sources", name)), None):
        raise SourceError(f"source {name}: {'.'.join(map(str, problem[0]))} {problem[1]}")
    wanted = json.dumps([source.url, source.records, source.paging.model_dump(), source.parameters], sort_keys=True)
    state = landed.state()
    if source.mode == "append":
        described(name, landed, wanted, state)
    _drop_stale(landed, wanted, now())
    landed.sweep(state, keep=[CRAWL])
    if not (_pages(landed) or _due(source, state, wanted, now())):
        return 0
    if landed.read(f"{CRAWL}/about.json") is None:
        landed.write(f"{CRAWL}/about.json", json.dumps({"described": wanted, "started": now()}).encode())
    asked = 0
    with Client(name, str(source.url), source, credentials) as client:
        for number in _crawl(name, source, landed, client):
            asked += 1
            progress(f"source {name}: page {number}")
    _finish(source, landed, wanted, state, now())
    return asked


def _due(source: Source, state: State | None, wanted: str, now: float) -> bool:
    if state is None or state.described != wanted or source.refresh == "always":
        return True
    return source.refresh != "never" and now - state.finished >= float(source.refresh)


def _drop_stale(landed: Landed, wanted: str, now: float) -> None:
    """Remove an unfinished crawl of something else, or of long ago."""
    about = json.loads(landed.read(f"{CRAWL}/about.json") or "{}")
    if about.get("described") == wanted and now - about["started"] < STALE:
        return
    if about:
        landed.filesystem.delete_dir(f"{landed.path}/{CRAWL}")


def _pages(landed: Landed) -> int:
    """How many pages of the unfinished crawl have landed."""
    number = 0
    while landed.read(f"{_page(number + 1)}.jsonl") is not None:
        number += 1
    return number


def _page(number: int) -> str:
    return f"{CRAWL}/{number:06d}"


def _crawl(name: str, source: Source, landed: Landed, client: Client) -> Iterator[int]:
    """Ask for the pages that have not landed yet; gives the number of each."""
    number = _pages(landed)
    ask: Ask | None = _first(source)
    if number:
        following = json.loads(landed.read(f"{_page(number)}.next.json") or "null")
        ask = Ask(**following) if following else None
    before = landed.read(f"{_page(number)}.jsonl") if number else None
    while ask is not None:
        number += 1
        answer = client.get(ask.url, ask.parameters, end=source.paging.by in ("page", "offset") and number > 1)
        records = _records(name, source, answer.body) if answer else []
        lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()
        if lines and lines == before and source.paging.by in ("page", "offset"):
            raise SourceError(
                f"source {name}: page {number} of {source.url} repeats the page before it; "
                f"does the API page by `{_parameter(source)}`? See sources.{name}.paging"
            )
        following = _next(source, ask, len(records), answer) if answer else None
        if following and following.url:
            following = Ask({}, client.shown(following.url))
        if following == ask:
            raise SourceError(f"source {name}: page {number} of {source.url} names itself as the next one")
        content = {"parameters": following.parameters, "url": following.url} if following else None
        landed.write(f"{_page(number)}.next.json", json.dumps(content).encode())
        landed.write(f"{_page(number)}.jsonl", lines)
        yield number
        ask, before = following, lines


def _parameter(source: Source) -> str:
    return source.paging.parameter or source.paging.by


def _first(source: Source) -> Ask:
    paging = source.paging
    parameters = dict(source.parameters)
    if paging.size is not None:
        parameters[paging.size_parameter] = paging.size
    if paging.by in ("page", "offset"):
        parameters[_parameter(source)] = paging.start if paging.by == "page" else 0
    return Ask(parameters)


def _next(source: Source, ask: Ask, count: int, answer: Answer) -> Ask | None:
    """What comes after a page; an empty page is the last one where pages or records are counted."""
    by = source.paging.by
    if by == "link":
        return Ask({}, answer.link) if answer.link else None
    if by == "cursor":
        cursor = _at(answer.body, source.paging.next)
        if cursor is None or cursor is False or cursor == "":
            return None
        if str(cursor).startswith(("http://", "https://")):
            return Ask({}, str(cursor))
        return Ask(ask.parameters | {_parameter(source): cursor})
    if by == "none" or not count:
        return None
    step = 1 if by == "page" else count
    return Ask(ask.parameters | {_parameter(source): int(ask.parameters[_parameter(source)]) + step})


def _at(body: Any, path: str) -> Any:
    """The part of a body at a dotted path, None where it is not there."""
    for part in path.split(".") if path else []:
        if isinstance(body, list) and part.isdigit() and int(part) < len(body):
            body = body[int(part)]
        elif isinstance(body, dict):
            body = body.get(part)
        else:
            return None
    return body


def _records(name: str, source: Source, body: Any) -> list[Any]:
    found = _at(body, source.records)
    if not isinstance(found, list):
        keys = sorted(body) if isinstance(body, dict) else type(body).__name__
        raise SourceError(
            f"source {name}: expected a list of records at {source.records or 'the top'!r} of each page of "
            f"{source.url}, found {type(found).__name__} in {keys}; set sources.{name}.records"
        )
    return found


def _finish(source: Source, landed: Landed, wanted: str, state: State | None, now: float) -> None:
    """Make the pages one file of the source's; where they bring nothing new, what was there stays."""
    appending = source.mode == "append" and state is not None
    seen = _seen(landed, state) if appending else set()
    lines = [line for number in range(1, _pages(landed) + 1) for line in _lines(landed, f"{_page(number)}.jsonl")]
    content = b"".join(line + b"\n" for line in lines if not seen or _digest(line) not in seen)
    earlier = state.files if appending and state else ()
    number = 1 + max((int(file.path[:6]) for file in (state.files if state else ())), default=0)
    digest = hashlib.blake2b(content, digest_size=16).hexdigest()
    file = LandedFile(f"{number:06d}.jsonl", str(source.url), digest, len(content), content.count(b"\n"))
    found = State(wanted, (*earlier, file), finished=now)
    if state and (found.fingerprint == state.fingerprint or (appending and not content)):
        found = replace(state, described=wanted, finished=now)
    else:
        landed.write(file.path, content)
    landed.seal(found)
    landed.sweep(found)


def _lines(landed: Landed, name: str) -> list[bytes]:
    return (landed.read(name) or b"").splitlines()


def _seen(landed: Landed, state: State | None) -> set[bytes]:
    return {_digest(line) for file in (state.files if state else ()) for line in _lines(landed, file.path)}


def _digest(line: bytes) -> bytes:
    return hashlib.blake2b(line, digest_size=16).digest()
