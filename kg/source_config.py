"""The sources' part of the project file: where rows come from, how they are asked for, and what is kept of them.

It holds no secrets. A user, a password, a token and secret headers come from the environment, by the source's name
(`Credentials`); what looks like a secret in the file is refused, and no message repeats it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field

from kg.contract_config import Contract
from kg.section import Name, Section

BY_PATH = ("images", "videos")
"""Formats whose rows are files."""
FILES = ("csv", "jsonl", "parquet", *BY_PATH)
Format = Literal["csv", "jsonl", "parquet", "images", "videos", "jdbc", "http", "neo4j"]
Place = tuple[str | int, ...]

# What only some formats know, and which.
_ONLY = {
    "table": ("jdbc",),
    "query": ("jdbc",),
    "partition": ("jdbc",),
    "fetch_size": ("jdbc",),
    "watermark": ("jdbc",),
    "records": ("http",),
    "paging": ("http",),
    "parameters": ("http",),
    "headers": ("http",),
    "requests_per_second": ("http",),
    "refresh": ("http",),
    "frames": ("videos",),
    "images": ("csv", "jsonl", "parquet", "jdbc", "http"),
}
_SECRET = re.compile(r"(?i)passw|pwd|secret|token|api[-_]?key|access[-_]?key|authorization|cookie|credential")
_USER_IN_URL = re.compile(r"//[^/?#@]*:[^/?#@]*@")


@dataclass(frozen=True)
class Credentials:
    """What the environment says for one source; nothing of it is ever written down or shown."""

    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    """Sent to an HTTP API as `Authorization: Bearer …`."""
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    parameters: dict[str, str] = field(default_factory=dict, repr=False)
    """Secret query parameters of an HTTP API, such as `api_key`."""


class Partition(Section):
    """How a table is read in parts at once: ranges of a number, date or timestamp column."""

    column: str
    count: int = Field(4, ge=1, le=1000)
    """How many parts, each a connection of its own; more than there are cores wait."""
    lower: str | int | None = None
    """Where the first range ends to begin; rows outside of the bounds are read too. Default: the smallest value."""
    upper: str | int | None = None


class Paging(Section):
    """How an HTTP API tells its pages apart."""

    by: Literal["page", "offset", "cursor", "link", "none"] = "none"
    """`page` counts pages, `offset` counts records, both until a page is empty; `cursor` follows a value in the body,
    `link` the header `Link: …; rel="next"`; `none` is one request."""
    parameter: str | None = None
    """The query parameter of the page, offset or cursor; default: `page`, `offset` or `cursor`."""
    start: int = 1
    """The first page's number (`by: page`); an offset starts at 0."""
    next: str = "next"
    """Where the body holds the next cursor, such as `meta.next_cursor`; a URL there is followed as it is."""
    size: int | None = Field(None, ge=1)
    """How many records to ask for on each page; needs `size_parameter`."""
    size_parameter: str = "limit"


class Frames(Section):
    """Which pictures are taken from a video."""

    count: int = Field(4, ge=1, le=1000)
    """So many, spread evenly over the video."""
    every: float | None = Field(None, gt=0)
    """Instead: one each so many seconds, from second 0."""


