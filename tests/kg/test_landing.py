"""What sources in `mode: append` delivered stays in the workspace, once, whatever is killed or delivered again."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from kg.errors import SourceError
from kg.land import land
from kg.landing import Landed, Landing, State
from kg.source_config import Source
from kg.source_fingerprint import source_fingerprints
from kg.sources import read
from kg.tables import Workspace


def no_spark() -> SparkSession:
    raise AssertionError("files land without Spark")


@pytest.fixture
def landing(tmp_path: Path) -> Landing:
    return Landing.of(Workspace(tmp_path / "run"))


def appended(folder: Path, pattern: str, kind: str = "csv", **given: Any) -> Source:
    return Source.model_validate({"format": kind, "path": str(folder / pattern), "mode": "append", **given})


def bring(source: Source, landing: Landing) -> tuple[int, str | None]:
    """How many files were new, and the fingerprint of all that has landed."""
    new = land({"s": source}, landing, {}, no_spark)["s"]
    return new, source_fingerprints({"s": source}, landing)["s"]


def lines(spark: SparkSession, source: Source, landing: Landing) -> list[tuple[str, int, str, bool]]:
    found = read(spark, "s", source, landing).frame.sort("_position").collect()
    return [(Path(r["_file"]).name.split("@")[0], r["_row"], r["id"], r["_duplicate"]) for r in found]


def test_files_that_vanish_grow_or_change_lose_and_double_nothing(
    spark: SparkSession, tmp_path: Path, landing: Landing
) -> None:
    source = appended(tmp_path, "*.csv")
    with pytest.raises(SourceError, match="nothing to read"):
        bring(source, landing)
    (tmp_path / "a.csv").write_text("id\n1\n2\n")
    new, first = bring(source, landing)
    assert new == 1
    assert bring(source, landing) == (0, first)
    # One more file, a vanished one, one that grew: three deliveries.
    (tmp_path / "b.csv").write_text("id\n3\n1\n")
    (tmp_path / "a.csv").write_text("id\n1\n2\n4\n")
    new, second = bring(source, landing)
    assert (new, second == first) == (2, False)
    (tmp_path / "a.csv").unlink()
    assert bring(source, landing) == (0, second)
    assert lines(spark, source, landing) == [
        ("a.csv", 2, "1", False),
        ("a.csv", 3, "2", False),
        ("a.csv", 4, "4", False),
        ("b.csv", 2, "3", False),
        ("b.csv", 3, "1", True),
    ]
    # The same name with other content is another delivery; what came before it stays.
    (tmp_path / "b.csv").write_text("id\n9\n3\n")
    assert bring(source, landing)[0] == 1
    assert lines(spark, source, landing)[3:] == [
        ("b.csv", 2, "3", False),
        ("b.csv", 3, "1", True),
        ("b.csv", 2, "9", False),
        ("b.csv", 3, "3", True),
    ]
    places = read(spark, "s", source, landing).frame.select("_file", "_row").collect()
    assert len(set(places)) == len(places) == 7


def test_killed_between_copy_and_state_the_next_run_starts_from_what_was_sealed(
    spark: SparkSession, tmp_path: Path, landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = appended(tmp_path, "*.parquet", "parquet")
    pq.write_table(pa.table({"id": ["1", "2"]}), tmp_path / "a.parquet")
    bring(source, landing)
    before = set(os.listdir(tmp_path / "run/landing/s"))
    pq.write_table(pa.table({"id": ["2", "3"]}), tmp_path / "b.parquet")
    with monkeypatch.context() as patched:
        patched.setattr(Landed, "seal", _killed)
        with pytest.raises(KeyboardInterrupt):
            bring(source, landing)
    assert set(os.listdir(tmp_path / "run/landing/s")) > before
    assert [row[2] for row in lines(spark, source, landing)] == ["1", "2"]
    # Taken away again before the next run: what was left over goes too.
    (tmp_path / "b.parquet").rename(tmp_path / "b.later")
    assert bring(source, landing)[0] == 0
    assert set(os.listdir(tmp_path / "run/landing/s")) == before
    (tmp_path / "b.later").rename(tmp_path / "b.parquet")
    assert bring(source, landing)[0] == 1
    assert [(row[2], row[3]) for row in lines(spark, source, landing)] == [
        ("1", False),
        ("2", False),
        ("2", True),
        ("3", False),
    ]


def _killed(landed: Landed, state: State) -> None:
    raise KeyboardInterrupt


def test_ingest_of_appended_files_is_that_of_all_of_them_at_once(
    spark: SparkSession, tmp_path: Path, ingested: Callable[[dict[str, str], dict[str, object]], Any]
) -> None:
    from kg.clean import ingest
    from kg.project import Graph

    graph = {"nodes": {"Item": {"source": "s", "key": "id", "properties": {"name": "name"}}}}
    folder = tmp_path / "in"
    folder.mkdir()
    source = appended(folder, "*.csv")
    workspace = Workspace(tmp_path / "run")
    for number, text in enumerate(("id,name\n1,one\n2,two\n", "id,name\n2,two\n3,three\n")):
        for old in folder.glob("*.csv"):
            old.unlink()
        (folder / f"{number}.csv").write_text(text)
        bring(source, Landing.of(workspace))
    with workspace.stage("tables").create("x") as draft:
        ingest(Graph.model_validate({"sources": {"s": source}, **graph}), spark, draft)
    output = workspace.stage("tables").current()
    whole = ingested(
        {"s.csv": "id,name\n1,one\n2,two\n2,two\n3,three\n"},
        {"sources": {"s": {"format": "csv", "path": "s.csv"}}, **graph},
    )
    assert output is not None
    assert output.read("nodes/Item").sort_by("key") == whole.read("nodes/Item").sort_by("key")
    assert output.manifest.figures["sources"] == whole.manifest.figures["sources"]


def test_another_format_of_landed_files_is_refused(tmp_path: Path, landing: Landing) -> None:
    (tmp_path / "a.csv").write_text("id\n1\n")
    bring(appended(tmp_path, "a.csv"), landing)
    with pytest.raises(SourceError, match="holds rows of csv files, and the project file asks for jsonl files"):
        bring(appended(tmp_path, "a.csv", "jsonl"), landing)
