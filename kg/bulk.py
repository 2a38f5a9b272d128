"""The first load of an empty local database through `neo4j-admin database import`.

It leaves the very graph that `kg.load` would: the same nodes, relationships, properties, hashes, marker and output.
"""

import uuid
from concurrent.futures import ThreadPoolExecutor
from functools import reduce

import pyarrow as pa
import pyarrow.compute as pc

from kg import cypher_load
from kg.bulk_files import ImportFiles, write_files
from kg.diff import diff
from kg.errors import StoreError
from kg.existing_config import is_existing
from kg.graph_state import holds
from kg.load_changes import write_changes
from kg.load_check import check_rows, check_schemas, columns_of, tables_of
from kg.load_record import Account, finish
from kg.load_state import STATE, State, write_state
from kg.schema import EdgeType
from kg.server import LocalServer
from kg.store import Progress, Store, silent
from kg.tables import Draft, Output
from kg.values import to_wire

WORTH = 200_000
"""Nodes and relationships from which on an import pays: it stops and starts the server."""
BATCH = 10_000


def bulk_load(
    server: LocalServer, tables: Output, draft: Draft, project: str, progress: Progress = silent, hops: int = 2
) -> None:
    """Make the server's database anew from the output of stage `tables`; the server runs afterwards.

    The draft gets what `kg.load.load` gives it; `hops` as in its options.

    Only for a database that holds nothing (`is_empty`). Raises `ContractError` for tables that break
    their contract or that the importer cannot take, and `StoreError` for what it or a constraint refuses; the database
    is then empty, and `kg.load` may try. Killed anywhere, the next start of the server finds an empty database.
    The draft is empty again where this fails.
    """
    check_schemas(tables)
    try:
        _import(server, tables, draft, project, progress, hops)
    except BaseException:
        _clear(draft)
        raise


def _import(server: LocalServer, tables: Output, draft: Draft, project: str, progress: Progress, hops: int) -> None:
    nothing = State(draft.filesystem, draft.path)
    with ThreadPoolExecutor(1) as pool, server.import_files() as folder:
        checked = pool.submit(check_rows, tables, set(tables_of(tables)))
        state = _state(tables, draft)
        files = write_files(tables, state, folder, progress)
        checked.result()
        diffs = {table: diff(table, state, nothing) for table in state.rows}
        _check_empty(server)
        changes = pool.submit(write_changes, draft, tables, state, {}, diffs, hops)
        server.import_graph(*files.arguments())
        try:
            changes.result()
            with Store(server.start()) as store:
                store.claim(project)
                store.ensure_unique(table.removeprefix("nodes/") for table in tables.tables("nodes/"))
                _set_left(store, files)
                if wrong := holds(store, state.rows):
                    raise StoreError(f"{wrong}: Neo4j does not hold {state.rows[wrong]} rows of it after the import")
                finish(store, draft, tables, uuid.uuid4().hex, state, _accounts(tables))
        except BaseException:
            server.drop_import()
            raise
        server.keep_import()


def _clear(draft: Draft) -> None:
    """Leave nothing of a failed import to the load that follows it."""
    draft.filesystem.delete_dir_contents(draft.path, missing_dir_ok=True)
    for content in (draft.tables, draft.files, draft.meta, draft.figures):
        content.clear()


def _check_empty(server: LocalServer) -> None:
    """Nothing that others wrote while the files were made is to be lost."""
    if server.status().running:
        with Store(server.connection()) as store:
            if not is_empty(store):
                raise StoreError(f"the Neo4j in {server.home} is not empty any more: did others write?")


def _state(tables: Output, draft: Draft) -> State:
    """What the graph will hold, written into the draft as every load does."""
    state = State(draft.filesystem, draft.location(STATE.rstrip("/")))
    for table in tables_of(tables):
        state.rows[table], state.digests[table] = write_state(tables, draft, table)
    return state


def _accounts(tables: Output) -> dict[str, Account]:
    """All nodes and relationships are new; a row of features counts where it sets something."""
    found = {}
    for table in tables_of(tables):
        rows = tables.manifest.tables[table]
        if table.startswith("features/"):
            values = tables.read(table, list(columns_of(tables, table)))
            empty = reduce(pc.and_, [column.is_null() for column in values.columns])
            updated = rows - int(pc.sum(empty).as_py() or 0)
            found[table] = Account(rows, updated=updated, unchanged=rows - updated)
        else:
            found[table] = Account(rows, created=rows)
    return found


def _set_left(store: Store, files: ImportFiles) -> None:
    """Set the values that the importer's files could not hold, such as empty lists."""
    for (table, name), batches in files.left.items():
        for batch in batches:
            names = batch.schema.names
            rows = [list(row) for row in zip(*(to_wire(batch[column]) for column in names), strict=True)]
            query = _set_one(table, name, batch.schema.field(name).type)
            parts = (rows[start : start + BATCH] for start in range(0, len(rows), BATCH))
            if (done := store.write(query, parts).returned) != len(rows):
                raise StoreError(f"{table}: {len(rows)} values of {name} were to be set but {done} were")


def _set_one(table: str, column: str, type_: pa.DataType) -> str:
    kind, _, name = table.partition("/")
    if kind == "nodes":
        return cypher_load.set_node_property(name, column, type_)
    return cypher_load.set_relationship_property(EdgeType.parse(name), column, type_)


def pays(tables: Output) -> bool:
    """Whether a graph is large enough to be imported rather than loaded online, and none of it exists already."""
    if any(is_existing(tables.manifest.meta, table) for table in tables_of(tables)):
        return False
    held = ("nodes/", "relationships/")
    return sum(rows for table, rows in tables.manifest.tables.items() if table.startswith(held)) >= WORTH


def is_empty(store: Store) -> bool:
    """Whether nothing would be lost if the database were made anew: no nodes but our marker, no schema of others."""
    return store.value(cypher_load.COUNT_NODES) == 0 and store.value(cypher_load.COUNT_INDEXES) == 0
