"""The Spark session, and how Spark's frames become our tables; the only place that names GraphFrames and its jars."""

import os
import re
import shutil
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from py4j.protocol import Py4JJavaError
from pyspark import SparkContext
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_type, to_arrow_type
from pyspark.sql.types import DataType

from kg.errors import MachineError, SourceError
from kg.jars import infra_path
from kg.java import Java
from kg.locations import spark_uri
from kg.tables import Draft

# No split is larger than a file and no two files share one, so a line's number within its task is its number
# within its file (kg.source_files counts on it).
ONE_TASK_A_FILE = {
    "spark.sql.files.maxPartitionBytes": "1t",
    "spark.sql.files.openCostInBytes": "1t",
    "spark.sql.files.minPartitionNum": "1",
}

# Keys with their texts take some 200 bytes each in every task's memory.
SMALL = 200_000

# What one task reads of a file that may be split: some million rows.
SPLIT = "32m"

# An invalid cast gives null, which kg.clean then finds; our timestamps are instants in microseconds.
FIXED = {
    **ONE_TASK_A_FILE,
    "spark.sql.ansi.enabled": "false",
    "spark.sql.session.timeZone": "UTC",
    # Sources joined by a mapping may well have `title` and `Title`.
    "spark.sql.caseSensitive": "true",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",  # for days before 1582
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    # A draft is sealed by its manifest, so files may appear one by one.
    "spark.hadoop.mapreduce.fileoutputcommitter.algorithm.version": "2",
    # A parser that is asked for some columns only does not notice that a row has too many.
    "spark.sql.optimizer.enableCsvExpressionOptimization": "false",
    "spark.sql.optimizer.enableJsonExpressionOptimization": "false",
}

# No Java is made of queries.
INTERPRETED = {"spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN"}

# For one machine: with data of some 100,000 rows what costs is the number of tasks and of compilations.
LOCAL = {
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.shuffle.partitions": str(max(2, os.cpu_count() or 2)),
    "spark.sql.adaptive.enabled": "false",
    "spark.scheduler.mode": "FAIR",
}

# A database's timestamps without a zone are read in the JVM's and asked for in the session's: both are UTC.
UTC = "-Duser.timezone=UTC"

# Runs of a minute never repay the slower of the two compilers: it took half of a small run's processor time. Without
# it the JVM keeps 48 MiB for compiled code, which four ingests in one session filled.
LOCAL_JVM = ["-XX:TieredStopAtLevel=1", "-XX:ReservedCodeCacheSize=256m", "-XX:+UseSerialGC"]


@contextmanager
def session(
    java: Java,
    jars: Sequence[Path],
    *,
    master: str = "local[*]",
    memory: str = "2g",
    conf: dict[str, str] | None = None,
    java_options: str = "",
) -> Iterator[SparkSession]:
    """Start Spark, and stop it with its JVM when the block ends, so that its memory is free for training.

    `memory` is the driver's heap, `java_options` go to a packaged runtime. `MachineError` when it does not start.
    """
    spark = start(java, jars, master=master, memory=memory, conf=conf, java_options=java_options)
    try:
        yield spark
    finally:
        stop(spark)


