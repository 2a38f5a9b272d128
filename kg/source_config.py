"""The sources' part of the project file."""

from typing import Literal

from pydantic import Field

from kg.section import Name, Section


class Source(Section):
    """Where rows come from."""

    format: Literal["csv", "jsonl", "parquet", "images"]
    """`images` reads a folder: columns `path`, `stem` (file name without its ending); broken files are quarantined."""
    path: str | None
    """A file, a glob or a folder, relative to the project file; null leaves out what needs the source."""
    options: dict[str, str | bool | int] = {}
    """Options of Spark's reader (`sep`, `header`, `quote`, `encoding`, …); CSV has a header unless told otherwise."""
    rename: dict[str, Name] = {}
    duplicates: Literal["drop", "keep"] = "drop"
    """Whether a row equal in all columns to an earlier one is the same row delivered twice."""
    max_quarantined: float = Field(0.2, ge=0, le=1)
    """The share of rows above which quarantine fails the stage."""
