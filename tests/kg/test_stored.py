"""Large sources are kept on disk and their queries compiled, and nothing tells from the tables."""

from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs
from pyspark.sql import DataFrame, SparkSession

from kg import clean_work, sources
from kg.stored import drop_stored, stored
from kg.tables import Draft, Output
from tests.kg.test_clean import FILES, GRAPH

Ingest = Callable[[dict[str, str], dict[str, Any]], Output]


def content(output: Output) -> dict[str, list[str]]:
    """All rows of all tables but for the folders that the sources lie in."""
    found = {}
    for table in output.tables():
        rows = [{k: v for k, v in row.items() if k != "file"} for row in output.read(table).to_pylist()]
        found[table] = sorted(str(sorted(row.items())) for row in rows)
    return found


@pytest.mark.slow
def test_a_large_source_makes_the_same_tables(ingested: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    core = {"user": 1, "item": 1}
    ratings = {**GRAPH["relationships"]["RATED"], "k_core": core}
    graph = {**GRAPH, "relationships": {**GRAPH["relationships"], "RATED": ratings}}
    small = ingested(FILES, graph)
    used = []

    def noted(frame: DataFrame, draft: Draft) -> DataFrame:
        used.append(draft.path)
        return stored(frame, draft)

    monkeypatch.setattr(clean_work, "stored", noted)
    monkeypatch.setattr(sources, "LARGE", 0)
    large = ingested(FILES, graph)
    assert len(used) > len(FILES)
    assert content(large) == content(small)
    assert large.manifest.figures == small.manifest.figures
    assert (large.manifest.tables, large.manifest.meta) == (small.manifest.tables, small.manifest.meta)
    assert not Path(large.location("stored")).exists()


def test_what_is_stored_comes_back_whatever_parquet_holds(spark: SparkSession, tmp_path: Path) -> None:
    draft = Draft(fs.LocalFileSystem(), str(tmp_path / "draft"))
    rows = [(1, date(1, 1, 1), datetime(1500, 2, 3, 4, 5, 6), [1.5, None], "a b;c"), (2, None, None, None, None)]
    frame = spark.createDataFrame(rows, "`x, y` long, day date, at timestamp, list array<double>, text string")
    found = stored(frame, draft)
    assert list((tmp_path / "draft").rglob("*.parquet"))
    assert found.schema == frame.schema
    assert sorted(found.collect()) == sorted(frame.collect())
    nothing = stored(frame.selectExpr("text", "null as nothing"), draft)
    assert nothing.columns == ["text", "nothing"]
    assert nothing.count() == 2
    drop_stored(draft)
    drop_stored(draft)
    assert not list((tmp_path / "draft").rglob("*"))
