"""Tables against what the graph holds: what to create, update and delete, found in Arrow outside the database.

An unchanged table costs the one pass that hashes it: its digest is that of what was loaded. Others are joined by
identity, 1.2 s for a million relationships against a million (two cores), most of it hashing strings.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kg.load_check import identity_of
from kg.load_state import HASH, State
from kg.schema import ENDS

UNCHANGED, CREATED, UPDATED = np.int8(0), np.int8(1), np.int8(2)
CHANGES = {CREATED: "created", UPDATED: "updated"}
DELETED = "deleted"


@dataclass(frozen=True)
class Diff:
    """What must be done for one table."""

    table: str
    status: np.ndarray
    """Int8[rows]: what each row of the table is, in its order."""
    deleted: pa.Table
    """Identities (`state_schema` without the hash) that the graph holds and the table does not."""

    @property
    def changes(self) -> bool:
        """Whether anything must be done."""
        return bool(self.status.any() or self.deleted.num_rows)

    def count(self, status: np.int8) -> int:
        """How many rows have a status."""
        return int((self.status == status).sum())


def diff(table: str, new: State, held: State) -> Diff:
    """Compare what a table comes to with what the graph holds of it.

    A relationship whose ends differ under the same identity is deleted and created.
    """
    rows = new.rows.get(table, 0)
    if not held.rows.get(table):
        return Diff(table, np.full(rows, CREATED), _identities(held, table))
    if not rows:
        return Diff(table, np.full(0, CREATED), _identities(held, table))
    if rows == held.rows[table] and new.digests[table] == held.digests[table]:
        return Diff(table, np.zeros(rows, np.int8), _identities(held, table).slice(0, 0))
    return _joined(table, new, held)


def _identities(state: State, table: str) -> pa.Table:
    return state.read(table).drop_columns([HASH.name])


def _joined(table: str, new: State, held: State) -> Diff:
    last = identity_of(table)[-1]
    mine, theirs = new.read(table, [last, HASH.name]), held.read(table, [last, HASH.name])
    found = pc.index_in(mine[last], value_set=theirs[last].combine_chunks())
    known = found.is_valid().to_numpy()
    position = found.drop_null().to_numpy()
    status = np.full(len(mine), CREATED)
    differs = mine[HASH.name].to_numpy()[known] != theirs[HASH.name].to_numpy()[position]
    status[known] = np.where(differs, UPDATED, UNCHANGED)
    gone = np.ones(len(theirs), bool)
    gone[position] = False
    if table.startswith("relationships/") and differs.any():
        moved = _moved(table, new, held, np.flatnonzero(known)[differs], position[differs])
        status[np.flatnonzero(known)[differs][moved]] = CREATED
        gone[position[differs][moved]] = True
    if not gone.any():
        return Diff(table, status, _identities(held, table).slice(0, 0))
    return Diff(table, status, _identities(held, table).filter(pa.array(gone)))


def _moved(table: str, new: State, held: State, rows: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Bool[changed rows]: which of them have other ends than before."""
    ends = [end.name for end in ENDS]
    mine, theirs = new.read(table, ends).take(pa.array(rows)), held.read(table, ends).take(pa.array(positions))
    moved = np.zeros(len(rows), bool)
    for end in ends:
        moved |= pc.not_equal(mine[end], theirs[end]).to_numpy()
    return moved
