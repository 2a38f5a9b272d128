"""One reader a format: files to rows that know where they came from, and the rows that cannot be read.

Every frame has, beside the source's own columns, `PROVENANCE`:

- ``_source``, the source's name, and ``_file``, the path;
- ``_row`` (long): the line of a text file (a header is line 1), the number of the row from 1 elsewhere. With
  ``multiLine: true`` a record of a CSV file may span lines, and the number counts records (the header is 1);
- ``_position``: sorts rows as they were delivered: by file name, then row.

CSV columns are strings; JSON Lines and Parquet keep their types. Blank lines are no rows.
"""

import csv
import glob
import io
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyarrow import fs
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql import types as T

from kg.errors import SourceError
from kg.source_config import Source
from kg.spark import translated

PROVENANCE = ("_source", "_file", "_row", "_position")
MALFORMED = "_malformed"
# monotonically_increasing_id counts rows within a task in its lower 33 bits.
WITHIN_TASK = (1 << 33) - 1
# What is ours to do about a text file, and what Spark's parser must not see.
OWN_OPTIONS = {"header", "encoding", "multiline", "linesep"}


@dataclass(frozen=True)
class Rows:
    """What was read of one source.

    `frame` holds `PROVENANCE`, the columns, ``_malformed`` (string: why the row cannot be read, else null) and
    ``_raw`` (string: the values as read, as a JSON object).
    """

    name: str
    frame: DataFrame
    columns: list[str]
    by_path: bool = False
    """Whether a row is named by its path in quarantine (pictures), not by its number."""

    @property
    def good(self) -> DataFrame:
        """The rows that mappings see: readable ones, each once."""
        return self.frame.where("_malformed is null and not _duplicate").drop(MALFORMED, "_duplicate", "_raw")


def find_files(name: str, source: Source) -> list[str]:
    """The files that a source reads, sorted; `SourceError` when there are none."""
    path = str(source.path)
    if "://" in path and not path.startswith("file://"):
        found = _remote_files(path)
    else:
        path = path.removeprefix("file://")
        matches = [Path(path)] if Path(path).exists() else [Path(p) for p in glob.glob(path, recursive=True)]
        files = [f for m in matches for f in (m.rglob("*") if m.is_dir() else [m]) if f.is_file()]
        found = [str(f.absolute()) for f in files if not _hidden(f.name)]
    if not found:
        raise SourceError(f"source {name}: nothing to read at {path}; check its `path` or set it to null")
    return sorted(set(found))


def _hidden(name: str) -> bool:
    return name.startswith((".", "_"))


def _remote_files(uri: str) -> list[str]:
    filesystem, path = fs.FileSystem.from_uri(uri)
    scheme = uri.split("://", maxsplit=1)[0]
    info = filesystem.get_file_info(path)
    infos = [info] if info.is_file else filesystem.get_file_info(fs.FileSelector(path, True, True))
    return [f"{scheme}://{i.path}" for i in infos if i.is_file and not _hidden(i.base_name)]


def read(spark: SparkSession, name: str, source: Source) -> Rows:
    """Read a source whose `path` is set; nothing but headers and JSON's types is looked at before an action.

    Raises `SourceError` for a missing path, an unreadable file, a header that differs between files or a
    `rename` of a column that is not there.
    """
    paths = find_files(name, source)
    readers = {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet, "images": _images}
    with translated(f"source {name} at {source.path}"):
        frame = readers[source.format](spark, name, source, paths)
    columns = [c for c in frame.columns if c not in (*PROVENANCE, MALFORMED, "_raw")]
    frame = _mark_duplicates(frame, columns, source.duplicates == "drop" and source.format != "images")
    return Rows(name, frame.withColumn("_source", F.lit(name)), columns, source.format == "images")


def _mark_duplicates(frame: DataFrame, columns: list[str], wanted: bool) -> DataFrame:
    if not wanted:
        return frame.withColumn("_duplicate", F.lit(False))
    # JSON text compares what Spark cannot compare itself, such as maps and structs.
    scalar = [c for c in columns if not isinstance(frame.schema[c].dataType, T.MapType | T.StructType | T.ArrayType)]
    key = [F.col(f"`{c}`") for c in scalar] + ([F.col("_raw")] if len(scalar) < len(columns) else [])
    # Rows that could not be read are each their own.
    unreadable = F.when(F.col(MALFORMED).isNotNull(), F.col("_position"))
    nth = F.row_number().over(Window.partitionBy(*key, unreadable).orderBy("_position"))
    return frame.withColumn("_duplicate", (nth > 1) & F.col(MALFORMED).isNull())


