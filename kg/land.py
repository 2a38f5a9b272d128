"""Bring what sources delivered into the workspace, before their rows are read."""

from collections.abc import Callable, Mapping

from pyspark.sql import SparkSession

from kg.existing_config import FORMAT as EXISTING
from kg.landing import Landing
from kg.source_config import Credentials, Source
from kg.source_delivery import land_files
from kg.source_http import crawl
from kg.source_jdbc import land_table

Progress = Callable[[str], None]


def land(
    sources: Mapping[str, Source],
    landing: Landing,
    credentials: Mapping[str, Credentials],
    spark: Callable[[], SparkSession],
    progress: Progress = lambda step: None,
) -> dict[str, int]:
    """Land every source that is to be; gives what was new by source: rows of tables, pages of APIs, files else.

    `spark` gives a session and is called only where a database is read. A source whose rows do not land is read where
    it is; what exists in Neo4j is landed by `kg.existing_land`. Killed anywhere, it is as if what had not landed yet
    was never asked for.
    """
    found = {}
    for name, source in sources.items():
        if source.place is None or not source.lands or source.format == EXISTING:
            continue
        progress(f"landing source {name}")
        landed, own = landing.source(name), credentials.get(name.lower(), Credentials())
        if source.format == "http":
            found[name] = crawl(name, source, landed, own, progress)
        elif source.format == "jdbc":
            found[name] = land_table(spark(), name, source, landed, own)
        else:
            found[name] = land_files(name, source, landed)
    return found
