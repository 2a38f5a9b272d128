"""The same Parquet tables by Neo4j's Spark connector, as its documentation advises."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from kg.jars import default_cache, ivy_command
from kg.java import find_java
from kg.server_home import Connection
from kg.spark import session
from kg.tables import Output
from tests.benchmarks.graph_data import EDGE, TYPE

SOURCE = "org.neo4j.spark.DataSource"
POM = Path(__file__).with_name("connector.pom.xml")
BATCH = 20_000


def connector_jars(cache: Path) -> list[Path]:
    """The connector's jar, fetched by Maven or else by Ivy the first time."""
    folder = cache / "benchmarks" / "spark-connector"
    if not list(folder.glob("*.jar")):
        folder.mkdir(parents=True, exist_ok=True)
        if maven := shutil.which("mvn"):
            options = [f"-DoutputDirectory={folder}", "-DincludeScope=provided"]
            subprocess.run([maven, "-q", "-B", "-f", POM, "dependency:copy-dependencies", *options], check=True)
        else:
            command = ivy_command(find_java(), "", folder, cache / "ivy")
            command[command.index("-ivy") + 1] = str(POM)
            subprocess.run(command, check=True)
    return sorted(folder.rglob("neo4j-connector*.jar"))


@contextmanager
def connector_session(folder: Path) -> Iterator[SparkSession]:
    """A Spark session with the connector."""
    with session(find_java(), connector_jars(default_cache()), memory="3g") as spark:
        # Started once before, so that its first job's start is not counted.
        spark.range(1).count()
        yield spark


def connector_load(spark: SparkSession, tables: Output, connection: Connection, mode: str) -> float:
    """Write nodes, then relationships; seconds. `mode` is Append (CREATE) or Overwrite (MERGE)."""
    begun = time.perf_counter()
    for name, labels in (("User", ":User"), ("Product", ":Product:Item")):
        frame = spark.read.parquet(f"file://{tables.location(f'nodes/{name}')}")
        # Without its constraint on the type of every property; properties that are null everywhere are no columns.
        options = {"labels": labels, "node.keys": "key"}
        _write(frame.drop("text", "image"), connection, mode, options)
    frame = spark.read.parquet(f"file://{tables.location(f'relationships/{EDGE}')}")
    properties = [name for name in frame.columns if name not in ("from_key", "to_key")]
    options = {
        "relationship": TYPE,
        "relationship.save.strategy": "keys",
        "relationship.source.save.mode": "Match",
        "relationship.source.labels": ":User",
        "relationship.source.node.keys": "from_key:key",
        "relationship.target.save.mode": "Match",
        "relationship.target.labels": ":Product",
        "relationship.target.node.keys": "to_key:key",
        "relationship.properties": ",".join(properties),
    }
    if mode == "Overwrite":
        options["relationship.keys"] = "row_id"
    _write(frame.select(*[F.col(name) for name in frame.columns]).coalesce(1), connection, mode, options)
    return time.perf_counter() - begun


def _write(frame: DataFrame, connection: Connection, mode: str, options: dict[str, str]) -> None:
    shared = {
        "url": connection.uri,
        "authentication.type": "basic",
        "authentication.basic.username": connection.user,
        "authentication.basic.password": connection.password,
        "batch.size": str(BATCH),
    }
    frame.write.format(SOURCE).mode(mode).options(**shared, **options).save()
