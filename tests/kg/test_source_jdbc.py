"""Tables of a real PostgreSQL: types, parts, watermarks, and a password that appears nowhere."""

import datetime as dt
import io
import os
import shutil
from collections.abc import Iterator
from contextlib import redirect_stdout
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pyspark.sql import SparkSession

from kg.clean import ingest
from kg.errors import SourceError
from kg.land import land
from kg.landing import Landed, Landing, State
from kg.project import Graph
from kg.source_config import Credentials, Source
from kg.source_fingerprint import source_fingerprints
from kg.source_jdbc import _asked
from kg.sources import read
from kg.tables import Workspace
from tests.kg.postgres import Postgres

PASSWORD = "sesame-4711"
KNOWN = {"s": Credentials("postgres", PASSWORD)}


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    if shutil.which("initdb") is None:
        pytest.skip("initdb is not on PATH: PostgreSQL tests skipped")
    server = Postgres.start(PASSWORD)
    yield server
    server.stop()


@pytest.fixture
def landing(tmp_path: Path) -> Landing:
    return Landing.of(Workspace(tmp_path / "run"))


def table(postgres: Postgres, name: str, **given: Any) -> Source:
    return Source.model_validate({"format": "jdbc", "url": postgres.url, "table": name, **given})


def bring(spark: SparkSession, source: Source, landing: Landing) -> tuple[int, str | None]:
    """How many rows landed, and the fingerprint of all that have."""
    new = land({"s": source}, landing, KNOWN, lambda: spark)["s"]
    return new, source_fingerprints({"s": source}, landing)["s"]


def values(spark: SparkSession, source: Source, landing: Landing, *columns: str) -> list[tuple[Any, ...]]:
    rows = read(spark, "s", source, landing).good.sort("_position").select(*columns).collect()
    return [tuple(row) for row in rows]


def test_types_are_kept_and_times_are_instants(postgres: Postgres, spark: SparkSession, landing: Landing) -> None:
    postgres.run(
        "create table typed (id bigint, price numeric(8, 2), seen timestamp, at timestamptz, day date, tags text[],"
        " ok boolean, note text)",
        "insert into typed values (1, 12.50, '2024-03-01 12:00:00.123456', '2024-03-01 12:00:00-05', '2024-03-01',"
        " '{a,b}', true, 'é'), (2, null, null, null, null, null, null, null)",
    )
    source = table(postgres, "typed", rename={"note": "comment"})
    assert bring(spark, source, landing)[0] == 2
    rows = read(spark, "s", source, landing)
    assert rows.columns == ["id", "price", "seen", "at", "day", "tags", "ok", "comment"]
    texts = ["id", "price", "string(seen) seen", "string(at) at", "day", "tags", "ok", "comment", "_file", "_row"]
    first, second = [tuple(r) for r in rows.good.sort("id").selectExpr(*texts).collect()]
    assert first == (
        1,
        Decimal("12.50"),
        "2024-03-01 12:00:00.123456",
        "2024-03-01 17:00:00",
        dt.date(2024, 3, 1),
        ["a", "b"],
        True,
        "é",
        f"{postgres.url} typed",
        1,
    )
    assert second[1:] == (None,) * 7 + (f"{postgres.url} typed", 2)


@pytest.mark.parametrize(
    "partition",
    [
        {"column": "id", "count": 3},
        {"column": "id", "count": 3, "lower": 50, "upper": 60},
        {"column": "at", "count": 3},
    ],
)
def test_a_partitioned_read_has_each_row_once_and_numbers_that_stay(
    postgres: Postgres, spark: SparkSession, landing: Landing, partition: dict[str, Any]
) -> None:
    made = "select i as id, timestamp '2024-01-01' + i * interval '1 hour' as at from generate_series(1, 100) i"
    postgres.run("drop table if exists many", f"create table many as {made} order by random()")
    source = table(postgres, "many", partition=partition, fetch_size=7)
    assert _asked(spark, source, KNOWN["s"]).rdd.getNumPartitions() == 3
    new, first = bring(spark, source, landing)
    assert new == 100
    numbered = values(spark, source, landing, "_row", "id")
    assert sorted(row for row, _ in numbered) == sorted(i for _, i in numbered) == list(range(1, 101))
    # The same rows stored in another order are the same content, under the same numbers.
    postgres.run("create table again as select * from many order by random()", "drop table many")
    postgres.run("alter table again rename to many")
    assert bring(spark, source, landing)[1] == first
    assert values(spark, source, landing, "_row", "id") == numbered
    postgres.run("delete from many where id = 7")
    assert bring(spark, source, landing)[1] != first
    assert len(values(spark, source, landing, "id")) == 99
    assert len(os.listdir(landing.source("s").path)) == 2  # one batch and the state


def test_a_query_is_read_and_an_empty_one_has_columns(
    postgres: Postgres, spark: SparkSession, landing: Landing
) -> None:
    source = table(postgres, "", table=None, query="select 1 as one where false", partition={"column": "one"})
    assert bring(spark, source, landing)[0] == 0
    assert read(spark, "s", source, landing).columns == ["one"]


