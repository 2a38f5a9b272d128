"""A source's contract, checked on its raw rows: what fails is quarantined before any mapping sees it.

Each check is a column that is true where a row fails, under the name that becomes the reason. A row that cannot be
read, or that repeats an earlier one, is not checked.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import reduce

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql import types as T

from kg.contract_config import ColumnContract, Contract
from kg.errors import ConfigError, SourceError
from kg.expressions import INTEGERS, Expressions
from kg.mapping import blank
from kg.source_rows import MALFORMED, Rows
from kg.spark import first_line, kept

Check = tuple[str, Column]
SPARK_TYPES = {"int": "bigint"}
FRACTIONS = T.DoubleType | T.FloatType | T.DecimalType
INTEGER_TEXT = r"^\s*[+-]?\d+\s*$"
NUMBER_TEXT = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"


def check_rows(rows: Rows, contract: Contract, others: Mapping[str, Rows]) -> Rows:
    """The rows with the first broken promise of each as its ``_malformed``; `others` are what references look into.

    A reference to a source that is not among `others` is not checked. Raises `SourceError` for a column that is not
    there and `ConfigError` for bad SQL or a bad pattern, each with its place in the project file.
    """
    place = f"sources.{rows.name}.contract"
    if unknown := [name for name in contract.columns if name not in rows.columns]:
        raise SourceError(f"{place}.columns.{unknown[0]}: no column {unknown[0]!r}; the columns are {rows.columns}")
    read = Expressions(rows.frame, place)
    checks = [check for name, column in contract.columns.items() for check in _column(rows.frame, place, name, column)]
    for name, text in contract.rules.items():
        holds = read.value(text, f"rules.{name}", "boolean").column
        checks.append((f"rule:{name}", ~holds))
    rows = replace(rows, frame=_refuse(rows.frame, checks))
    rows = _references(rows, contract, others, place)
    return replace(rows, frame=reduce(_unique, [n for n, c in contract.columns.items() if c.unique], rows.frame))


def _refuse(frame: DataFrame, checks: list[Check]) -> DataFrame:
    """Note the first check that a row fails, unless it is refused already or repeats another."""
    if not checks:
        return frame
    reason = F.coalesce(*[F.when(F.coalesce(fails, F.lit(False)), F.lit(name)) for name, fails in checks])
    return frame.withColumn(MALFORMED, F.when(_checked(), reason).otherwise(F.col(MALFORMED)))


def _checked() -> Column:
    return F.col(MALFORMED).isNull() & ~F.col("_duplicate")


def _column(frame: DataFrame, place: str, name: str, wanted: ColumnContract) -> list[Check]:
    """The checks that a row's own value of a column decides."""
    found = frame.schema[name].dataType
    value = F.col(f"`{name}`")
    text, missing = value.cast("string"), _missing(value, found)
    checks = [(f"null:{name}", missing)] if not wanted.nullable else []

    def add(kind: str, holds: Column) -> None:
        checks.append((f"{kind}:{name}", ~missing & ~F.coalesce(holds, F.lit(False))))

    kind = wanted.type or "double"
    typed = _typed(value, found, kind)
    if wanted.type:
        add("type", typed.isNotNull())
    for bound, inside in ((wanted.min, typed.__ge__), (wanted.max, typed.__le__)):
        if bound is not None:
            add("range", _inside(inside, bound, kind, f"{place}.columns.{name}", frame))
    if wanted.pattern:
        _check_pattern(frame, wanted.pattern, f"{place}.columns.{name}.pattern")
        add("pattern", text.rlike(rf"\A(?:{wanted.pattern})\z"))
    if wanted.values:
        as_type = SPARK_TYPES.get(str(wanted.type), wanted.type or "string")
        known = [F.lit(str(v).lower() if isinstance(v, bool) else str(v)).cast(as_type) for v in wanted.values]
        add("values", (typed if wanted.type else text).isin(*known))
    return checks


def _missing(value: Column, found: T.DataType) -> Column:
    """Null, or a text of blanks: nothing, as for keys."""
    return blank(value) if isinstance(found, T.StringType) else value.isNull()


def _typed(value: Column, found: T.DataType, kind: str) -> Column:
    """A value as a contract's type, null where it is none of it."""
    typed = value.cast(SPARK_TYPES.get(kind, kind))
    if kind == "int" and isinstance(found, FRACTIONS):
        return F.when(value == F.floor(value), typed)
    if kind == "int" and not isinstance(found, INTEGERS):
        return F.when(value.cast("string").rlike(INTEGER_TEXT), typed)
    if kind == "double" and isinstance(found, FRACTIONS):
        return F.when(~F.isnan(typed), typed)
    if kind == "double" and not isinstance(found, INTEGERS):
        return F.when(value.cast("string").rlike(NUMBER_TEXT), typed)
    return typed


def _inside(
    inside: Callable[[Column], Column], bound: int | float | str, kind: str, place: str, frame: DataFrame
) -> Column:
    """Whether the value is on the right side of a bound; a text that is no date or time is an error."""
    if isinstance(bound, str):
        column = F.lit(bound).cast(kind)
        [(read,)] = frame.sparkSession.range(1).select(column).collect()
        if read is None:
            raise ConfigError(f"{place}: expected a {kind} as a bound (found {bound!r})")
        return inside(column)
    return inside(F.lit(bound))


def _check_pattern(frame: DataFrame, pattern: str, place: str) -> None:
    """Have Java compile a pattern, for Spark would fail at the first row."""
    jvm = frame.sparkSession.sparkContext._jvm
    assert jvm is not None
    try:
        jvm.java.util.regex.Pattern.compile(pattern)
    except (Py4JJavaError, PySparkException) as error:
        cause = first_line(error).rstrip(".")
        raise ConfigError(f"{place}: {pattern!r} is no regular expression of Java: {cause}") from error


def _references(rows: Rows, contract: Contract, others: Mapping[str, Rows], place: str) -> Rows:
    """Refuse the rows with a value that is not among the good rows of the source that a column refers to."""
    own = {rows.name: rows} if rows.name in {source for source, _ in contract.references.values()} else {}
    if own:
        rows = own[rows.name] = replace(rows, frame=kept(rows.frame))
    for name, (source, column) in contract.references.items():
        if (other := {**others, **own}.get(source)) is None:
            continue
        if column not in other.columns:
            raise SourceError(
                f"{place}.columns.{name}.references: no column {column!r}; the columns of {source} are {other.columns}"
            )
        known = other.good.select(F.col(f"`{column}`").cast("string").alias("_known")).where("_known is not null")
        value = F.col(f"`{name}`")
        joined = rows.frame.join(known.distinct(), value.cast("string") == F.col("_known"), how="left")
        lost = ~_missing(value, rows.frame.schema[name].dataType) & F.col("_known").isNull()
        rows = replace(rows, frame=_refuse(joined, [(f"reference:{name}", lost)]).drop("_known"))
    return rows


def _unique(frame: DataFrame, name: str) -> DataFrame:
    """Refuse all but the first of the rows that are good so far and share a value."""
    value = F.col(f"`{name}`")
    counted = _checked() & ~_missing(value, frame.schema[name].dataType)
    # Rows that do not count are each their own: in one part they would be one task's work.
    apart = F.when(~counted, F.col("_position"))
    nth = F.row_number().over(Window.partitionBy(value.cast("string"), apart).orderBy("_position"))
    numbered = frame.withColumn("_nth", nth)
    return _refuse(numbered, [(f"unique:{name}", counted & (F.col("_nth") > 1))]).drop("_nth")
