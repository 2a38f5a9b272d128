"""Folders of pictures, a row a file; and pictures in columns, which mappings see as paths."""

import base64
import binascii
import posixpath
from collections.abc import Iterable, Iterator

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from kg.errors import SourceError
from kg.locations import File
from kg.pictures import is_picture, keep_picture
from kg.source_config import Source
from kg.source_rows import LOST, MALFORMED, column_names

STEM = r"([^/]+?)(\.[^./]*)?$"


def read_images(spark: SparkSession, name: str, source: Source, files: list[File]) -> DataFrame:
    """Every picture is decoded once, at the smallest scale its format offers, to find the broken ones."""
    listed = spark.createDataFrame([(n, file.path) for n, file in enumerate(files, 1)], "_row long, path string")
    listed = listed.repartition(spark.sparkContext.defaultParallelism)
    names = column_names(name, ["path", "stem"], source.rename)
    checked = listed.mapInArrow(_check_pictures, f"_row long, path string, {MALFORMED} string")
    stem = F.regexp_extract("path", STEM, 1)
    values = [F.col("path").alias(names[0]), stem.alias(names[1])]
    place = [F.col("path").alias("_file"), F.col("_row"), F.col("_row").alias("_position")]
    return checked.select(*place, *values, MALFORMED, F.lit(None).cast("string").alias("_raw"))


def _check_pictures(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        broken = [None if is_picture(path) else "broken_image" for path in batch.column("path").to_pylist()]
        yield pa.RecordBatch.from_arrays([*batch.columns, pa.array(broken, pa.string())], ["_row", "path", MALFORMED])


def with_pictures(name: str, source: Source, frame: DataFrame, folder: str) -> DataFrame:
    """Columns of pictures become paths, null where there is no picture; ``_lost`` names those of a row, if any.

    Pictures that are bytes or base64 are written below `folder`, once each. A relative path counts from the folder of
    the row's file.
    """
    kinds: dict[str, str] = dict(source.images)
    for column, kind in kinds.items():
        if column not in frame.columns:
            raise SourceError(f"source {name}: no column {column!r} for images; it has {frame.columns}")
        wanted = T.BinaryType if kind == "bytes" else T.StringType
        if not isinstance(type_ := frame.schema[column].dataType, wanted):
            raise SourceError(f"source {name}: column {column!r} is {type_.simpleString()}; images says {kind}")
    fields = [T.StructField(f.name, T.StringType()) if f.name in kinds else f for f in frame.schema]
    schema = T.StructType([*fields, T.StructField(LOST, T.StringType())])

    def place(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield _placed(batch, kinds, folder)

    return frame.mapInArrow(place, schema)


def _placed(batch: pa.RecordBatch, kinds: dict[str, str], folder: str) -> pa.RecordBatch:
    lost: list[list[str]] = [[] for _ in range(batch.num_rows)]
    files = batch.column("_file").to_pylist()
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    for column, kind in kinds.items():
        paths = []
        for number, value in enumerate(columns[column].to_pylist()):
            path = None if value in (None, "", b"") else _path(value, kind, files[number], folder)
            if path is None and value not in (None, "", b""):
                lost[number].append(column)
            paths.append(path)
        columns[column] = pa.array(paths, pa.string())
    columns[LOST] = pa.array([",".join(names) or None for names in lost], pa.string())
    return pa.RecordBatch.from_arrays(list(columns.values()), list(columns))


def _path(value: str | bytes, kind: str, file: str, folder: str) -> str | None:
    if isinstance(value, bytes):
        return keep_picture(value, folder)
    if kind == "base64":
        try:
            # A data URL has its type before a comma.
            return keep_picture(base64.b64decode(value.rpartition(",")[2], validate=False), folder)
        except (binascii.Error, ValueError):
            return None
    path = value if "://" in value or value.startswith("/") else posixpath.join(posixpath.dirname(file), value)
    try:
        return path if is_picture(path) else None
    except (pa.ArrowException, OSError):  # a scheme that no file system of ours has
        return None
