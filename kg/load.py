"""Tables to the graph: what changed is written, what vanished is deleted, everything is accounted for.

What changed is found outside the database (`kg.diff`) from what the load before left in its output, or, where that
cannot be believed, from the hashes in the graph itself. It is written in numbered batches, each with an entry in the
ledger in its own transaction (`kg.ledger`), so a killed load goes on where it was. Properties that others add stay.
"""

from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from pydantic import BaseModel, Field

from kg import cypher_load
from kg.diff import Diff, diff
from kg.errors import GraphChangedError
from kg.existing_load import Existing, check_kinds, existing_tables, follow, reported, went
from kg.graph_state import BASE, holds, totals
from kg.ledger import Ledger
from kg.load_base import Base, find_base, new_state
from kg.load_changes import write_changes
from kg.load_check import check_rows, check_schemas, tables_of
from kg.load_record import Held, Marker, finish, output_id, schema_record
from kg.load_refused import without_refused, write_refused
from kg.load_state import State, write_state
from kg.load_steps import Steps
from kg.schema import EdgeType
from kg.schema_change import check_schema, replaced
from kg.store import Progress, Store, silent
from kg.tables import Draft, Output, fingerprint

PLAN = 2
"""Raise it when the same tables and sizes come to other batches: a load that died before then is not continued."""
DRIFTED = "others wrote meanwhile"


class Options(BaseModel, frozen=True, extra="forbid"):
    """How a load goes about it."""

    accept_schema: bool = False
    """Whether labels whose key changed, or that were renamed, may lose what they hold."""
    max_refused: float = Field(0.2, ge=0, le=1)
    """The share of a table's rows that Neo4j may refuse."""
    hops: int = Field(3, ge=0)
    """How far from a change a node is affected: the network's layers and one more."""
    node_rows: int = Field(10_000, ge=1)
    """Rows a batch: what a transaction holds, and what a kill costs."""
    edge_rows: int = Field(5_000, ge=1)


DEFAULTS = Options()


def load(
    store: Store,
    tables: Output,
    draft: Draft,
    project: str,
    progress: Progress = silent,
    *,
    before: Output | None = None,
    options: Options = DEFAULTS,
) -> None:
    """Make the graph equal to the output of stage `tables`; the accounts go into the draft's figures.

    `before` is the newest output of stage `loaded`; without it the graph is read to find what changed. The draft gets
    ``changes/…`` (identity and what became of it), ``affected/<Label>``, ``quarantine/…`` of the rows that Neo4j
    refused, and the state for the next load.

    Nothing is written when the tables break their contract, or change a label's key or name and that is not accepted
    (`ContractError`), or the database is another project's (`StoreError`). Killed anywhere, a second call ends with
    the same graph. `StoreError` where Neo4j refuses more than the allowed share of a table's rows.
    """
    check_schemas(tables)
    store.check_project(project)
    marker = Marker.read(store)

    def plan(base: str) -> str:
        return fingerprint(PLAN, base, output_id(tables), options.node_rows, options.edge_rows)

    check_kinds(marker, tables)
    follow(store, tables, marker)
    base, new, diffs = _compared(store, marker, before, tables, draft, plan)
    if base.output and went(diffs, tables):
        base, new, diffs = _compared(store, marker, None, tables, draft, plan)
    check_rows(tables, {table for table, found in diffs.items() if found.changes})
    this = plan(base.name)
    goes_on = marker.loading == this
    held = {table.removeprefix("nodes/"): n for table, n in base.state.rows.items() if table.startswith("nodes/")}
    emptied = replaced(marker.schema, schema_record(tables), held)
    check_schema(emptied, held, accept=options.accept_schema or (goes_on and marker.accepted == this))
    store.claim(project)
    told = reported(before, new, diffs, tables)
    work = _Load(store, tables, draft, marker, base, new, diffs, told, options, progress)
    if work.nothing_to_do():
        this = marker.load or this
    else:
        work.open(this, accepted=bool(emptied))
    try:
        work.run(this, [label for label in emptied if f"nodes/{label}" in new.rows])
    except GraphChangedError:
        replace(Marker.read(store), loading=DRIFTED).write(store)
        raise
    draft.filesystem.delete_dir_contents(draft.location(BASE.rstrip("/")), missing_dir_ok=True)


def _compared(
    store: Store, marker: Marker, before: Output | None, tables: Output, draft: Draft, plan: Callable[[str], str]
) -> tuple[Base, State, dict[str, Diff]]:
    """What the graph holds, what it is to hold, and what must be done about it."""
    base = find_base(store, marker, before, tables, draft, plan)
    names = tables_of(tables)
    new = new_state(tables, draft, base, names)
    others = [table for table in base.state.rows if table not in names]
    return base, new, {table: diff(table, new, base.state) for table in (*names, *others)}


def holds_load(store: Store, loaded: Output) -> bool:
    """Whether the graph is, by the marker node and its counts, still what this output of stage `loaded` left."""
    meta, marker = loaded.manifest.meta, Marker.read(store)
    if meta["database"] != store.database_id() or marker.loading or marker.load != meta["load"]:
        return False
    rows = {table: of["rows"] for table, of in meta["state"].items()}
    return holds(store, rows, existing_tables(marker.schema)) is None


