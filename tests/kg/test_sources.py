"""Every file format's rows with their exact file, line and order, and what of them cannot be read."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pyspark.sql import SparkSession

from kg.errors import SourceError
from kg.pictures import is_picture
from kg.source_config import Source
from kg.source_rows import FEW, Rows
from kg.sources import read


def source(folder: Path, path: str, **given: Any) -> Source:
    return Source.model_validate({"format": "csv", "path": str(folder / path), **given})


def placed(rows: Rows) -> list[tuple[Any, ...]]:
    """File name, row and why it cannot be read, then the columns, in the order of delivery."""
    found = sorted(rows.frame.collect(), key=lambda row: row["_position"])
    return [(Path(r["_file"]).name, r["_row"], r["_malformed"], *(r[column] for column in rows.columns)) for r in found]


def test_csv_lines_are_numbered_in_each_of_several_files(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text('id,name\n3,"with, comma"\n')
    (tmp_path / "a.csv").write_text("id,name\n1,one\n\n2,two,too many\n1,one\n")
    rows = read(spark, "people", source(tmp_path, "*.csv", rename={"name": "called"}))
    assert rows.columns == ["id", "called"]
    # A malformed line keeps what could be read of it, but mappings never see it.
    assert [row[:3] for row in placed(rows)] == [
        ("a.csv", 2, None),
        ("a.csv", 4, "malformed"),
        ("a.csv", 5, None),
        ("b.csv", 2, None),
    ]
    assert sorted((r["_row"], r["id"], r["called"]) for r in rows.good.collect()) == [
        (2, "1", "one"),
        (2, "3", "with, comma"),
    ]
    found = rows.frame.select("_file", "_row", rows.raw.alias("raw")).collect()
    raw = {(Path(r["_file"]).name, r["_row"]): json.loads(r["raw"]) for r in found}
    assert raw["a.csv", 4] == {"line": "2,two,too many"}
    assert raw["b.csv", 2] == {"id": "3", "called": "with, comma"}
    assert {r["_source"] for r in rows.frame.collect()} == {"people"}


def test_tsv_without_a_header_in_latin_1_counts_from_line_1(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_bytes("1\tcafé\n2\tthé\n".encode("latin-1"))
    options = {"sep": "\t", "header": False, "encoding": "ISO-8859-1"}
    rows = read(spark, "drinks", source(tmp_path, "a.tsv", options=options, rename={"_c0": "id", "_c1": "name"}))
    assert placed(rows) == [("a.tsv", 1, None, "1", "café"), ("a.tsv", 2, None, "2", "thé")]


def test_json_lines_keep_types_and_a_line_that_is_no_object_is_malformed(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": 1, "tags": ["x", "y"]}\n\n[{"id": 2}]\n{"id": \n{"id": 3}\n')
    rows = read(spark, "things", source(tmp_path, "a.jsonl", format="jsonl"))
    assert [row[1:3] for row in placed(rows)] == [(1, None), (3, "malformed"), (4, "malformed"), (5, None)]
    good = sorted((r["_row"], r["id"], r["tags"]) for r in rows.good.collect())
    assert good == [(1, 1, ["x", "y"]), (5, 3, None)]


def test_parquet_rows_are_numbered_from_1_and_repeats_can_be_kept(spark: SparkSession, tmp_path: Path) -> None:
    for name, ids in (("a", [5, 6]), ("b", [5])):
        pq.write_table(pa.table({"id": pa.array(ids, pa.int64())}), tmp_path / f"{name}.parquet")
    dropped = read(spark, "p", source(tmp_path, "*.parquet", format="parquet"))
    assert placed(dropped) == [("a.parquet", 1, None, 5), ("a.parquet", 2, None, 6), ("b.parquet", 1, None, 5)]
    assert sorted(r["id"] for r in dropped.good.collect()) == [5, 6]
    kept = read(spark, "p", source(tmp_path, "*.parquet", format="parquet", duplicates="keep"))
    assert sorted(r["id"] for r in kept.good.collect()) == [5, 5, 6]


def test_compressed_files_by_glob_keep_their_lines(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "a.tsv.gz").write_bytes(gzip.compress(b"id\tname\n1\tone\n\n2\ttwo\ttoo many\n3\tthree\n"))
    (tmp_path / "b.tsv").write_text("id\tname\n4\tfour\n")
    tables = read(spark, "s", source(tmp_path, "*.tsv*", options={"sep": "\t"}))
    assert [row[:4] for row in placed(tables)] == [
        ("a.tsv.gz", 2, None, "1"),
        ("a.tsv.gz", 4, "malformed", "2"),
        ("a.tsv.gz", 5, None, "3"),
        ("b.tsv", 2, None, "4"),
    ]
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(b'{"id": 7}\n\n{"id": \n{"id": 8}\n'))
    objects = read(spark, "s", source(tmp_path, "*.jsonl.gz", format="jsonl"))
    assert placed(objects) == [
        ("c.jsonl.gz", 1, None, 7),
        ("c.jsonl.gz", 3, "malformed", None),
        ("c.jsonl.gz", 4, None, 8),
    ]


def test_many_files_by_uri_are_each_their_own(spark: SparkSession, tmp_path: Path) -> None:
    folder = tmp_path / "with a blank"
    folder.mkdir()
    for number in range(FEW + 3):
        (folder / f"{number:02d}.csv").write_text(f"id\n{number}\n{number}\n")
    rows = read(spark, "s", source(tmp_path, "").model_copy(update={"path": f"file://{folder}/*.csv"}))
    expected = [(f"{n:02d}.csv", row, None, str(n)) for n in range(FEW + 3) for row in (2, 3)]
    assert placed(rows) == expected
    assert {Path(r["_file"]).parent for r in rows.frame.collect()} == {folder}


def test_one_parquet_file_is_read_by_many_tasks_and_its_rows_keep_their_numbers(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kg.spark.SPLIT", "64k")
    ids = np.random.default_rng(0).integers(0, 2**60, 40_000)
    pq.write_table(pa.table({"id": ids}), tmp_path / "a.parquet", row_group_size=5_000, compression="none")
    rows = read(spark, "s", source(tmp_path, "a.parquet", format="parquet", duplicates="keep"))
    assert rows.frame.rdd.getNumPartitions() >= 4
    found = rows.frame.select("_row", "id").toPandas().sort_values("_row")
    assert found["_row"].tolist() == list(range(1, 40_001))
    assert (found["id"].to_numpy() == ids).all()
    # A text file beside it is still read by one task.
    (tmp_path / "a.csv").write_text("id\n" + "".join(f"{n}\n" for n in ids))
    assert read(spark, "s", source(tmp_path, "a.csv", duplicates="keep")).frame.rdd.getNumPartitions() == 1


def test_pictures_are_rows_by_path_and_broken_ones_are_known(spark: SparkSession, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), "blue").save(tmp_path / "a.b.png")
    # Noise, so that half of the file holds its whole header and half of the picture.
    Image.effect_noise((64, 48), 80).save(tmp_path / "whole.jpg")
    whole = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / ".hidden.png").write_text("never listed")
    rows = read(spark, "covers", source(tmp_path, "", format="images"))
    assert rows.by_path
    assert [(row[0], row[2], row[4]) for row in placed(rows)] == [
        ("a.b.png", None, "a.b"),
        ("cut.jpg", "broken_image", "cut"),
        ("text.png", "broken_image", "text"),
        ("whole.jpg", None, "whole"),
    ]
    # The check runs in Spark's workers; here in this process.
    assert [is_picture(str(tmp_path / name)) for name in ("a.b.png", "cut.jpg", "text.png")] == [True, False, False]


@pytest.mark.parametrize(
    ("files", "path", "given", "message"),
    [
        ({}, "a.csv", {}, r"source s: nothing to read at .*a\.csv"),
        ({"a.csv": ""}, "a.csv", {}, r"a\.csv is empty"),
        ({"a.csv": "id\n1\n"}, "a.csv", {"rename": {"name": "n"}}, r"no column 'name' to rename; it has \['id'\]"),
        ({"a.csv": "id,id\n1,2\n"}, "a.csv", {}, "more than one column is called 'id'"),
        ({"a.csv": "_id\n1\n"}, "a.csv", {}, "column '_id' must not start with `_`"),
        ({"a.csv": "id\n1\n", "b.csv": "key\n1\n"}, "*.csv", {}, r"the header of .*b\.csv is \['key'\], expected"),
        ({"a.jsonl": "nothing\n"}, "a.jsonl", {"format": "jsonl"}, "no line of .* is a JSON object"),
        ({"a.parquet": "text"}, "a.parquet", {"format": "parquet"}, r"source s at .*a\.parquet"),
    ],
)
def test_a_source_that_cannot_be_read_is_named(
    spark: SparkSession, tmp_path: Path, files: dict[str, str], path: str, given: dict[str, Any], message: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(SourceError, match=message) as caught:
        read(spark, "s", source(tmp_path, path, **given))
    assert "\n" not in str(caught.value)
