"""Rows that Neo4j refused: into quarantine, and out of what the graph is said to hold."""

import json
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kg.diff import UPDATED, Diff
from kg.load_check import identity_of, scan
from kg.load_state import ROWS, STATE, State, write_rows
from kg.schema import QUARANTINE
from kg.tables import Draft, Output

Refused = Mapping[str, Mapping[int, str]]
"""By table and position of the row in it: a reason such as ``refused:too_large`` or ``unknown_end:from``."""


def write_refused(draft: Draft, tables: Output, refused: Refused) -> None:
    """Write ``quarantine/<table>`` for each table with refused rows: their source is the table itself."""
    for table, reasons in refused.items():
        if reasons:
            draft.write(f"quarantine/{table}", _quarantine(tables, table, reasons), QUARANTINE)
    draft.figures["refused"] = {table: len(reasons) for table, reasons in refused.items() if reasons}


def _quarantine(tables: Output, table: str, reasons: Mapping[int, str]) -> pa.Table:
    places = np.array(sorted(reasons))
    found, start = [], 0
    for batch in scan(tables, table, ROWS):
        here = places[(places >= start) & (places < start + batch.num_rows)]
        found += batch.take(pa.array(here - start)).to_pylist()
        start += batch.num_rows
    last = identity_of(table)[-1]
    rows = [
        {
            "source": table,
            "row": row[last],
            "raw": json.dumps(row, default=str, ensure_ascii=False),
            "table": table,
            "reason": reasons[int(place)],
        }
        for place, row in zip(places, found, strict=True)
    ]
    return pa.Table.from_pylist(rows, QUARANTINE)


def without_refused(draft: Draft, new: State, held: State, diffs: Mapping[str, Diff], refused: Refused) -> State:
    """The state that the graph is in: a refused new row is not there, a refused update is what it was."""
    state = State(new.filesystem, new.path, dict(new.rows), dict(new.digests))
    for table, reasons in refused.items():
        if reasons:
            rows = _held(table, new, held, diffs[table].status, np.array(list(reasons)))
            state.rows[table], state.digests[table] = write_rows(draft, STATE, table, rows.to_batches())
    return state


def _held(table: str, new: State, held: State, status: np.ndarray, refused: np.ndarray) -> pa.Table:
    last = identity_of(table)[-1]
    mine = new.read(table)
    written = np.ones(len(mine), bool)
    written[refused] = False
    updates = mine[last].take(pa.array(refused[status[refused] == UPDATED]))
    theirs = held.read(table)
    return pa.concat_tables([mine.filter(pa.array(written)), theirs.filter(pc.is_in(theirs[last], value_set=updates))])
