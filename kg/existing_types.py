"""What the properties of a user's graph become as columns: each column has one type, whatever its values' types are.

Neo4j keeps a type with each value. Values of one type stay what they are; integers among floats become floats;
any other mixture, and times of day, durations and points, which no column holds, become text.
"""

import re
from collections.abc import Collection

import pyarrow as pa

from kg.cypher import quote
from kg.schema import INSTANT
from kg.values import out_of

ELEMENT = pa.field("_element", pa.int64(), nullable=False)
"""The number of a row's node or relationship within the database."""
KINDS = {
    "BOOLEAN": pa.bool_(),
    "INTEGER": pa.int64(),
    "FLOAT": pa.float64(),
    "STRING": pa.string(),
    "DATE": pa.date32(),
    "ZONED DATETIME": INSTANT,
    "LOCAL DATETIME": pa.timestamp("us"),
}
NUMBERS = {"INTEGER", "FLOAT"}
_LIST = re.compile(r"LIST<(.+)>")


def kind_of(value_type: str) -> tuple[str, bool]:
    """The kind of a value or of its elements, by what ``valueType()`` says of it, and whether it is a list."""
    bare = value_type.removesuffix(" NOT NULL")
    found = _LIST.fullmatch(bare)
    return (found[1].removesuffix(" NOT NULL"), True) if found else (bare, False)


def column_type(value_types: Collection[str]) -> pa.DataType:
    """The type of a property's column, from all that ``valueType()`` says of its values."""
    found = {kind_of(value_type) for value_type in value_types}
    kinds = {kind for kind, _ in found if kind != "NOTHING"}
    listed = any(is_list for _, is_list in found)
    inner = KINDS.get(next(iter(kinds)), pa.string()) if len(kinds) == 1 else pa.string()
    if kinds == NUMBERS:
        inner = pa.float64()
    if listed and len({is_list for _, is_list in found}) > 1:
        inner = pa.string()  # a list here, a single value there: a list of texts everywhere
    return pa.list_(inner) if listed else inner


def expression(variable: str, name: str, value_types: Collection[str]) -> str:
    """Cypher for a property's value as it travels to a column of `column_type`."""
    value, type_ = f"{variable}.{quote(name)}", column_type(value_types)
    found = {kind_of(value_type) for value_type in value_types}
    kinds = {kind for kind, _ in found if kind != "NOTHING"}
    if pa.types.is_list(type_):
        whole = value if all(is_list for _, is_list in found) else f"[x IN [{value}] | x]"
        if len({is_list for _, is_list in found}) > 1:
            whole = f"CASE WHEN {value} IS :: LIST<ANY> THEN {value} WHEN {value} IS NOT NULL THEN [{value}] END"
        if pa.types.is_string(type_.value_type) and kinds != {"STRING"}:
            return f"[x IN {whole} | toString(x)]"
        # Made anew element by element: the driver gives bytes as bytes, not as the integers that they are.
        made = out_of(whole, type_)
        return f"[x IN {made} | x]" if made == whole else made
    if pa.types.is_string(type_) and kinds != {"STRING"}:
        return f"toString({value})"
    return f"toFloat({value})" if kinds == NUMBERS else out_of(value, type_)
