"""What a load of new tables would change, found in Arrow from what the last load left, without asking the graph."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from kg.existing_config import is_existing
from kg.load_check import identity_of, scan
from kg.load_state import HASH, State, hashes
from kg.row_hash import key_hashes
from kg.schema import IMAGE
from kg.tables import Output

KINDS = ("nodes/", "relationships/")
ROWS = 100_000
NOTHING = (np.zeros(0, np.uint64), np.zeros(0, np.int64))


@dataclass(frozen=True)
class Change:
    """What becomes of a table's rows, and of those that are not in it any more."""

    created: int = 0
    updated: int = 0
    deleted: int = 0
    unchanged: int = 0

    @property
    def written(self) -> int:
        """How many nodes or relationships would be written."""
        return self.created + self.updated + self.deleted


def changes(new: Output, held: State | None, moved: tuple[str, str] = ("", "")) -> dict[str, Change]:
    """By table of nodes and relationships, against what the graph holds; all are created where that is None.

    Pictures of the new tables that lie below the first path of `moved` count as lying below the second.
    """
    tables = {*new.manifest.tables, *(held.rows if held else ())}
    return {table: _change(new, held, table, moved) for table in sorted(tables) if table.startswith(KINDS)}


def _change(new: Output, held: State | None, table: str, moved: tuple[str, str]) -> Change:
    mine, theirs = _new(new, table, moved), _held(held, table)
    common, here, there = np.intersect1d(mine[0], theirs[0], assume_unique=True, return_indices=True)
    same = int((mine[1][here] == theirs[1][there]).sum())
    created, updated, deleted = len(mine[0]) - len(common), len(common) - same, len(theirs[0]) - len(common)
    if is_existing(new.manifest.meta, table):  # what is there already is marked
        created, updated = 0, created + updated
    return Change(created, updated, deleted, same)


def _new(tables: Output, table: str, moved: tuple[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of the rows' identities and of their contents; of nothing where there is no such table."""
    if table not in tables.manifest.tables:
        return NOTHING
    batches = (_moved(batch, moved) for batch in scan(tables, table, ROWS))
    identity = identity_of(table)[-1]
    parts = [(key_hashes(batch[identity]), hashes(tables, table, batch)) for batch in batches]
    return (np.concatenate([part[0] for part in parts]), np.concatenate([p[1] for p in parts])) if parts else NOTHING


def _held(held: State | None, table: str) -> tuple[np.ndarray, np.ndarray]:
    if held is None or not held.rows.get(table):
        return NOTHING
    identity = identity_of(table)[-1]
    rows = held.read(table, [identity, HASH.name])
    return key_hashes(rows[identity]), rows[HASH.name].to_numpy()


def _moved(batch: pa.RecordBatch, moved: tuple[str, str]) -> pa.RecordBatch:
    if not moved[0] or IMAGE.name not in batch.schema.names:
        return batch
    paths = pc.replace_substring(batch[IMAGE.name], moved[0], moved[1], max_replacements=1)
    return batch.set_column(batch.schema.get_field_index(IMAGE.name), IMAGE, paths)


def size_of(output: Output, tables: Iterable[str]) -> int:
    """Bytes of some tables in memory, about: what their Parquet files hold when it is not compressed."""
    total = 0
    for table in tables:
        for info in output.filesystem.get_file_info(fs.FileSelector(output.location(table), recursive=True)):
            if info.path.endswith(".parquet"):
                with output.filesystem.open_input_file(info.path) as file:
                    groups = pq.ParquetFile(file).metadata
                    total += sum(groups.row_group(i).total_byte_size for i in range(groups.num_row_groups))
    return total
