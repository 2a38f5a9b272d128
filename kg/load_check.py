"""What the tables must fulfil before a row of them is written: whatever breaks it leaves the graph as it was."""

from collections.abc import Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from kg import cypher
from kg.errors import ContractError, UnknownIdError
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


def columns_of(tables: Output, table: str) -> dict[str, pa.DataType]:
    """The columns that become properties, with their types."""
    identity = identity_of(table)
    return {field.name: field.type for field in tables.scan(table).schema if field.name not in identity}


def scan(tables: Output, table: str, rows: int, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """A table in batches of up to `rows` rows, of which few are in memory."""
    # Without limits the scanner reads 16 batches of each of 4 files ahead.
    yield from tables.scan(table).to_batches(columns=columns, batch_size=rows, batch_readahead=2, fragment_readahead=1)


def check_tables(tables: Output) -> None:
    """Raise `ContractError` unless the tables make one graph: names, types, unique keys, known ends."""
    labels = tables.manifest.meta["labels"]
    for label in (name.removeprefix("nodes/") for name in tables.tables("nodes/")):
        _check_label(label, labels)
    for table in (name for prefix in IDENTITY for name in tables.tables(prefix)):
        _check_columns(tables, table)
    keys = {name.removeprefix("nodes/"): _unique(tables, name, KEY.name) for name in tables.tables("nodes/")}
    for table in tables.tables("relationships/"):
        _unique(tables, table, ROW_ID.name)
        edge = EdgeType.parse(table.removeprefix("relationships/"))
        if edge.type == cypher.RECOMMENDED:
            raise ContractError(table, "another name, recommendations are written under this one")
        _check_known(tables, table, "from_key", edge.source, keys)
        _check_known(tables, table, "to_key", edge.target, keys)
    for table in tables.tables("features/"):
        _check_known(tables, table, KEY.name, table.removeprefix("features/"), keys)


def _check_label(label: str, labels: Mapping[str, Mapping[str, str | None]]) -> None:
    if label not in labels:
        raise ContractError(f"nodes/{label}", "a label with a side in the manifest", f"found {sorted(labels)}")
    if label in {cypher.PROJECT, cypher.VERSION, cypher.FORMER_VERSION}:
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
    if lists := [field.name for field in schema if pa.types.is_list(field.type)]:
        for batch in scan(tables, table, 10_000, lists):
            check_lists(table, batch)


def _unique(tables: Output, table: str, column: str) -> pa.Array:
    values = tables.read(table, [column])[column].combine_chunks()
    if values.null_count:
        raise ContractError(table, f"a {column} in every row", f"{values.null_count} are null")
    if repeated := len(values) - pc.count_distinct(values).as_py():
        raise ContractError(table, f"each {column} once", f"{repeated} are repeated")
    return values


def _check_known(tables: Output, table: str, column: str, label: str, keys: Mapping[str, pa.Array]) -> None:
    if label not in keys:
        raise ContractError(table, f"a table nodes/{label}", f"found {sorted(keys)}")
    found = tables.read(table, [column])[column].unique()
    unknown = found.filter(pc.invert(pc.is_in(found, value_set=keys[label])))
    if len(unknown):
        raise UnknownIdError(table, f"each {column} to be a key of {label}", f"first unknown {unknown[0].as_py()!r}")