def start(
    java: Java,
    jars: Sequence[Path],
    *,
    master: str = "local[*]",
    memory: str = "2g",
    conf: dict[str, str] | None = None,
    java_options: str = "",
) -> SparkSession:
    """As `session`, for callers that `stop` it themselves."""
    scratch = tempfile.mkdtemp(prefix="crossgraph-spark-")
    local = master.startswith("local")
    log4j = (infra_path() / "spark" / "log4j2.properties").as_uri()
    options = [
        UTC,
        f"-Dlog4j2.configurationFile={log4j}",
        *(LOCAL_JVM if local else []),
        *java.options(java_options),
    ]
    settings = (LOCAL if local else {}) | {
        "spark.master": master,
        "spark.app.name": "crossgraph",
        "spark.driver.memory": memory,
        "spark.driver.extraJavaOptions": " ".join(options),
        "spark.executor.extraJavaOptions": UTC,
        "spark.jars": ",".join(str(jar) for jar in jars),
        "spark.local.dir": scratch,
        "spark.sql.warehouse.dir": f"{scratch}/warehouse",
    }
    settings |= (conf or {}) | FIXED
    environment = {
        "JAVA_HOME": str(java.home),
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        # spark-submit's own short-lived JVM, which only prints the command line of the one that stays.
        "SPARK_LAUNCHER_OPTS": " ".join(java.options(java_options)),
    }
    environment |= {"SPARK_LOCAL_IP": "127.0.0.1"} if local else {}
    builder = SparkSession.builder
    for name, value in settings.items():
        builder = builder.config(name, value)
    try:
        with _environment(environment):
            spark = builder.getOrCreate()
    except Exception as error:
        _close_gateway()
        shutil.rmtree(scratch, ignore_errors=True)
        raise MachineError(
            f"Spark at {master} did not start with {java.path} (Java {java.version}) and {memory} of memory: "
            f"{first_line(error)}"
        ) from error
    _remember(spark._jvm)
    spark.sparkContext.setCheckpointDir(f"{scratch}/checkpoints")
    return spark


def stop(spark: SparkSession) -> None:
    """Stop Spark, end its JVM and remove its scratch folder."""
    scratch = spark.conf.get("spark.local.dir")
    spark.stop()
    _close_gateway()
    if scratch:
        shutil.rmtree(scratch, ignore_errors=True)


def _close_gateway() -> None:
    """End the JVM: `SparkSession.stop` leaves it running, with its heap, for a next session of the process."""
    gateway: Any = SparkContext._gateway
    if gateway is None:
        return
    gateway.shutdown()
    if (process := getattr(gateway, "proc", None)) is not None:
        process.stdin.close()
        process.wait(timeout=30)
    SparkContext._gateway = None
    SparkContext._jvm = None


class _Remembered:
    """A Java class whose static methods are looked up once."""

    def __init__(self, of: Any) -> None:
        self._of = of

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._of, name)
        setattr(self, name, found)
        return found


