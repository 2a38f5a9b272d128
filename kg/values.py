"""Values on their way between Arrow and Neo4j: what may be a property, and how each type travels.

Instants and dates travel as integers since 1970 and are made by Cypher: the driver's own datetime objects cost
80 µs each to send, an integer and its conversion 12 µs (20,000 values, one session).
"""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from kg.errors import ContractError

WANTED = "bool, integer, float, string, binary, date, timestamp in µs, or a list of them"


def check_types(table: str, schema: pa.Schema) -> None:
    """Raise `ContractError` for a column whose type no property of Neo4j has."""
    for field in schema:
        inner = field.type.value_type if pt.is_list(field.type) else field.type
        listed_bytes = inner is not field.type and pt.is_binary(inner)
        if listed_bytes or not (_is_plain(inner) or _is_temporal(inner)):
            raise ContractError(table, f"column {field.name} must be {WANTED}", f"found {field.type}")


def check_lists(table: str, batch: pa.RecordBatch) -> None:
    """Raise `ContractError` for a list with a null element: Neo4j stores no such list."""
    for field, column in zip(batch.schema, batch.columns, strict=True):
        if pt.is_list(field.type) and column.flatten().null_count:
            raise ContractError(
                table, f"lists in column {field.name} must hold no null", "use filter(…, x -> x is not null)"
            )


def to_wire(column: pa.Array) -> list[Any]:
    """A column as the driver takes it; the Cypher of `into` makes properties of it."""
    return column.cast(wire_type(column.type)).to_pylist()


def from_wire(values: Sequence[Any], type_: pa.DataType) -> pa.Array:
    """Values that the Cypher of `out_of` returned, as a column of the type they had."""
    return pa.array(values, wire_type(type_)).cast(type_)


def wire_type(type_: pa.DataType) -> pa.DataType:
    """The type as which values travel: integers for instants (µs) and dates (days), else the type itself."""
    if pt.is_list(type_):
        return pa.list_(wire_type(type_.value_type))
    if pt.is_timestamp(type_):
        return pa.int64()
    return pa.int32() if pt.is_date32(type_) else type_


def into(expression: str, type_: pa.DataType) -> str:
    """Cypher that turns a value as it travels into the property; null stays null."""
    return _convert(expression, type_, _make)


def out_of(expression: str, type_: pa.DataType) -> str:
    """Cypher that turns a property into the value as it travels; null stays null."""
    return _convert(expression, type_, _unmake)


def _convert(expression: str, type_: pa.DataType, scalar: Any) -> str:
    if pt.is_list(type_):
        inner = scalar("x", type_.value_type)
        return expression if inner == "x" else f"[x IN {expression} | {inner}]"
    made: str = scalar(expression, type_)
    nulls_pass = made == expression or (scalar is _unmake and pt.is_timestamp(type_) and type_.tz)
    return made if nulls_pass else f"CASE WHEN {expression} IS NOT NULL THEN {made} END"


def _make(x: str, type_: pa.DataType) -> str:
    if pt.is_timestamp(type_) and type_.tz:
        # 1 µs each, where adding a duration to 1970 takes 2. It takes no nanoseconds below zero.
        second = f"{x} / 1000000 - CASE WHEN {x} % 1000000 < 0 THEN 1 ELSE 0 END"
        return f"datetime.fromEpoch({second}, ({x} % 1000000 + 1000000) % 1000000 * 1000)"
    if pt.is_timestamp(type_):
        # Microseconds alone overflow, unnoticed, 292 years from 1970.
        return f"localdatetime({{year: 1970}}) + duration({{seconds: {x} / 1000000, microseconds: {x} % 1000000}})"
    return f"date({{year: 1970}}) + duration({{days: {x}}})" if pt.is_date32(type_) else x


def _unmake(x: str, type_: pa.DataType) -> str:
    if pt.is_timestamp(type_):
        instant = x if type_.tz else f"datetime({{datetime: {x}, timezone: 'Z'}})"
        # epochSeconds would round towards 1970, so that a moment before it came back up to a second late.
        return f"{instant}.epochMillis * 1000 + {x}.microsecond % 1000"
    return f"duration.inDays(date({{year: 1970}}), {x}).days" if pt.is_date32(type_) else x


def _is_plain(type_: pa.DataType) -> bool:
    tests = (pt.is_boolean, pt.is_signed_integer, pt.is_floating, pt.is_string, pt.is_binary)
    return any(test(type_) for test in tests)


def _is_temporal(type_: pa.DataType) -> bool:
    return bool(pt.is_date32(type_) or (pt.is_timestamp(type_) and type_.unit == "us"))