class Source(Section):
    """Where rows come from."""

    format: Format
    """`images` reads a folder: columns `path`, `stem` (file name without its ending); broken files are quarantined.
    `videos` gives a row a sampled frame: `path` and `stem` of the video, `frame` (the picture's path), `second`.
    `neo4j` is what `existing: true` parts are read by, under the name ``neo4j_<Label>`` or ``neo4j_<TYPE>``."""
    path: str | None = None
    """A file, a glob or a folder, relative to the project file, or a URI; null leaves out what needs the source."""
    url: str | None = None
    """For `jdbc` and `http`, in place of `path`; null leaves out what needs the source."""
    options: dict[str, str | bool | int] = {}
    """Options of Spark's reader (`sep`, `header`, `quote`, `encoding`, …); CSV has a header unless told otherwise."""
    rename: dict[str, Name] = {}
    duplicates: Literal["drop", "keep"] = "drop"
    """Whether a row equal in all columns to an earlier one is the same row delivered twice."""
    max_quarantined: float = Field(0.2, ge=0, le=1)
    """The share of rows above which quarantine fails the stage."""
    contract: Contract | None = None
    """What the raw rows must fulfil before any mapping sees them."""
    mode: Literal["full", "append"] = "full"
    """`full`: what the source holds now is all there is. `append`: it delivers additions; they are kept in the
    workspace, and a row is there until the workspace's `landing/<source>` is removed."""
    images: dict[str, Literal["path", "bytes", "base64"]] = {}
    """Columns (after `rename`) that hold pictures. Mappings see a path: `bytes` and `base64` are written to the
    workspace once; what is no picture becomes null and is counted as coerced."""
    frames: Frames = Frames()
    """For `videos`."""

    table: str | None = None
    """For `jdbc`: a table as SQL names it."""
    query: str | None = None
    """For `jdbc`, in place of `table`: a SELECT."""
    partition: Partition | None = None
    fetch_size: int = Field(10_000, ge=1)
    """Rows that the database sends at once."""
    watermark: str | None = None
    """With `mode: append`: a column that only grows; from the second time on only rows at or above its greatest value
    so far are read. A row below it that comes later is not seen, a null never again."""

    records: str = ""
    """For `http`: where a page's body holds its list of records, such as `data.items`; empty: the body is the list."""
    paging: Paging = Paging()
    parameters: dict[str, str | int] = {}
    """Query parameters of each request; secret ones come from the environment."""
    headers: dict[str, str] = {}
    """Headers of each request; secret ones come from the environment."""
    requests_per_second: float | None = Field(None, gt=0)
    refresh: Literal["always", "never"] | float = "always"
    """When a finished crawl is made again: on each run, never, or after so many seconds. What it brings decides
    whether anything else is done again."""

    @property
    def place(self) -> str | None:
        """The path or URL; null where the source is left out."""
        return self.path if self.format in FILES else self.url

    @property
    def lands(self) -> bool:
        """Whether its rows are kept in the workspace before they are read."""
        return self.mode == "append" or self.format in ("jdbc", "http", "neo4j")

    def problems(self, place: Place) -> Iterator[tuple[Place, str]]:
        """What does not fit together, with what was expected; no value that may be secret is repeated."""
        wanted, other = ("path", "url") if self.format in FILES else ("url", "path")
        if wanted not in self.model_fields_set:
            yield place, f"expected a key `{wanted}`"
        given = {name for name in self.model_fields_set if getattr(self, name) is not None}
        if other in given:
            yield (*place, other), f"expected `{wanted}` for format {self.format}"
        for name, formats in _ONLY.items():
            if name in given and self.format not in formats:
                yield (*place, name), f"is for format {' and '.join(formats)}, not for {self.format}"
        if self.format == "jdbc" and (self.table is None) == (self.query is None):
            yield place, "expected `table` or `query`"
        if self.watermark and self.mode != "append":
            yield (*place, "watermark"), "expected `mode: append` beside it"
        if self.mode == "append" and self.format in BY_PATH:
            yield (*place, "mode"), f"expected `full` for {self.format}"
        yield from self.secrets(place)

    def secrets(self, place: Place) -> Iterator[tuple[Place, str]]:
        """Where the file holds what looks like a secret."""
        name = str(place[-1]).upper()
        for part in ("path", "url"):
            if _holds_secret(getattr(self, part) or ""):
                yield (*place, part), f"holds a secret: take it out and set {_variables(self.format, name)}"
        for part in ("options", "parameters", "headers"):
            for key in getattr(self, part):
                if _SECRET.search(key) or (part == "options" and key.lower() == "user"):
                    yield (*place, part, key), f"is a secret: take it out and set {_variables(self.format, name)}"


def _holds_secret(url: str) -> bool:
    keys = re.findall(r"[?&;]([^=&;?]+)=", url)
    return bool(_USER_IN_URL.search(url)) or any(_SECRET.search(key) for key in keys)


def _variables(kind: str, name: str) -> str:
    prefix = f"CROSSGRAPH_SOURCES__{name}__"
    if kind == "jdbc":
        return f"{prefix}USER and {prefix}PASSWORD"
    if kind == "http":
        return f"{prefix}TOKEN, {prefix}HEADERS or {prefix}PARAMETERS (JSON)"
    return "the credentials of its file system in the environment"
