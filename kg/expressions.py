"""The project file's SQL expressions, evaluated over a source's rows with errors that name the place."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pyspark.errors import AnalysisException, ParseException
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from kg.errors import ConfigError, SourceError
from kg.source_rows import PROVENANCE
from kg.spark import first_line

# What in Spark's expression trees turns a value of one type into another and may fail; implicit casts are `Cast`s.
CONVERSIONS = {"Cast", "ParseToDate", "ParseToTimestamp", "GetTimestamp", "ToNumber", "TryToNumber", "ToUnixTimestamp"}
INTEGERS = T.ByteType | T.ShortType | T.IntegerType
SCALARS = T.StringType | T.LongType | T.DoubleType | T.BooleanType | T.DateType | T.TimestampType


@dataclass(frozen=True)
class Value:
    """An expression over a frame: its column, its type, and whether a conversion in it lost a non-null value."""

    column: Column
    type: T.DataType
    lost: Column


class Expressions:
    """Evaluates expressions over one frame. Unknown columns are null where a joined source is absent."""

    def __init__(self, frame: DataFrame, place: str, absent: bool = False) -> None:
        """`place` is where in the project file the expressions stand, for messages."""
        self.frame, self.place, self.absent = frame, place, absent

    @property
    def columns(self) -> list[str]:
        """The columns that expressions may name."""
        return [c for c in self.frame.columns if c not in PROVENANCE and not c.startswith("_")]

    def value(self, text: str, field: str, cast: str | None = None) -> Value:
        """An expression, cast if asked. Raises `ConfigError` for bad SQL and `SourceError` for unknown columns."""
        column, analysed = self._analyse(text, field, cast)
        type_ = analysed.schema[0].dataType
        lost = [_lost(node) for node in _conversions(_tree(analysed))]
        any_lost = F.lit(False)
        for condition in lost:
            any_lost = any_lost | condition
        return Value(column, type_, F.coalesce(column.isNull() & any_lost, F.lit(False)))

    def add(self, name: str, text: str, field: str, cast: str | None = None) -> None:
        """Add an expression's value to the frame as a column; `explode(…)` multiplies the rows."""
        column, _ = self._analyse(text, field, None)
        self.frame = self.frame.withColumn(name, column)
        if cast:
            self.frame = self.frame.withColumn(name, F.col(name).cast(cast))

    def property(self, text: str, field: str) -> Value:
        """A value as a property: long, double, string, boolean, date, timestamp, or an array of one of these."""
        value = self.value(text, field)
        stored = stored_type(value.type)
        if stored is None:
            raise SourceError(
                f"{self.place}.{field}: {text!r} is a {value.type.simpleString()}, expected a string, number, boolean, "
                "date, timestamp or an array of one of them"
            )
        return self.value(text, field, stored.simpleString()) if stored != value.type else value

    def _analyse(self, text: str, field: str, cast: str | None) -> tuple[Column, DataFrame]:
        while True:
            try:
                column = F.expr(text)
                column = column.cast(cast) if cast else column
                # Beside another column an aggregate, which would fold all rows into one, is an error.
                return column, self.frame.select(column.alias("value"), "_row")
            except ParseException as error:
                raise ConfigError(
                    f"{self.place}.{field}: {text!r} is no SQL expression: {first_line(error)}"
                ) from error
            except AnalysisException as error:
                unknown = _unknown_column(error)
                if unknown is None:
                    raise ConfigError(f"{self.place}.{field}: {text!r} fails: {first_line(error)}") from error
                if not self.absent:
                    raise SourceError(
                        f"{self.place}.{field}: no column {unknown!r} in {text!r}; the columns are {self.columns}"
                    ) from error
                self.frame = self.frame.withColumn(unknown, F.lit(None).cast("string"))


def _unknown_column(error: AnalysisException) -> str | None:
    if not str(error.getErrorClass()).startswith("UNRESOLVED_COLUMN"):
        return None
    return str((error.getMessageParameters() or {}).get("objectName", "")).replace("`", "")


def stored_type(found: T.DataType) -> T.DataType | None:
    """The type under which a property of a type is stored; None where it cannot be."""
    if isinstance(found, T.ArrayType):
        inner = stored_type(found.elementType)
        return T.ArrayType(inner) if inner is not None and not isinstance(inner, T.ArrayType) else None
    if isinstance(found, INTEGERS):
        return T.LongType()
    if isinstance(found, T.FloatType | T.DecimalType):
        return T.DoubleType()
    if isinstance(found, T.TimestampNTZType):
        return T.TimestampType()
    if isinstance(found, T.NullType | T.VarcharType | T.CharType):
        return T.StringType()
    return found if isinstance(found, SCALARS) else None


def _tree(analysed: DataFrame) -> Any:
    """The Catalyst expression of a frame's only column."""
    return analysed._jdf.queryExecution().analyzed().expressions().head()


def _nodes(expression: Any) -> Iterator[Any]:
    yield expression
    children = expression.children()
    for i in range(children.size()):
        yield from _nodes(children.apply(i))


def _conversions(expression: Any) -> list[Any]:
    """Conversions that can be tested outside their expression: none over a lambda's variable."""
    return [
        node
        for node in _nodes(expression)
        if _class(node) in CONVERSIONS and not any(_class(n) == "NamedLambdaVariable" for n in _nodes(node))
    ]


def _class(expression: Any) -> str:
    return re.sub(r"^.*[.$]", "", expression.getClass().getName())


def _lost(conversion: Any) -> Column:
    """Whether a conversion made null of something (a blank string is nothing)."""
    before, after = _column(conversion.children().apply(0)), _column(conversion)
    return after.isNull() & (F.trim(before.cast("string")) != "")


def _column(expression: Any) -> Column:
    from pyspark import SparkContext

    jvm: Any = SparkContext._jvm
    return Column(jvm.org.apache.spark.sql.Column(expression))