def _remember(jvm: Any) -> None:
    """Keep what pyspark asks the JVM for at every column: it looks through all jars for such a name."""
    for name in ("functions", "PythonUtils"):
        setattr(jvm, name, _Remembered(getattr(jvm, name)))
    for name in ("SparkSession", "SparkSession$", "org"):
        setattr(jvm, name, getattr(jvm, name))


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """The launcher of pyspark reads the environment only; put back afterwards."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def first_line(error: BaseException) -> str:
    """What a Spark or JVM error says, without its stack: the deepest cause's first line."""
    text = str(error)
    causes = re.findall(r"^(?:: |Caused by: )?[\w.$]+(?:Exception|Error): (.+)$", text, flags=re.M)
    lines = [line.strip() for line in [*reversed(causes), *text.splitlines()] if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn what Spark and its JVM raise into one line of ours: a full disk or memory, else an unreadable source."""
    try:
        yield
    except (Py4JJavaError, PySparkException) as error:
        text = str(error)
        if "No space left on device" in text:
            raise MachineError(f"{what}: the disk is full; free some space and run again") from error
        if "OutOfMemoryError" in text:
            raise MachineError(f"{what}: Spark ran out of memory; raise the memory that Spark may use") from error
        raise SourceError(f"{what}: {first_line(error)}") from error


@contextmanager
def interpreted(spark: SparkSession, wanted: bool) -> Iterator[None]:
    """Have expressions evaluated as they are rather than compiled to Java first, if `wanted`, within the block."""
    before: dict[str, str | None] = {name: spark.conf.get(name, None) for name in INTERPRETED}
    try:
        for name, value in INTERPRETED.items() if wanted else ():
            spark.conf.set(name, value)
        yield
    finally:
        for name, old in before.items():
            spark.conf.unset(name)
            if old is not None:
                spark.conf.set(name, old)


def location(draft: Draft, table: str) -> str:
    """The URI under which Spark writes a draft's table."""
    return spark_uri(draft.filesystem, draft.location(table))


def splitting(spark: SparkSession) -> SparkSession:
    """A session of the same Spark that reads a file by many tasks, for formats whose rows know their numbers."""
    other = spark.newSession()
    for name in ONE_TASK_A_FILE:
        other.conf.unset(name)
    other.conf.set("spark.sql.files.maxPartitionBytes", SPLIT)
    other.conf.set("spark.sql.files.openCostInBytes", "1m")
    return other


def of_session(spark: SparkSession, frame: DataFrame) -> DataFrame:
    """The same frame among those of this session; its files are read as its own session was told."""
    plan = frame._jdf.queryExecution().analyzed()
    return DataFrame(spark._jvm.org.apache.spark.sql.Dataset.ofRows(spark._jsparkSession, plan), spark)  # type: ignore[union-attr]


def conform(frame: DataFrame, schema: pa.Schema) -> DataFrame:
    """The columns of an Arrow schema, in its order and types: what a transform ends in."""
    return frame.select(*[F.col(f.name).cast(from_arrow_type(f.type)).alias(f.name) for f in schema])


def arrow_field(name: str, type_: DataType) -> pa.Field:
    """The Arrow field of a Spark column; timestamps are instants in microseconds, UTC."""
    return pa.field(name, to_arrow_type(type_))


def kept(frame: DataFrame) -> DataFrame:
    """A frame that is computed once and then kept, with a plan of its own.

    `DataFrame.cache` leaves the whole plan below in every later one, and Spark compares each of their parts with
    each cached plan: with some twenty kept frames that took longer than the work.
    Its columns are its own too: a checkpoint's are those of the frame below, and Spark fails to join two unions
    whose parts come from one frame, depending on their order.
    """
    own = frame.localCheckpoint(eager=False)
    return own.select(*[F.col(f"`{name}`").alias(name) for name in own.columns])


def packed(frame: DataFrame) -> DataFrame:
    """In as many parts as there are tasks at once: a union has the parts of all its frames, and each costs a task."""
    return frame.coalesce(frame.sparkSession.sparkContext.defaultParallelism)


def carried(lookup: DataFrame, rows: int) -> DataFrame:
    """A lookup that joins bring to the rows where it is small, so that no row is moved and sorted to meet its entry."""
    return F.broadcast(lookup) if rows <= SMALL else lookup


def graph_frame(vertices: DataFrame, edges: DataFrame) -> Any:
    """A GraphFrame of vertices (``id``) and edges (``src``, ``dst``)."""
    from graphframes import GraphFrame

    return GraphFrame(vertices, edges)


def write(draft: Draft, table: str, frame: DataFrame) -> None:
    """Write a frame as a draft's table; the caller has `Draft.adopt` check it against its schema."""
    frame.write.mode("overwrite").option("compression", "zstd").parquet(location(draft, table))


def write_split(draft: Draft, frame: DataFrame, column: str) -> list[str]:
    """Write one frame as many tables, in one job: `column` names each row's table and is not written.

    Returns the tables that got rows; the caller has `Draft.adopt` check each.
    """
    scratch = f"split-{uuid.uuid4().hex}"
    rows = frame.withColumn("_part", F.regexp_replace(column, "/", ":")).drop(column)
    # One file a table and not one of every task.
    rows.repartition("_part").write.partitionBy("_part").option("compression", "zstd").parquet(location(draft, scratch))
    return sorted(_move_parts(draft, scratch))


def _move_parts(draft: Draft, scratch: str) -> Iterator[str]:
    from pyarrow.fs import FileSelector

    root = f"{draft.path}/{scratch}"
    for info in draft.filesystem.get_file_info(FileSelector(root)):
        if info.base_name.startswith("_part="):
            table = info.base_name.removeprefix("_part=").replace("%3A", "/").replace(":", "/")
            draft.filesystem.move(info.path, draft.location(table))
            yield table
    draft.filesystem.delete_dir(root)
