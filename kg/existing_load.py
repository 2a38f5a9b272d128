"""Loading what is in the user's Neo4j already: nothing is written but marks, and what is no more loses them.

A row is marked at the very node or relationship that it was read from (``places/…``), and only while that still has
its label and key. Marks are like rows of any table: in the state, by hash, in batches of the ledger.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from kg import cypher_existing
from kg.diff import Diff, diff
from kg.errors import ContractError
from kg.existing_config import META, is_existing
from kg.ledger import Statement
from kg.load_batches import as_rows
from kg.load_check import identity_of, stored_columns
from kg.load_record import Marker, constants, schema_record
from kg.load_state import State
from kg.row_hash import key_hashes
from kg.schema import EdgeType
from kg.store import Store
from kg.tables import Output

PAIR = ["from", "to"]
WAY_OUT = "run once without it in the project file, which takes our marks away or deletes what we loaded, then again"


def existing_tables(schema: Mapping[str, Any]) -> set[str]:
    """The tables of existing parts, by a `schema_record`."""
    return {
        f"{kind}/{name}"
        for kind, of in META.items()
        for name, part in schema.get(of, {}).items()
        if part.get("existing")
    }


def check_kinds(marker: Marker, tables: Output) -> None:
    """Raise `ContractError` where what was loaded is to be existing now, or the other way round."""
    now = schema_record(tables)
    known = {*(f"nodes/{x}" for x in marker.schema.get("labels", {}))} | {
        *(f"relationships/{x}" for x in marker.schema.get("edges", {}))
    }
    here = {*tables.tables("nodes/"), *tables.tables("relationships/")}
    for table in sorted(known & here & (existing_tables(marker.schema) ^ existing_tables(now))):
        was = "was in the graph before CrossGraph, and is now to be loaded"
        if table in existing_tables(now):
            was = "was loaded by CrossGraph, and is now said to exist already"
        raise ContractError(table, f"a part that stays what it is; it {was}", WAY_OUT)


def follow(store: Store, tables: Output, marker: Marker) -> None:
    """Let marks follow keys that users have changed, go where a node has none, and come back where it lost them."""
    for table in sorted(existing_tables(marker.schema) & existing_tables(schema_record(tables))):
        label = table.removeprefix("nodes/")
        key = tables.manifest.meta["labels"][label]["key"] if table.startswith("nodes/") else None
        if key and key == marker.schema["labels"][label]["key"]:
            store.value(cypher_existing.release_keyless(label, key, _names(marker, label)))
            if key != "key":
                store.value(cypher_existing.follow_keys(label, key))
                store.value(cypher_existing.restore_keys(label, key))


def _names(marker: Marker, label: str) -> list[str]:
    """The properties that we set on all nodes of a label, but for those that each node lists."""
    names = {*marker.held.nodes.get(label, ()), *marker.held.features.get(label, ())}
    return sorted(names - {"domain"})


def went(diffs: Mapping[str, Diff], tables: Output) -> bool:
    """Whether nodes of the user's own are gone: with them may be relationships that we loaded."""
    return any(found.deleted.num_rows for table, found in diffs.items() if is_existing(tables.manifest.meta, table))


def reported(before: Output | None, new: State, diffs: Mapping[str, Diff], tables: Output) -> dict[str, Diff]:
    """What has changed since the load before, where that is more than what is left to do: the user deletes too."""
    if before is None:
        return dict(diffs)
    held = State.of_output(before)
    mine = {table: diff(table, new, held) for table in diffs if is_existing(tables.manifest.meta, table)}
    return {**diffs, **mine}


@dataclass(frozen=True)
class Existing:
    """The existing parts of one load, and how their rows are written."""

    store: Store
    tables: Output
    marker: Marker

    @cached_property
    def names(self) -> set[str]:
        """The tables that are of existing parts, or were when they were loaded last."""
        return existing_tables(self.marker.schema) | existing_tables(schema_record(self.tables))

    def columns(self, table: str) -> list[str] | None:
        """The columns to write, None for all."""
        return list(stored_columns(self.tables, table)) if table in self.names else None

    def adopt(self, table: str) -> Statement:
        """Marks the nodes or relationships of rows."""
        name, meta = table.partition("/")[2], self.tables.manifest.meta
        find = self._finder(table)
        if table.startswith("nodes/"):
            of = meta["labels"][name]
            domain = constants(self.tables, name).get("domain")
            query = cypher_existing.adopt_nodes(name, of["key"], of["side"], domain)
            return Statement(query, lambda batch: {**_with_elements(batch, find(batch), 2), "domain": domain})
        edge, of = EdgeType.parse(name), meta["edges"][name]
        events = stored_columns(self.tables, table)
        query = cypher_existing.adopt_relationships(edge, events, of_pair=of["key"] == PAIR)
        return Statement(query, lambda batch: _with_elements(batch, find(batch), 4))

    def release(self, table: str) -> Statement:
        """Takes all marks away again."""
        name = table.partition("/")[2]
        if table.startswith("nodes/"):
            return Statement(cypher_existing.release_nodes(name, _names(self.marker, name)))
        schema = self.marker.schema.get("edges", {}).get(name) or self.tables.manifest.meta["edges"][name]
        return Statement(cypher_existing.release_relationships(EdgeType.parse(name), of_pair=schema.get("key") == PAIR))

    def _finder(self, table: str) -> Callable[[pa.RecordBatch], list[str]]:
        """Gives the element ids of a batch's rows."""
        if not self.tables.manifest.tables[table]:
            return lambda batch: []
        identity, name = identity_of(table)[-1], table.partition("/")[2]
        places = self.tables.read(f"places/{table}", [identity, "element"])
        hashes = key_hashes(places[identity])
        order = np.argsort(hashes)
        ordered, elements = hashes[order], places["element"].to_numpy()[order]
        node = table.startswith("nodes/")
        matched = cypher_existing.nodes(name) if node else cypher_existing.relationships(EdgeType.parse(name))
        prefix: list[str] = []

        def find(batch: pa.RecordBatch) -> list[str]:
            if not prefix:
                prefix.append(self.store.value(cypher_existing.element_prefix(matched)))
            at = np.searchsorted(ordered, key_hashes(batch[identity]))
            return [f"{prefix[0]}{number}" for number in elements[at]]

        return find


def _with_elements(batch: pa.RecordBatch, elements: list[str], position: int) -> dict[str, Any]:
    """``$rows`` of a batch, each with its element id at a position."""
    rows = as_rows(batch)["rows"]
    return {"rows": [(*row[:position], element, *row[position:]) for row, element in zip(rows, elements, strict=True)]}