def _names(name: str, found: list[str], rename: dict[str, str]) -> list[str]:
    """The columns' names after `rename`."""
    if missing := [c for c in rename if c not in found]:
        raise SourceError(f"source {name}: no column {missing[0]!r} to rename; it has {found}")
    names = [rename.get(c, c) for c in found]
    if repeated := sorted({c for c in names if names.count(c) > 1}):
        raise SourceError(f"source {name}: more than one column is called {repeated[0]!r}; it has {found}")
    if ours := [c for c in names if c.startswith("_")]:
        raise SourceError(f"source {name}: column {ours[0]!r} must not start with `_`; give it a name by `rename`")
    return names


def _located(frame: DataFrame, paths: list[str], row: Column) -> DataFrame:
    """Add provenance; `frame` has ``_uri``, the file as Spark names it."""
    index = F.lit(0)
    file = F.lit(paths[0])
    if len(paths) > 1:
        uris = [(Path(p).as_uri().replace("file://", "file:") if p.startswith("/") else p) for p in paths]
        uri = F.regexp_replace("_uri", "^file:/+", "file:/")
        index = F.map_from_arrays(_literals(uris), _literals(list(range(len(paths)))))[uri]
        file = F.element_at(_literals(paths), index + 1)
    frame = frame.withColumn("_row", row.cast("long")).withColumn("_file", file)
    position = index.cast("long") * (WITHIN_TASK + 1) + F.col("_row")
    return frame.withColumn("_position", position).drop("_uri")


def _literals(values: list[str] | list[int]) -> Column:
    return F.array(*[F.lit(v) for v in values])


def _lines(spark: SparkSession, source: Source, paths: list[str]) -> DataFrame:
    """One row a line that is not blank: ``value``, and its place."""
    reader = spark.read.option("__globPaths__", "false")
    if separator := _option(source, "lineSep"):
        reader = reader.option("lineSep", separator)
    text = reader.text(paths).select("value", F.col("_metadata.file_path").alias("_uri"))
    text = _located(text, paths, F.monotonically_increasing_id().bitwiseAND(WITHIN_TASK) + 1)
    if encoding := _option(source, "encoding"):
        text = text.withColumn("value", F.decode(F.col("value").cast("binary"), encoding))
    return text.where(F.length(F.trim("value")) > 0)


def _option(source: Source, name: str, default: str | None = None) -> str | None:
    for key, value in source.options.items():
        if key.lower() == name.lower():
            return str(value).lower() if isinstance(value, bool) else str(value)
    return default


