"""The steps of a load, each in batches of the ledger: create, update, set features, delete.

New rows are created without looking whether they are there where that is proven: not in the base, and no node of the
user's own has the label. Else nodes are merged, and what was there is adopted. Relationships are ours by `_hash`, so
new ones are always created. What exists in the graph already (`kg.existing_load`) is only marked, and unmarked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kg import cypher_load
from kg.diff import CREATED, UNCHANGED, UPDATED, Diff
from kg.errors import GraphChangedError
from kg.existing_load import Existing
from kg.ledger import Done, Ledger, Statement
from kg.load_batches import POSITION, as_edges, as_rows, chosen, pieces
from kg.load_check import columns_of
from kg.load_record import Account, constants
from kg.load_state import HASH, State
from kg.schema import ENDS, KEY, ROW_ID, EdgeType
from kg.store import Progress
from kg.tables import Output


@dataclass
class Steps:
    """One load's steps; what they did adds up in `accounts` and `refused`."""

    tables: Output
    new: State
    held: State
    ledger: Ledger
    node_rows: int
    edge_rows: int
    there: Mapping[str, int]
    """How many nodes there are of each table's label, whosever they are."""
    progress: Progress
    existing: Existing
    accounts: dict[str, Account] = field(default_factory=dict)
    refused: dict[str, dict[int, str]] = field(default_factory=dict)
    """By table and position of the row: a short code."""
    _lost: dict[str, pa.Array] = field(default_factory=dict)
    """By label: keys of nodes that are not there, for they were refused."""

    def write(self, diff: Diff) -> None:
        """Make of a table's rows what they are to be."""
        steps = {"nodes": self.nodes, "relationships": self.relationships, "features": self.features}
        write = self.adopt if diff.table in self.existing.names else steps[diff.table.partition("/")[0]]
        write(diff)

    def delete(self, diff: Diff, step: str = "delete") -> None:
        """Delete what vanished of a table, or take our marks from it."""
        steps = {"nodes": self.delete_nodes, "relationships": self.delete_relationships}
        delete = self.release if diff.table in self.existing.names else steps[diff.table.partition("/")[0]]
        delete(diff, step)

    def nodes(self, diff: Diff) -> None:
        """Create and update a label's nodes."""
        label = diff.table.partition("/")[2]
        side = self.tables.manifest.meta["labels"][label]["side"]
        shared = constants(self.tables, label)
        types = {**columns_of(self.tables, diff.table), **dict.fromkeys(shared, pa.string())}
        merge = cypher_load.merge_nodes(label, side, types)
        params = partial(as_rows, constants=list(shared.values()))
        fresh = self.ledger.resumes or self.there[diff.table] == self.held.rows.get(diff.table, 0)
        create = cypher_load.create_nodes(label, side, types) if fresh else merge
        self._write(diff, CREATED, "create", Statement(create, params, merge), self.node_rows)
        self._write(diff, UPDATED, "update", Statement(merge, params), self.node_rows)
        self._note_lost(diff)

    def adopt(self, diff: Diff) -> None:
        """Mark what exists in the graph; relationships of refused nodes are refused."""
        kind, _, name = diff.table.partition("/")
        size = self.node_rows if kind == "nodes" else self.edge_rows
        if kind == "relationships":
            self._refuse_lost(diff.table, _ends(EdgeType.parse(name)))
        statement, columns = self.existing.adopt(diff.table), self.existing.columns(diff.table)
        self._write(diff, CREATED, "create", statement, size, columns)
        self._write(diff, UPDATED, "update", statement, size, columns)
        if kind == "nodes":
            self._note_lost(diff)

    def _note_lost(self, diff: Diff) -> None:
        label = diff.table.partition("/")[2]
        if lost := [p for p in self.refused.get(diff.table, ()) if diff.status[p] == CREATED]:
            self._lost[label] = self.new.read(diff.table, [KEY.name])[KEY.name].combine_chunks().take(pa.array(lost))

    def relationships(self, diff: Diff) -> None:
        """Create and update a type's relationships; those of refused nodes are refused too."""
        edge = EdgeType.parse(diff.table.partition("/")[2])
        types = columns_of(self.tables, diff.table)
        self._refuse_lost(diff.table, _ends(edge))
        create = Statement(cypher_load.create_relationships(edge, types), as_edges, in_turn=True)
        update = Statement(cypher_load.update_relationships(edge, types), as_rows)
        self._write(diff, CREATED, "create", create, self.edge_rows)
        self._write(diff, UPDATED, "update", update, self.edge_rows)

    def features(self, diff: Diff) -> None:
        """Set what differs; take it from nodes that have none any more."""
        label = diff.table.partition("/")[2]
        names = list(columns_of(self.tables, diff.table))
        self._refuse_lost(diff.table, {KEY.name: label})
        statement = Statement(cypher_load.set_features(label, names), _without_hash)
        mask = self._mask(diff.table, diff.status != UNCHANGED)
        changed = 0
        found = self.new.read(diff.table, [HASH.name])[HASH.name].to_numpy()
        batches = chosen(self.tables, diff.table, mask, found, self.node_rows)
        for batch, done in self.ledger.write_all(diff.table, "set", statement, batches):
            self._note(diff.table, batch, done)
            changed += done.changed
        taken = Statement(cypher_load.set_features(label, names), partial(as_rows, constants=[None] * len(names)))
        for number, batch in enumerate(pieces(diff.deleted, self.node_rows)):
            self.ledger.write(diff.table, "unset", number, taken, batch)
        rows, refused = len(diff.status), len(self.refused.get(diff.table, ()))
        self._account(diff.table, rows=rows, updated=changed, unchanged=rows - changed - refused, refused=refused)

    def delete_relationships(self, diff: Diff, step: str = "delete") -> None:
        """Delete what vanished."""
        edge = EdgeType.parse(diff.table.partition("/")[2])
        names = [*(end.name for end in ENDS), ROW_ID.name]
        statement = Statement(cypher_load.delete_relationships(edge))
        for number, batch in enumerate(pieces(diff.deleted.select(names), self.edge_rows)):
            done = self.ledger.write(diff.table, step, number, statement, batch)
            _check(diff.table, batch.num_rows, done)
            self._account(diff.table, deleted=done.changed)

    def delete_nodes(self, diff: Diff, step: str = "delete") -> None:
        """Delete what vanished, but for what has relationships of others or was there before us."""
        statement = Statement(cypher_load.delete_nodes(diff.table.partition("/")[2]))
        for number, batch in enumerate(pieces(diff.deleted, self.node_rows)):
            kept = self.ledger.write(diff.table, step, number, statement, batch).changed
            self._account(diff.table, deleted=batch.num_rows - kept, kept=kept)

    def release(self, diff: Diff, step: str = "delete") -> None:
        """Take our marks from what is no part of the project any more; what the user has deleted is gone anyway."""
        statement, rows, size = self.existing.release(diff.table), diff.deleted, self.node_rows
        if diff.table.startswith("relationships/"):
            rows, size = rows.select([*(end.name for end in ENDS), ROW_ID.name]), self.edge_rows
        for number, batch in enumerate(pieces(rows, size)):
            kept = self.ledger.write(diff.table, step, number, statement, batch).changed
            self._account(diff.table, deleted=batch.num_rows - kept, kept=kept)

    def _write(
        self,
        diff: Diff,
        status: np.int8,
        step: str,
        statement: Statement,
        size: int,
        columns: Sequence[str] | None = None,
    ) -> None:
        mask = self._mask(diff.table, diff.status == status)
        created = updated = 0
        if mask.any():
            found = self.new.read(diff.table, [HASH.name])[HASH.name].to_numpy()
            batches = chosen(self.tables, diff.table, mask, found, size, columns)
            for batch, done in self.ledger.write_all(diff.table, step, statement, batches):
                self._note(diff.table, batch, done)
                _check(diff.table, batch.num_rows - len(done.refused), done)
                created += done.created
                updated += done.changed - done.created
        if status == UPDATED:
            rows, refused = len(diff.status), len(self.refused.get(diff.table, ()))
            unchanged = diff.count(UNCHANGED)
            self._account(diff.table, rows=rows, unchanged=unchanged, refused=refused)
        self._account(diff.table, created=created, updated=updated)

    def _note(self, table: str, batch: pa.RecordBatch, done: Done) -> None:
        positions = batch[POSITION.name].to_pylist() if done.refused else []
        found = {positions[row]: f"refused:{code}" for row, code in done.refused.items()}
        self.refused.setdefault(table, {}).update(found)
        self.progress(table, batch.num_rows)

    def _mask(self, table: str, wanted: np.ndarray) -> np.ndarray:
        if refused := self.refused.get(table):
            wanted = wanted.copy()
            wanted[list(refused)] = False
        return wanted

    def _refuse_lost(self, table: str, ends: Mapping[str, str]) -> None:
        """Refuse the rows whose end, of this label in this column, was refused."""
        for column, label in ends.items():
            if label in self._lost:
                lost = pc.is_in(self.tables.read(table, [column])[column], value_set=self._lost[label])
                found = {int(row): f"unknown_end:{column.removesuffix('_key')}" for row in np.flatnonzero(lost)}
                self.refused[table] = found | self.refused.get(table, {})
        self.ledger.allow(table, len(self.refused.get(table, ())))

    def _account(self, table: str, **more: int) -> None:
        before = vars(self.accounts.get(table, Account(0)))
        self.accounts[table] = Account(**{name: before[name] + more.get(name, 0) for name in before})


def _ends(edge: EdgeType) -> dict[str, str]:
    return dict(zip((end.name for end in ENDS), (edge.source, edge.target), strict=True))


def _without_hash(batch: pa.RecordBatch) -> dict[str, Any]:
    return as_rows(batch.drop_columns([HASH.name]))


def _check(table: str, rows: int, done: Done) -> None:
    if done.changed != rows:
        raise GraphChangedError(
            f"{table}: of {rows} rows {done.changed} were written: did others change the graph meanwhile? Load again"
        )
