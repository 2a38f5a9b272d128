"""Rows of what is in the user's Neo4j already, in Spark; and which node or relationship a row of a table stands for."""

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from kg.existing_types import ELEMENT
from kg.locations import File, for_spark
from kg.mapping import Mapped, filled
from kg.project import Relationship
from kg.schema import ENDS, KEY, ROW_ID
from kg.source_config import Source
from kg.source_rows import MALFORMED, column_names
from kg.spark import conform

NODE_PLACE = pa.schema([KEY, pa.field("element", pa.int64(), nullable=False)])
"""``places/nodes/<Label>``: the number of each node within the user's database."""
RELATIONSHIP_PLACE = pa.schema([ROW_ID, *ENDS, pa.field("element", pa.int64(), nullable=False)])
"""``places/relationships/<name>``: that of the one relationship which stands for all that became the row."""


def read_existing(spark: SparkSession, name: str, source: Source, files: list[File]) -> DataFrame:
    """Rows of one label or type; a row's number is that of its node or relationship within the database."""
    [file] = files
    frame = spark.read.parquet(for_spark(file.path))
    found = [column for column in frame.columns if column != ELEMENT.name]
    names = column_names(name, found, source.rename)
    columns = [F.col(f"`{old}`").alias(new) for old, new in zip(found, names, strict=True)]
    number = F.col(ELEMENT.name)
    rows = frame.select(F.lit(file.name).alias("_file"), number.alias("_row"), number.alias("_position"), *columns)
    none = F.lit(None).cast("string")
    return rows.withColumns({MALFORMED: none, "_raw": none})


def node_places(nodes: DataFrame) -> DataFrame:
    """`NODE_PLACE` of merged rows."""
    return conform(nodes.withColumn("element", F.col("_row")), NODE_PLACE)


def relationship_places(rows: DataFrame, mapped: Mapped, part: Relationship) -> DataFrame:
    """`RELATIONSHIP_PLACE` of accepted rows with their ``row_id``: the last event, or the row whose values are kept."""
    if part.interaction:
        best = [F.col("time").desc_nulls_last(), F.col("_position").desc()]
    else:
        best = [filled(field.name for field in mapped.properties).desc(), F.col("_position").asc()]
    nth = F.row_number().over(Window.partitionBy("row_id", "from_key", "to_key").orderBy(*best))
    first = rows.withColumn("_nth", nth).where("_nth = 1")
    return conform(first.withColumn("element", F.col("_row")), RELATIONSHIP_PLACE)
