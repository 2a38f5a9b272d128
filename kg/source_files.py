"""Tables in files: CSV, JSON Lines and Parquet, also compressed, each row with its exact place.

CSV columns are strings; JSON Lines and Parquet keep their types. Blank lines are no rows. A text file is read by one
task, which is what makes its line numbers exact; Parquet's rows know their numbers, so its files are split.
"""

import csv
import io

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from kg.errors import SourceError
from kg.locations import File, for_spark, opened
from kg.source_config import Source
from kg.source_rows import MALFORMED, WITHIN_TASK, column_names, located, unpacked
from kg.spark import of_session, splitting

# What is ours to do about a text file, and what Spark's parser must not see.
OWN_OPTIONS = {"header", "encoding", "multiline", "linesep"}


def read_csv(spark: SparkSession, name: str, source: Source, files: list[File]) -> DataFrame:
    """Every column is a string; `SourceError` where the files' headers differ."""
    header = _option(source, "header", "true") == "true"
    first = [_first_record(name, source, file.path) for file in files]
    found = first[0] if header else [f"_c{i}" for i in range(len(first[0]))]
    if header and (other := next((i for i, record in enumerate(first) if record != found), None)) is not None:
        raise SourceError(f"source {name}: the header of {files[other].name} is {first[other]}, expected {found}")
    names = column_names(name, found, source.rename)
    schema = T.StructType([T.StructField(c, T.StringType()) for c in [*names, MALFORMED]])
    options = _parser_options(source)
    if _option(source, "multiLine") == "true":
        return _multiline(spark, source, files, schema, options, header)
    lines = _lines(spark, source, files)
    if header:
        lines = lines.where("_row > 1")
    if comment := _option(source, "comment"):
        lines = lines.where(~F.col("value").startswith(comment))
    parsed = lines.withColumn("_values", F.from_csv("value", _ddl(schema), options))
    return unpacked(parsed, names)


def parse_line(source: Source, schema: T.StructType, line: str) -> tuple[Column, Column]:
    """A text file's line as its reader parses it, and whether that fails; `schema` has the columns after `rename`.

    Null, and no failure, for a source that has no lines.
    """
    options = _parser_options(source)
    if source.format == "csv":
        fields = T.StructType([*schema, T.StructField(MALFORMED, T.StringType())])
        parsed = F.from_csv(line, _ddl(fields), options)
        return parsed, parsed[MALFORMED].isNotNull()
    if source.format in ("jsonl", "http"):
        old = {new: name for name, new in source.rename.items()}
        fields = T.StructType([T.StructField(old.get(f.name, f.name), f.dataType) for f in schema])
        parsed = F.from_json(line, fields.add(MALFORMED, T.StringType()), options)
        named = F.struct(*[parsed[old.get(f.name, f.name)].alias(f.name) for f in schema])
        return named, parsed[MALFORMED].isNotNull() | ~F.ltrim(line).startswith("{")
    return F.lit(None).cast(schema), F.lit(False)


def _ddl(schema: T.StructType) -> str:
    return ", ".join(f"`{field.name}` {field.dataType.simpleString()}" for field in schema)


def _first_record(name: str, source: Source, path: str) -> list[str]:
    """The first record of a CSV file, which is its header where it has one."""
    filesystem, plain = opened(path)
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
    spark: SparkSession, source: Source, files: list[File], schema: T.StructType, options: dict[str, str], header: bool
) -> DataFrame:
    reader = spark.read.options(**options, multiLine="true", header=str(header).lower())
    if encoding := _option(source, "encoding"):
        reader = reader.option("encoding", encoding)
    rows = reader.schema(schema).csv(_paths(files)).select("*", F.col("_metadata.file_path").alias("_uri"))
    number = F.monotonically_increasing_id().bitwiseAND(WITHIN_TASK) + (2 if header else 1)
    rows = located(rows, files, number).withColumn("value", F.col(MALFORMED))
    names = [field.name for field in schema]
    values = F.struct(*[F.col(f"`{c}`") for c in names])
    return unpacked(rows.withColumn("_values", values), names[:-1])


def read_jsonl(spark: SparkSession, name: str, source: Source, files: list[File]) -> DataFrame:
    """Types are inferred from all rows; a line that is no JSON object is malformed."""
    options = _parser_options(source)
    inferred = spark.read.options(**options).option("__globPaths__", "false").json(_paths(files)).schema
    found = [field for field in inferred if field.name != MALFORMED]
    if not found:
        raise SourceError(f"source {name}: no line of {source.place} is a JSON object")
    names = column_names(name, [field.name for field in found], source.rename)
    fields = [T.StructField(c, f.dataType) for c, f in zip(names, found, strict=True)]
    schema = T.StructType([*found, T.StructField(MALFORMED, T.StringType())])
    parsed = _lines(spark, source, files).withColumn("_parsed", F.from_json("value", schema, options))
    # A JSON array of objects is read as its first object, which would lose the others.
    broken = F.coalesce(F.col(f"_parsed.{MALFORMED}"), F.when(~F.ltrim("value").startswith("{"), F.col("value")))
    columns = [F.col(f"_parsed.`{f.name}`").alias(c.name) for f, c in zip(found, fields, strict=True)]
    return unpacked(parsed.withColumn("_values", F.struct(*columns, broken.alias(MALFORMED))), names)


def read_parquet(spark: SparkSession, name: str, source: Source, files: list[File]) -> DataFrame:
    """Types are the files' own."""
    options = {k: _option(source, k) or "" for k in source.options}
    reader = splitting(spark).read.options(**options).option("__globPaths__", "false")
    frame = reader.parquet(*_paths(files))
    names = column_names(name, frame.columns, source.rename)
    values = [F.col(f"`{c}`").alias(new) for c, new in zip(frame.columns, names, strict=True)]
    place = [F.col("_metadata.file_path").alias("_uri"), F.col("_metadata.row_index").alias("_index")]
    rows = located(frame.select(*values, *place), files, F.col("_index") + 1).drop("_index")
    none = F.lit(None).cast("string")
    return of_session(spark, rows.withColumns({MALFORMED: none, "_raw": none}))


def _paths(files: list[File]) -> list[str]:
    return [for_spark(file.path) for file in files]


def _lines(spark: SparkSession, source: Source, files: list[File]) -> DataFrame:
    """One row a line that is not blank: ``value``, and its place."""
    reader = spark.read.option("__globPaths__", "false")
    if separator := _option(source, "lineSep"):
        reader = reader.option("lineSep", separator)
    text = reader.text(_paths(files)).select("value", F.col("_metadata.file_path").alias("_uri"))
    text = located(text, files, F.monotonically_increasing_id().bitwiseAND(WITHIN_TASK) + 1)
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
