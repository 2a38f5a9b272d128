"""Tables of a relational database, through Spark's JDBC reader into Parquet in the workspace.

Each part of a partitioned read becomes one file, sorted by all columns, so that unchanged rows give unchanged bytes
and a row keeps its number. The parts are read by connections of their own: they see one state of the table only
where nobody writes meanwhile.
"""

from dataclasses import replace
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs
from pyspark.sql import Column, DataFrame, DataFrameReader, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql import types as T

from kg.errors import SourceError
from kg.landing import Landed, LandedFile, State, described
from kg.locations import file_digest, spark_uri
from kg.source_config import Credentials, Source
from kg.spark import translated

DRIVERS = {"jdbc:postgresql:": "org.postgresql.Driver"}
# Text is not among them: databases sort it in their own ways, and the greatest value is found here.
GROWING = (T.NumericType, T.DateType, T.TimestampType)


def land_table(spark: SparkSession, name: str, source: Source, landed: Landed, credentials: Credentials) -> int:
    """Read what is new, or all, and give the number of landed rows; unchanged content leaves the state as it is."""
    if problem := next(source.secrets(("sources", name)), None):
        raise SourceError(f"source {name}: {'.'.join(map(str, problem[0]))} {problem[1]}")
    asked = " ".join(str(source.table or source.query).split())
    wanted = f"{source.url} {asked}" + (f" by {source.watermark}" if source.watermark else "")
    state = landed.state()
    appending = source.mode == "append"
    if appending:
        described(name, landed, wanted, state)
    landed.sweep(state)
    before = state if appending and state else State(wanted)
    with translated(f"source {name} at {source.url}"):
        frame = _new_rows(spark, name, source, landed, before, _asked(spark, source, credentials))
        files = _write(frame, landed, state, f"{source.url} {source.table or 'query'}")
    rows = sum(file.rows for file in files)
    found = replace(before, files=(*before.files, *files), watermark=_watermark(landed, source, frame, before, files))
    # A batch without rows matters only where it is the first: it holds the columns.
    if state is None or (rows if appending else found.fingerprint != state.fingerprint):
        landed.seal(found)
    landed.sweep(landed.state())
    return rows


def _reader(spark: SparkSession, source: Source, credentials: Credentials) -> DataFrameReader:
    url = str(source.url)
    options = {key: str(value) for key, value in source.options.items()}
    driver = next((driver for prefix, driver in DRIVERS.items() if url.startswith(prefix)), None)
    if driver and "driver" not in options:
        options["driver"] = driver
    secrets = {"user": credentials.user, "password": credentials.password}
    options |= {key: value for key, value in secrets.items() if value is not None}
    return spark.read.format("jdbc").options(**options, url=url, fetchsize=str(source.fetch_size))


def _asked(spark: SparkSession, source: Source, credentials: Credentials) -> DataFrame:
    """The table or query, in parts where the source says so."""
    table = source.table or f"({source.query}) crossgraph_rows"
    part = source.partition
    reader = _reader(spark, source, credentials)
    if part is None:
        return reader.option("dbtable", table).load()
    lower, upper = part.lower, part.upper
    if lower is None or upper is None:
        dialect = spark._jvm.org.apache.spark.sql.jdbc.JdbcDialects.get(str(source.url))  # type: ignore[union-attr]
        column = dialect.quoteIdentifier(part.column)
        ends = f"(SELECT min({column}) AS lower, max({column}) AS upper FROM {table}) crossgraph_bounds"
        bounds = _reader(spark, source, credentials).option("dbtable", ends).load()
        number = isinstance(bounds.schema[0].dataType, T.NumericType)
        # As text, which is in the session's time zone; of numbers Spark wants whole ones.
        texts = [F.col(c).cast("long").cast("string") if number else F.col(c).cast("string") for c in bounds.columns]
        first, last = bounds.select(*texts).collect()[0]
        lower, upper = first if lower is None else lower, last if upper is None else upper
    if lower is None or upper is None:  # an empty table
        return reader.option("dbtable", table).load()
    bounded = reader.option("partitionColumn", part.column).option("numPartitions", str(part.count))
    return bounded.option("lowerBound", str(lower)).option("upperBound", str(upper)).option("dbtable", table).load()


