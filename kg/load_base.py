"""What a load starts from: the output of the load before, if the graph is still what that one left, else the graph."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass

from pyarrow import fs

from kg.existing_load import existing_tables
from kg.graph_state import holds, read_state
from kg.load_record import Marker, output_id
from kg.load_state import STATE, State, state_digest, write_state
from kg.store import Store
from kg.tables import Draft, Output

EMPTY = "empty"


@dataclass(frozen=True)
class Base:
    """What the graph holds of ours."""

    state: State
    name: str
    """The same for the same state: the load that left it, `EMPTY`, or a name that no other base ever has."""
    output: Output | None = None
    """The load's output, where it is believed."""


def find_base(
    store: Store, marker: Marker, before: Output | None, tables: Output, draft: Draft, plan: Callable[[str], str]
) -> Base:
    """The output `before` if the marker node and the counts agree with it, else what the graph says when it is read.

    `plan` gives the id of the load from a base of some name: where the marker node has it as the one under way, that
    load goes on, and the graph may hold more than its base.
    """
    found = _believed(store, marker, before, draft)
    if found and marker.loading == plan(found.name):
        return found
    if found and marker.loading is None and holds(store, found.state.rows, existing_tables(marker.schema)) is None:
        return found
    state = read_state(store, draft, tables, marker.held.tables())
    return Base(state, uuid.uuid4().hex if any(state.rows.values()) else EMPTY)


def _believed(store: Store, marker: Marker, before: Output | None, draft: Draft) -> Base | None:
    if marker.load is None:
        return Base(State(draft.filesystem, draft.path), EMPTY) if marker.loading else None
    meta = before.manifest.meta if before else {}
    if before is None or (meta.get("load"), meta.get("database")) != (marker.load, store.database_id()):
        return None
    return Base(State.of_output(before), marker.load, before)


def new_state(tables: Output, draft: Draft, base: Base, names: list[str]) -> State:
    """The state that the tables come to, written into the draft; taken over where they are what was loaded before.

    Where the same rows came in another table, perhaps in another order, the state has the order of before.
    """
    state = State(draft.filesystem, draft.location(STATE.rstrip("/")))
    for table in names:
        if _loaded_before(tables, base, table) or _same_rows(tables, base, table):
            _take_over(base.state, draft, table)
            state.rows[table], state.digests[table] = base.state.rows[table], base.state.digests[table]
        else:
            state.rows[table], state.digests[table] = write_state(tables, draft, table)
    return state


def _loaded_before(tables: Output, base: Base, table: str) -> bool:
    """Whether this very table, and all of it, is in the base."""
    if base.output is None or base.output.manifest.meta["output"] != output_id(tables):
        return False
    return base.state.rows.get(table) == tables.manifest.tables[table]


def _same_rows(tables: Output, base: Base, table: str) -> bool:
    rows = base.state.rows.get(table)
    return rows == tables.manifest.tables[table] and state_digest(tables, table) == base.state.digests[table]


def _take_over(state: State, draft: Draft, table: str) -> None:
    target = draft.location(f"{STATE}{table}")
    draft.filesystem.create_dir(target, recursive=True)
    fs.copy_files(
        f"{state.path}/{table}", target, source_filesystem=state.filesystem, destination_filesystem=draft.filesystem
    )
    draft.tables[STATE + table] = state.rows[table]