def test_a_watermark_reads_what_is_new_and_loses_no_late_row_at_it(
    postgres: Postgres, spark: SparkSession, landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres.run(
        "drop table if exists log",
        "create table log (id int, at timestamp)",
        "insert into log values (1, '2024-01-01 23:30'), (2, '2024-01-02 00:30'), (3, null), (4, '2024-01-02 00:30')",
    )
    source = table(postgres, "log", mode="append", watermark="at", duplicates="keep")
    assert bring(spark, source, landing)[0] == 4
    state = landing.source("s").state()
    assert state and state.watermark == {"type": "timestamp", "value": "2024-01-02 00:30:00.000000"}
    again, first = bring(spark, source, landing)
    assert again == 0
    # Late ones at the watermark (one is equal to a row that landed), one without a value, one above, and the old
    # rows are deleted: only the new ones are taken, and all that landed stay.
    postgres.run(
        "delete from log where id = 1",
        "insert into log values (2, '2024-01-02 00:30'), (5, '2024-01-02 00:30'), (6, null), (7, '2024-01-03')",
    )
    with monkeypatch.context() as patched:
        patched.setattr(Landed, "seal", _killed)
        with pytest.raises(KeyboardInterrupt):
            bring(spark, source, landing)
    assert source_fingerprints({"s": source}, landing)["s"] == first
    assert bring(spark, source, landing)[0] == 4
    assert sorted(i for (i,) in values(spark, source, landing, "id")) == [1, 2, 2, 3, 4, 5, 6, 7]
    assert bring(spark, source, landing)[0] == 0
    # What landed first keeps its numbers.
    assert {row for row, i in values(spark, source, landing, "_row", "id") if i in (1, 3, 4)} <= {1, 2, 3, 4}
    with pytest.raises(SourceError, match=r"holds rows of .* log by at, and the project file asks for .* log by id"):
        bring(spark, source.model_copy(update={"watermark": "id"}), landing)


def _killed(landed: Landed, state: State) -> None:
    raise KeyboardInterrupt


def test_the_watermark_goes_to_the_database(postgres: Postgres, spark: SparkSession) -> None:
    postgres.run("drop table if exists log", "create table log (id int, at timestamp)")
    asked = _asked(spark, table(postgres, "log"), KNOWN["s"])
    plan = asked.where("at > cast('2024-01-02 00:30:00' as timestamp)")._jdf.queryExecution().toString()
    assert "PushedFilters: [*IsNotNull(at), *GreaterThan(at,2024-01-02 00:30:00.0)]" in plan


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"table": "nothing"}, 'relation "nothing" does not exist'),
        ({"mode": "append", "watermark": "when"}, r"no column 'when' for its watermark; it has \['id', 'name'\]"),
        ({"mode": "append", "watermark": "name"}, "watermark 'name' is string, expected a number, a date or a time"),
    ],
)
def test_what_the_database_lacks_is_named(
    postgres: Postgres, spark: SparkSession, landing: Landing, given: dict[str, Any], message: str
) -> None:
    postgres.run("drop table if exists plain", "create table plain (id int, name text)")
    with pytest.raises(SourceError, match=message) as caught:
        bring(spark, table(postgres, "plain", **given), landing)
    assert "\n" not in str(caught.value)


def test_the_password_is_in_no_plan_setting_message_or_file(
    postgres: Postgres, spark: SparkSession, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    postgres.run("drop table if exists plain", "create table plain (id int)", "insert into plain values (1)")
    source = table(postgres, "plain")
    shown = io.StringIO()
    asked = _asked(spark, source, KNOWN["s"])
    with redirect_stdout(shown):
        asked.explain("extended")
        asked.explain("formatted")
    workspace = Workspace(tmp_path / "run")
    bring(spark, source, Landing.of(workspace))
    graph = Graph.model_validate({"sources": {"s": source}, "nodes": {"Item": {"source": "s", "key": "id"}}})
    with workspace.stage("tables").create("x") as draft:
        ingest(graph, spark, draft)
    messages = []
    for known in ({"s": Credentials("postgres", PASSWORD + "x")}, {"s": Credentials("nobody", PASSWORD)}, {}):
        with pytest.raises(SourceError) as caught:
            land({"s": source}, Landing.of(workspace), known, lambda: spark)
        messages.append(str(caught.value))
    assert "password authentication failed" in messages[0]
    settings = spark.sparkContext.getConf().toDebugString() + str(spark.sql("set").collect())
    files = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    out = "".join(capfd.readouterr())
    for text in (shown.getvalue(), *messages, settings, out, files.decode("latin-1")):
        assert PASSWORD not in text
    with pytest.raises(
        SourceError, match=r"sources\.s\.url holds a secret: take it out and set CROSSGRAPH_SOURCES__S__"
    ):
        bring(spark, source.model_copy(update={"url": f"{postgres.url}?password={PASSWORD}"}), Landing.of(workspace))


def test_pictures_in_a_table_become_paths(
    postgres: Postgres, spark: SparkSession, landing: Landing, tmp_path: Path
) -> None:
    content = io.BytesIO()
    Image.new("RGB", (20, 10), "red").save(content, "PNG")
    picture = content.getvalue().hex()
    postgres.run(
        "create table covers (id int, cover bytea)",
        f"insert into covers values (1, '\\x{picture}'), (2, '\\x{picture}'), (3, '\\xdeadbeef'), (4, null)",
    )
    source = table(postgres, "covers", images={"cover": "bytes"})
    bring(spark, source, landing)
    paths = dict(values(spark, source, landing, "id", "cover"))
    assert paths[1] == paths[2] and paths[1].startswith(str(tmp_path / "run/landing/pictures/s"))
    assert Path(paths[1]).read_bytes() == content.getvalue()
    assert (paths[3], paths[4]) == (None, None)
