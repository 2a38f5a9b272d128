"""Key expressions over raw records, by Spark: what a quarantined or landed row names, as ingest would see it."""

from collections.abc import Sequence
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from kg.expressions import Expressions
from kg.id_columns import as_text


def evaluate(spark: SparkSession, expression: str, records: Sequence[dict[str, Any]]) -> list[list[str]]:
    """The values of an expression over each record, as strings; a column that no record has is null."""
    columns = sorted({name for record in records for name in record if not name.startswith("_")})
    rows = [(number, *(as_text(record.get(name)) for name in columns)) for number, record in enumerate(records)]
    fields = [T.StructField("_row", T.LongType()), *(T.StructField(name, T.StringType()) for name in columns)]
    read = Expressions(spark.createDataFrame(rows, T.StructType(fields)), "forget", absent=True)
    read.add("_key", expression, "key", "string")
    found: list[list[str]] = [[] for _ in records]
    for number, key in read.frame.where(F.col("_key").isNotNull()).select("_row", "_key").collect():
        found[number].append(key)
    return found
