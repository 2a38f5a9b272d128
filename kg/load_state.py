"""What a graph holds of ours as tables: identity and content hash of each row, and from this what a load must do.

A load writes the state that it ends with into its own output, under ``state/<table>``, so the next one finds what has
changed without asking the database and without the tables that were loaded.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from pyarrow import fs

from kg.ahead import in_order
from kg.load_check import columns_of, identity_of, scan
from kg.row_hash import key_hashes, row_hashes, salt_of, table_digest
from kg.schema import ENDS, KEY, ROW_ID
from kg.tables import Draft, Output

ROWS = 100_000
HASHERS = 2
"""Threads that hash where nothing else is to be done."""
HASH = pa.field("hash", pa.int64(), nullable=False)
"""What the node or relationship has as `_hash`."""
STATE = "state/"


def state_schema(table: str) -> pa.Schema:
    """Identity and hash: of a relationship its ends too, for by them Neo4j finds it."""
    return pa.schema([*([ROW_ID, *ENDS] if table.startswith("relationships/") else [KEY]), HASH])


@dataclass(frozen=True)
class State:
    """Rows of ours by table, as Parquet below one folder."""

    filesystem: fs.FileSystem
    path: str
    rows: dict[str, int] = field(default_factory=dict)
    digests: dict[str, int] = field(default_factory=dict)
    """Of identities and hashes together, whatever the rows' order."""

    @classmethod
    def of_output(cls, output: Output) -> Self:
        """The state that an output of stage `loaded` ended with."""
        held = output.manifest.meta["state"]
        return cls(
            output.filesystem,
            output.location(STATE.rstrip("/")),
            {table: of["rows"] for table, of in held.items()},
            {table: of["digest"] for table, of in held.items()},
        )

    def read(self, table: str, columns: list[str] | None = None) -> pa.Table:
        """A table's state, or some of its columns; no rows where nothing is held of it."""
        if table not in self.rows:
            schema = state_schema(table)
            return pa.schema([schema.field(c) for c in columns or schema.names]).empty_table()
        return self._dataset(table).to_table(columns)

    def scan(self, table: str) -> Iterator[pa.RecordBatch]:
        """A table's state in batches, of which few are in memory."""
        if table in self.rows:
            yield from self._dataset(table).to_batches(batch_size=ROWS, batch_readahead=2, fragment_readahead=1)

    def without(self, tables: Collection[str]) -> "State":
        """The same without what it holds of some tables."""
        left = {table: rows for table, rows in self.rows.items() if table not in tables}
        return State(self.filesystem, self.path, left, self.digests)

    def _dataset(self, table: str) -> ds.Dataset:
        return ds.dataset(f"{self.path}/{table}", filesystem=self.filesystem, format="parquet")

    def meta(self) -> dict[str, Any]:
        """As the manifest keeps it."""
        return {table: {"rows": rows, "digest": self.digests[table]} for table, rows in self.rows.items()}


def hashes(tables: Output, table: str, batch: pa.RecordBatch | pa.Table) -> np.ndarray:
    """Hash[rows] int64 of all that makes these rows' nodes or relationships what they are: their `_hash`."""
    name = table.partition("/")[2]
    of = tables.manifest.meta["labels"].get(name, {}) if table.startswith("nodes/") else {}
    salt = salt_of(table, of.get("side"), of.get("domain"))
    return row_hashes(batch, [*identity_of(table)[:-1], *sorted(columns_of(tables, table))], salt)


def write_state(tables: Output, draft: Draft, table: str) -> tuple[int, int]:
    """Write the state that a table's rows come to into the draft, in one pass; its rows and digest."""
    schema = state_schema(table)
    batches = (with_hashes(batch, hashes(tables, table, batch), schema) for batch in scan(tables, table, ROWS))
    return write_rows(draft, STATE, table, batches)


def state_digest(tables: Output, table: str) -> int:
    """The digest that `write_state` gives, found without writing anything."""
    schema = state_schema(table)

    def digest(batch: pa.RecordBatch) -> int:
        return digest_of(table, with_hashes(batch, hashes(tables, table, batch), schema))

    return sum(in_order(digest, scan(tables, table, ROWS), HASHERS)) % (1 << 64)


def write_rows(draft: Draft, folder: str, table: str, batches: Iterable[pa.RecordBatch]) -> tuple[int, int]:
    """Write rows under a `state_schema` below a folder of the draft; how many there are and their digest."""
    total = 0

    def summed() -> Iterator[pa.RecordBatch]:
        nonlocal total
        for batch in batches:
            total += digest_of(table, batch)
            yield batch

    draft.write_batches(folder + table, summed(), state_schema(table))
    return draft.tables[folder + table], total % (1 << 64)


def with_hashes(batch: pa.RecordBatch, found: np.ndarray, schema: pa.Schema) -> pa.RecordBatch:
    """Rows under a `state_schema`."""
    return pa.RecordBatch.from_arrays([*(batch[c] for c in schema.names[:-1]), pa.array(found)], schema=schema)


def digest_of(table: str, state: pa.Table | pa.RecordBatch) -> int:
    """The digest of rows under a `state_schema`."""
    return table_digest(key_hashes(state[identity_of(table)[-1]]), state[HASH.name].to_numpy())
