"""The flows as plain functions: each is a list of stages, and returns the figures of its run."""

from typing import Any

from flows.ingest import ingest as ingest_stages
from flows.tasks import opened

Figures = dict[str, Any]


def ingest(project: str, overrides: list[str], workspace: str | None = None) -> Figures:
    """Sources to tables, into Neo4j and out again as a snapshot."""
    with opened(project, overrides, "ingest", workspace) as run:
        ingest_stages(run)
    return run.report.content
