"""What an expression's value is stored as."""

from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from kg.errors import SourceError
from kg.expressions import Expressions
from kg.spark import arrow_field


@pytest.mark.parametrize(
    ("text", "wanted", "type_"),
    [
        ("price * 1.5", 15.0, pa.float64()),
        ("cast(price as decimal(10, 2))", 10.0, pa.float64()),
        ("array(1.25, 2.5)", [1.25, 2.5], pa.list_(pa.float64())),
        ("cast(price as smallint)", 10, pa.int64()),
        ("float(0.5)", 0.5, pa.float64()),
        ("date '2020-01-02'", date(2020, 1, 2), pa.date32()),
        ("null", None, pa.string()),
    ],
)
def test_a_property_is_stored_as_a_type_that_neo4j_holds(
    spark: SparkSession, text: str, wanted: Any, type_: pa.DataType
) -> None:
    read = Expressions(spark.createDataFrame([(1, 10)], "_row long, price int"), "nodes.A")
    value = read.property(text, "properties.p")
    (found, lost) = read.frame.select(value.column, value.lost).collect()[0]
    assert (found, lost) == (wanted, False)
    assert not isinstance(found, Decimal)
    assert arrow_field("p", value.type).type == type_


def test_a_map_is_no_property(spark: SparkSession) -> None:
    read = Expressions(spark.createDataFrame([(1, 10)], "_row long, price int"), "nodes.A")
    with pytest.raises(SourceError, match=r"nodes\.A\.properties\.p: .*map<string,int>"):
        read.property("map('a', price)", "properties.p")