def _new_rows(
    spark: SparkSession, name: str, source: Source, landed: Landed, state: State, asked: DataFrame
) -> DataFrame:
    """The rows above the watermark, and of those at it or without it the ones that have not landed yet."""
    if source.watermark:
        _check_watermark(name, source.watermark, asked)
    if not state.files:
        return asked
    kept = spark.read.option("mergeSchema", "true").parquet(*[landed.location(file.path) for file in state.files])
    if not source.watermark:
        return _without(asked, kept)
    if not state.watermark:  # what has landed had no value in the column
        return _without(asked, kept)
    column = F.col(f"`{source.watermark}`")
    last = F.lit(state.watermark["value"]).cast(state.watermark["type"])
    at = (column == last) | column.isNull()
    return asked.where(column > last).unionByName(_without(asked.where(at), kept.where(at)))


def _check_watermark(name: str, column: str, asked: DataFrame) -> None:
    if column not in asked.columns:
        raise SourceError(f"source {name}: no column {column!r} for its watermark; it has {asked.columns}")
    found = asked.schema[column].dataType
    if not isinstance(found, GROWING):
        raise SourceError(
            f"source {name}: watermark {column!r} is {found.simpleString()}, expected a number, a date or a timestamp"
        )


def _without(rows: DataFrame, others: DataFrame) -> DataFrame:
    """Rows less others, each as often as it is there more often."""
    columns = rows.columns
    missing = [c for c in columns if c not in others.columns]
    others = others.withColumns({c: F.lit(None).cast(rows.schema[c].dataType) for c in missing}).select(*columns)
    nth = F.row_number().over(Window.partitionBy(*[F.col(f"`{c}`") for c in columns]).orderBy(F.lit(1)))
    left, right = rows.withColumn("_nth", nth).alias("l"), others.withColumn("_nth", nth).alias("r")
    same: Column = F.col("l._nth") == F.col("r._nth")
    for c in columns:
        same &= F.col(f"l.`{c}`").eqNullSafe(F.col(f"r.`{c}`"))
    return left.join(right, on=same, how="left_anti").drop("_nth")


def _write(frame: DataFrame, landed: Landed, state: State | None, origin: str) -> list[LandedFile]:
    """Write a batch, and name its files by their number."""
    number = 1 + max((int(file.path[6:12]) for file in (state.files if state else ())), default=0)
    batch = f"batch-{number:06d}"
    landed.filesystem.create_dir(landed.path, recursive=True)
    ordered = frame.sortWithinPartitions(*[F.col(f"`{c}`") for c in frame.columns])
    ordered.write.mode("overwrite").option("compression", "zstd").parquet(
        spark_uri(landed.filesystem, f"{landed.path}/{batch}")
    )
    parts = [info.path for info in landed.filesystem.get_file_info(fs.FileSelector(f"{landed.path}/{batch}"))]
    files: list[LandedFile] = []
    for part in sorted(path for path in parts if path.endswith(".parquet")):
        rows = pq.read_metadata(part, filesystem=landed.filesystem).num_rows
        if rows or not files:
            name = f"{batch}/{len(files):05d}.parquet"
            landed.filesystem.move(part, f"{landed.path}/{name}")
            files.append(LandedFile(name, origin, file_digest(landed.location(name)), rows=rows))
    # The first part may be there for its columns only.
    return [file for file in files if file.rows] or files[:1]


def _watermark(
    landed: Landed, source: Source, frame: DataFrame, before: State, files: list[LandedFile]
) -> dict[str, str]:
    """The greatest value that has landed."""
    if source.watermark is None:
        return {}
    columns = [
        pq.read_table(f"{landed.path}/{file.path}", columns=[source.watermark], filesystem=landed.filesystem)[0]
        for file in files
    ]
    values: list[Any] = [value for column in columns if (value := pc.max(column)).is_valid]
    if not values:
        return before.watermark
    greatest = max(values, key=lambda value: value.as_py())
    return {"type": frame.schema[source.watermark].dataType.simpleString(), "value": _text(greatest.as_py())}


def _text(value: Any) -> str:
    """What Spark's cast of a string gives the value back from; an instant is in UTC."""
    return value.strftime("%Y-%m-%d %H:%M:%S.%f") if hasattr(value, "hour") else str(value)