def _parser_options(source: Source) -> dict[str, str]:
    options = {k: _option(source, k) or "" for k in source.options if k.lower() not in OWN_OPTIONS}
    return options | {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": MALFORMED}


def _csv(spark: SparkSession, name: str, source: Source, paths: list[str]) -> DataFrame:
    header = _option(source, "header", "true") == "true"
    first = [_first_record(name, source, path) for path in paths]
    found = first[0] if header else [f"_c{i}" for i in range(len(first[0]))]
    if header and (other := next((i for i, record in enumerate(first) if record != found), None)) is not None:
        raise SourceError(f"source {name}: the header of {paths[other]} is {first[other]}, expected {found}")
    names = _names(name, found, source.rename)
    schema = T.StructType([T.StructField(c, T.StringType()) for c in [*names, MALFORMED]])
    options = _parser_options(source)
    if _option(source, "multiLine") == "true":
        return _multiline(spark, source, paths, schema, options, header)
    lines = _lines(spark, source, paths)
    if header:
        lines = lines.where("_row > 1")
    if comment := _option(source, "comment"):
        lines = lines.where(~F.col("value").startswith(comment))
    parsed = lines.withColumn("_values", F.from_csv("value", _ddl(schema), options))
    return _unpacked(parsed, names)


def _unpacked(parsed: DataFrame, names: list[str]) -> DataFrame:
    """``_values`` as columns, ``_raw``, and the reason code instead of the malformed line."""
    broken = F.col(f"_values.{MALFORMED}").isNotNull()
    values = [F.col(f"_values.`{c}`").alias(c) for c in names]
    line = F.to_json(F.struct(F.col("value").alias("line")))
    raw = F.when(broken, line).otherwise(F.to_json(F.struct(*values)))
    reason = F.when(broken, F.lit("malformed")).alias(MALFORMED)
    return parsed.select("_file", "_row", "_position", *values, reason, raw.alias("_raw"))


def _ddl(schema: T.StructType) -> str:
    return ", ".join(f"`{field.name}` {field.dataType.simpleString()}" for field in schema)


def _first_record(name: str, source: Source, path: str) -> list[str]:
    """The first record of a CSV file, which is its header where it has one."""
    filesystem, plain = fs.FileSystem.from_uri(path) if "://" in path else (fs.LocalFileSystem(), path)
    encoding = _option(source, "encoding", "utf-8-sig")
    separator = (_option(source, "sep") or _option(source, "delimiter") or ",").replace("\\t", "\t")
    try:
        with filesystem.open_input_stream(plain) as stream:
            text = io.TextIOWrapper(stream, encoding, newline="")
            records = csv.reader(text, delimiter=separator, quotechar=_option(source, "quote") or '"')
            record = next((r for r in records if r), None)
    except (OSError, UnicodeError, csv.Error) as error:
        raise SourceError(f"source {name}: cannot read the first line of {path}: {error}") from error
    if record is None:
        raise SourceError(f"source {name}: {path} is empty, expected a header and rows")
    return record


def _multiline(
    spark: SparkSession, source: Source, paths: list[str], schema: T.StructType, options: dict[str, str], header: bool
) -> DataFrame:
    reader = spark.read.options(**options, multiLine="true", header=str(header).lower())
    if encoding := _option(source, "encoding"):
        reader = reader.option("encoding", encoding)
    rows = reader.schema(schema).csv(paths).select("*", F.col("_metadata.file_path").alias("_uri"))
    number = F.monotonically_increasing_id().bitwiseAND(WITHIN_TASK) + (2 if header else 1)
    rows = _located(rows, paths, number).withColumn("value", F.col(MALFORMED))
    names = [field.name for field in schema]
    values = F.struct(*[F.col(f"`{c}`") for c in names])
    return _unpacked(rows.withColumn("_values", values), names[:-1])


def _jsonl(spark: SparkSession, name: str, source: Source, paths: list[str]) -> DataFrame:
    """Types are inferred from all rows; a line that is no JSON object is malformed."""
    options = _parser_options(source)
    inferred = spark.read.options(**options).option("__globPaths__", "false").json(paths).schema
    found = [field for field in inferred if field.name != MALFORMED]
    if not found:
        raise SourceError(f"source {name}: no line of {source.path} is a JSON object")
    names = _names(name, [field.name for field in found], source.rename)
    fields = [T.StructField(c, f.dataType) for c, f in zip(names, found, strict=True)]
    schema = T.StructType([*found, T.StructField(MALFORMED, T.StringType())])
    parsed = _lines(spark, source, paths).withColumn("_parsed", F.from_json("value", schema, options))
    # A JSON array of objects is read as its first object, which would lose the others.
    broken = F.coalesce(F.col(f"_parsed.{MALFORMED}"), F.when(~F.ltrim("value").startswith("{"), F.col("value")))
    columns = [F.col(f"_parsed.`{f.name}`").alias(c.name) for f, c in zip(found, fields, strict=True)]
    return _unpacked(parsed.withColumn("_values", F.struct(*columns, broken.alias(MALFORMED))), names)


def _parquet(spark: SparkSession, name: str, source: Source, paths: list[str]) -> DataFrame:
    reader = spark.read.options(**{k: str(v) for k, v in source.options.items()}).option("__globPaths__", "false")
    frame = reader.parquet(*paths)
    names = _names(name, frame.columns, source.rename)
    values = [F.col(f"`{c}`").alias(new) for c, new in zip(frame.columns, names, strict=True)]
    place = [F.col("_metadata.file_path").alias("_uri"), F.col("_metadata.row_index").alias("_index")]
    rows = _located(frame.select(*values, *place), paths, F.col("_index") + 1).drop("_index")
    raw = F.to_json(F.struct(*[F.col(f"`{c}`") for c in names]))
    return rows.withColumn(MALFORMED, F.lit(None).cast("string")).withColumn("_raw", raw)


def _images(spark: SparkSession, name: str, source: Source, paths: list[str]) -> DataFrame:
    """Every picture is decoded once, at the smallest scale its format offers, to find the broken ones."""
    listed = spark.createDataFrame(list(enumerate(paths, 1)), "_row long, path string")
    listed = listed.repartition(spark.sparkContext.defaultParallelism)
    names = _names(name, ["path", "stem"], source.rename)
    checked = listed.mapInArrow(_check_pictures, f"_row long, path string, {MALFORMED} string")
    stem = F.regexp_extract("path", r"([^/]+?)(\.[^./]*)?$", 1)
    values = [F.col("path").alias(names[0]), stem.alias(names[1])]
    place = [F.col("path").alias("_file"), F.col("_row"), F.col("_row").alias("_position")]
    raw = F.to_json(F.struct(*values)).alias("_raw")
    return checked.select(*place, *values, MALFORMED, raw)


def _check_pictures(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        broken = [None if is_picture(path) else "broken_image" for path in batch.column("path").to_pylist()]
        yield pa.RecordBatch.from_arrays([*batch.columns, pa.array(broken, pa.string())], ["_row", "path", MALFORMED])


def is_picture(path: str) -> bool:
    """Whether a picture decodes to its last row."""
    from PIL import Image

    filesystem, plain = fs.FileSystem.from_uri(path) if "://" in path else (fs.LocalFileSystem(), path)
    try:
        with filesystem.open_input_file(plain) as stream, Image.open(stream) as image:
            image.draft("RGB", (max(1, image.width // 8), max(1, image.height // 8)))
            image.load()
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError):
        return False
    return True