@dataclass
class _Load:
    """One load, all that decides what it does known."""

    store: Store
    tables: Output
    draft: Draft
    marker: Marker
    base: Base
    new: State
    diffs: dict[str, Diff]
    told: dict[str, Diff]
    """What has changed since the load before."""
    options: Options
    progress: Progress

    def nothing_to_do(self) -> bool:
        """Whether the graph is as it should be, and the marker node says so."""
        wanted = Marker(self.marker.load, None, Held.of(self.tables), schema_record(self.tables))
        return self.marker == wanted and not any(found.changes for found in self.diffs.values())

    def open(self, load: str, *, accepted: bool) -> None:
        """Say at the marker node what is under way and what the graph may hold from now on."""
        marker = self.marker
        may_hold = marker.held.merged(Held.of(self.tables))
        Marker(marker.load, load, may_hold, marker.schema, load if accepted else None).write(self.store)
        self.store.sweep(cypher_load.DROP_BATCHES, {"keep": load})

    def run(self, load: str, emptied: list[str]) -> None:
        """All steps in order; each is whole in itself, so this may be called again after a kill."""
        self.store.ensure_unique(Held.of(self.tables).nodes)
        rows = {table: of.status.size for table, of in self.diffs.items()}
        ledger = Ledger(self.store, load, {t: int(n * self.options.max_refused) for t, n in rows.items()})
        sizes = (self.options.node_rows, self.options.edge_rows)
        existing = Existing(self.store, self.tables, self.marker)
        steps = Steps(self.tables, self.new, self.base.state, ledger, *sizes, {}, self.progress, existing)
        with ThreadPoolExecutor(1, "changes") as pool:
            # It needs nothing of Neo4j, whose writing takes longer.
            changes = pool.submit(self._write_changes, {})
            diffs = self._write(steps, emptied)
            changes.result()
        if any(steps.refused.values()):
            self._write_changes(steps.refused)
        self._finish(load, steps, diffs)

    def _write_changes(self, refused: Mapping[str, Collection[int]]) -> None:
        write_changes(self.draft, self.tables, self.new, refused, self.told, self.options.hops)

    def _write(self, steps: Steps, emptied: list[str]) -> Mapping[str, Diff]:
        diffs = self._emptied(steps, emptied) if emptied else self.diffs
        steps.there = totals(self.store, self.tables.tables("nodes/"))
        for kind in ("nodes/", "relationships/", "features/"):
            for table in self.tables.tables(kind):
                steps.write(diffs[table])
        for kind in ("relationships/", "nodes/"):
            for table in (t for t in diffs if t.startswith(kind)):
                steps.delete(diffs[table])
        _drop_stale(self.store, self.marker.held, Held.of(self.tables))
        return diffs

    def _emptied(self, steps: Steps, labels: list[str]) -> dict[str, Diff]:
        """Empty labels whose keys mean something else now, relationships first; what is left to do then."""
        gone = [f"nodes/{label}" for label in labels]
        for table in (t for t in self.base.state.rows if t.startswith("relationships/")):
            edge = EdgeType.parse(table.removeprefix("relationships/"))
            if {edge.source, edge.target} & set(labels):
                steps.delete(diff(table, self.new.without([table]), self.base.state), "empty")
                gone.append(table)
        for label in labels:
            table = f"nodes/{label}"
            steps.delete(diff(table, self.new.without([table]), self.base.state), "empty")
        gone += [f"features/{label}" for label in labels]
        for table in (table for table in gone if table in self.new.rows):
            # Taken over it may have another order than the rows that are created now.
            self.new.rows[table], self.new.digests[table] = write_state(self.tables, self.draft, table)
        left = self.base.state.without(gone)
        steps.held = left
        return {table: diff(table, self.new, left) for table in self.diffs}

    def _finish(self, load: str, steps: Steps, diffs: Mapping[str, Diff]) -> None:
        state = without_refused(self.draft, self.new, steps.held, diffs, steps.refused)
        expected = {**dict.fromkeys(diffs, 0), **state.rows}
        if wrong := holds(self.store, expected, steps.existing.names):
            raise GraphChangedError(
                f"{wrong}: Neo4j does not hold {expected[wrong]} rows of it: did others write? Load again"
            )
        write_refused(self.draft, self.tables, steps.refused)
        finish(self.store, self.draft, self.tables, load, state, steps.accounts)


def _drop_stale(store: Store, before: Held, wanted: Held) -> None:
    """Remove the properties that an earlier load wrote under names that are not in the tables any more."""
    for label in wanted.nodes:
        known = {*wanted.nodes[label], *wanted.features.get(label, ())}
        for name in sorted({*before.nodes.get(label, ()), *before.features.get(label, ())} - known):
            store.sweep(cypher_load.drop_node_property(label, name))
    for edge, columns in wanted.edges.items():
        for name in sorted(set(before.edges.get(edge, ())) - set(columns)):
            store.sweep(cypher_load.drop_relationship_property(EdgeType.parse(edge), name))
