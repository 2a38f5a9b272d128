"""What the tables must fulfil before a row of them is written: whatever breaks it leaves the graph as it was."""

from collections.abc import Collection, Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from kg import cypher, cypher_load
from kg.cypher_existing import EVENT_MARKS
from kg.errors import ContractError, UnknownIdError
from kg.existing_config import is_existing
from kg.schema import ENDS, KEY, ROW_ID, EdgeType
from kg.tables import Output
from kg.values import check_lists, check_types

IDENTITY = {
    "nodes/": (KEY.name,),
    "features/": (KEY.name,),
    "relationships/": (*(end.name for end in ENDS), ROW_ID.name),
}


def identity_of(table: str) -> list[str]:
    """The columns that say which node or relationship a row is."""
    return next(list(names) for prefix, names in IDENTITY.items() if table.startswith(prefix))


def tables_of(tables: Output) -> list[str]:
    """The tables that a graph holds."""
    return [name for prefix in IDENTITY for name in tables.tables(prefix)]


def columns_of(tables: Output, table: str) -> dict[str, pa.DataType]:
    """The columns that become properties, with their types."""
    identity = identity_of(table)
    return {field.name: field.type for field in tables.scan(table).schema if field.name not in identity}


def stored_columns(tables: Output, table: str) -> dict[str, pa.DataType]:
    """The columns that a load writes: of what was in the graph before us, only what queries must find there."""
    columns = columns_of(tables, table)
    if not is_existing(tables.manifest.meta, table):
        return columns
    marks = EVENT_MARKS if table.startswith("relationships/") else ()
    return {name: columns[name] for name in marks if name in columns}


def scan(tables: Output, table: str, rows: int, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """A table in batches of up to `rows` rows, of which few are in memory."""
    # Without limits the scanner reads 16 batches of each of 4 files ahead.
    yield from tables.scan(table).to_batches(columns=columns, batch_size=rows, batch_readahead=2, fragment_readahead=1)


def check_schemas(tables: Output) -> None:
    """Raise `ContractError` for names and types that no graph of ours has; no row is read."""
    labels = tables.manifest.meta["labels"]
    for label in (name.removeprefix("nodes/") for name in tables.tables("nodes/")):
        _check_label(label, labels)
    for table in tables_of(tables):
        _check_columns(tables, table)
        for label in _ends(table).values():
            if f"nodes/{label}" not in tables.manifest.tables:
                raise ContractError(table, f"a table nodes/{label}", f"found {tables.tables('nodes/')}")


def check_rows(tables: Output, changed: Collection[str]) -> None:
    """Raise `ContractError` unless the rows make one graph: unique keys, known ends, lists without nulls.

    Rows are looked at where a table, or that of its ends, is among the `changed` ones.
    """
    keys = _Keys(tables)
    for table in tables_of(tables):
        if table in changed:
            _check_unique(tables, table)
            _check_lists(tables, table)
        for column, label in _ends(table).items():
            if {table, f"nodes/{label}"} & set(changed):
                _check_known(tables, table, column, label, keys[label])


class _Keys(dict[str, pa.Array]):
    """The keys of a label, read when they are asked for."""

    def __init__(self, tables: Output) -> None:
        self._tables = tables

    def __missing__(self, label: str) -> pa.Array:
        self[label] = self._tables.read(f"nodes/{label}", [KEY.name])[KEY.name].combine_chunks()
        return self[label]


def _ends(table: str) -> dict[str, str]:
    """The label of the node that each of a table's columns of keys names."""
    kind, _, name = table.partition("/")
    if kind == "nodes":
        return {}
    if kind == "features":
        return {KEY.name: name}
    edge = EdgeType.parse(name)
    if edge.type == cypher.RECOMMENDED:
        raise ContractError(table, "another name, recommendations are written under this one")
    return {ENDS[0].name: edge.source, ENDS[1].name: edge.target}


def _check_label(label: str, labels: Mapping[str, Mapping[str, str | None]]) -> None:
    if label not in labels:
        raise ContractError(f"nodes/{label}", "a label with a side in the manifest", f"found {sorted(labels)}")
    if label in {cypher.PROJECT, cypher.VERSION, cypher.FORMER_VERSION, cypher_load.BATCH}:
        raise ContractError(f"nodes/{label}", "another name, this label is for records of ours")
    sides = {side: [name for name, of in labels.items() if of["side"] == side] for side in cypher.SIDE_LABELS}
    for side, common in cypher.SIDE_LABELS.items():
        if label == common and sides[side] != [label]:
            raise ContractError(
                f"nodes/{label}", f"another name, this one is common to all {side} labels", f"found {sides[side]}"
            )


def _check_columns(tables: Output, table: str) -> None:
    schema = tables.scan(table).schema
    check_types(table, schema)
    kind, _, name = table.partition("/")
    reserved: set[str] = set()
    if kind == "nodes":
        features = f"features/{name}"
        reserved |= set(cypher.VECTORS)
        reserved |= set(columns_of(tables, features)) if features in tables.manifest.tables else set()
        reserved |= {"domain"} if tables.manifest.meta["labels"][name].get("domain") else set()
    if taken := sorted(reserved & set(schema.names)):
        raise ContractError(table, f"other names for {taken}, which are properties of ours")


def _check_lists(tables: Output, table: str) -> None:
    if names := [field.name for field in tables.scan(table).schema if pa.types.is_list(field.type)]:
        for batch in scan(tables, table, 10_000, names):
            check_lists(table, batch)


def _check_unique(tables: Output, table: str) -> None:
    column = identity_of(table)[-1]
    values = tables.read(table, [column])[column]
    if values.null_count:
        raise ContractError(table, f"a {column} in every row", f"{values.null_count} are null")
    if repeated := len(values) - pc.count_distinct(values).as_py():
        raise ContractError(table, f"each {column} once", f"{repeated} are repeated")


def _check_known(tables: Output, table: str, column: str, label: str, keys: pa.Array) -> None:
    found = tables.read(table, [column])[column].unique()
    unknown = found.filter(pc.invert(pc.is_in(found, value_set=keys)))
    if len(unknown):
        raise UnknownIdError(table, f"each {column} to be a key of {label}", f"first unknown {unknown[0].as_py()!r}")
