"""A snapshot as exported from Neo4j, and where a catalogue's users and items are in it: Arrow and numpy alone."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kg.errors import ContractError
from kg.ids import IdMap
from kg.interactions import Catalogue, Interactions
from kg.schema import EdgeType
from kg.tables import Output

OWN_COLUMNS = frozenset({"key", "text", "image"})


@dataclass(frozen=True)
class Snapshot:
    """A subgraph as exported from Neo4j: tables by label and by edge type.

    A node's index is its row number; edge tables hold `src` and `dst` as such indices, then their own columns.
    """

    nodes: dict[str, pa.Table]
    edges: dict[EdgeType, pa.Table]
    labels: dict[str, dict[str, Any]]
    """By label: `side` (user, item, entity) and `domain`."""
    edge_meta: dict[EdgeType, dict[str, Any]]
    """By edge type: `interaction`, `target` and `domain`."""

    @classmethod
    def read(cls, output: Output) -> "Snapshot":
        """Read stage `graph`; `ContractError` for a table without ids or with ends outside its node tables."""
        nodes = {name.removeprefix("nodes/"): output.read(name) for name in output.tables("nodes/")}
        edges = {EdgeType.parse(name.removeprefix("edges/")): output.read(name) for name in output.tables("edges/")}
        meta = output.manifest.meta
        snapshot = cls(nodes, edges, meta["labels"], {EdgeType.parse(k): v for k, v in meta["edges"].items()})
        for edge, table in edges.items():
            snapshot.check_ends(edge, table)
        return snapshot

    def check_ends(self, edge: EdgeType, table: pa.Table) -> None:
        """Raise `ContractError` unless both ends of all edges are rows of their node tables."""
        for column, label in (("src", edge.source), ("dst", edge.target)):
            if label not in self.nodes or column not in table.column_names:
                raise ContractError(edge.name, f"column {column} into nodes/{label}", f"found {table.column_names}")
            if table.num_rows:
                bounds = pc.min_max(table[column]).as_py()
                if bounds["min"] < 0 or bounds["max"] >= self.count(label):
                    raise ContractError(edge.name, f"{column} in 0 … {self.count(label) - 1}", f"found {bounds}")

    def count(self, label: str) -> int:
        """Nodes of a label."""
        return self.nodes[label].num_rows

    def keys(self, label: str) -> pa.ChunkedArray:
        """External ids of a label by index."""
        return self.nodes[label]["key"]

    def properties(self, label: str) -> list[str]:
        """Names of the label's own properties, without key, text and image."""
        return [name for name in self.nodes[label].column_names if name not in OWN_COLUMNS]


@dataclass(frozen=True)
class Placement:
    """Where the catalogue's users and items are among the snapshot's nodes."""

    user_label: str
    users: np.ndarray
    """int64[n_users]: the user's node index."""
    items: dict[str, np.ndarray]
    """int64[items of label] by item label: the item's node index."""
    item_node: np.ndarray
    """int64[n_items]: the node index of each item of the catalogue."""

    @classmethod
    def of(cls, snapshot: Snapshot, catalogue: Catalogue) -> "Placement":
        """Look the catalogue's ids up; `UnknownIdError` when the snapshot lacks one."""
        label = catalogue.user_label
        users = IdMap(label, snapshot.keys(label)).encode(catalogue.users.keys)
        items = {name: IdMap(name, snapshot.keys(name)).encode(ids.keys) for name, ids in catalogue.items.items()}
        return cls(label, users, items, np.concatenate([np.zeros(0, np.int64), *items.values()]))


def target_edges(snapshot: Snapshot, catalogue: Catalogue) -> dict[str, EdgeType]:
    """By item label the edge type that stands for its interactions: its domain's target, else the first by name."""
    found: dict[str, EdgeType] = {}
    for label in catalogue.items:
        edges = [e for e, m in snapshot.edge_meta.items() if m["interaction"] and e.target == label]
        edges.sort(key=lambda e: (not snapshot.edge_meta[e].get("target"), e.name))
        found[label] = edges[0] if edges else EdgeType(catalogue.user_label, "INTERACTED", label)
    return found


def own_interactions(snapshot: Snapshot, catalogue: Catalogue) -> Interactions:
    """All positive interactions of the snapshot, in the catalogue's indices."""
    placement = Placement.of(snapshot, catalogue)
    user_of = np.full(snapshot.count(catalogue.user_label), -1)
    user_of[placement.users] = np.arange(catalogue.n_users)
    parts = []
    for edge, meta in snapshot.edge_meta.items():
        if not meta["interaction"] or edge.target not in catalogue.items:
            continue
        table = snapshot.edges[edge]
        item_of = np.full(snapshot.count(edge.target), -1)
        item_of[placement.items[edge.target]] = np.arange(len(catalogue.items[edge.target]))
        positive = _column(table, "positive", True).astype(bool)
        times = _column(table, "last", 0)
        parts.append(
            Interactions(
                user_of[table["src"].to_numpy()],
                item_of[table["dst"].to_numpy()] + catalogue.offsets[edge.target],
                _column(table, "weight", 1.0).astype(np.float32),
                times.astype("datetime64[us]").astype(np.int64) if times.dtype.kind == "M" else times.astype(np.int64),
                positive,
                catalogue.n_users,
                catalogue.n_items,
            ).positives()
        )
    if not parts:
        empty = np.zeros(0, np.int64)
        return Interactions(
            empty, empty, empty.astype(np.float32), empty, empty.astype(bool), catalogue.n_users, catalogue.n_items
        )
    return Interactions.concat(parts)


def _column(table: pa.Table, name: str, default: bool | float) -> np.ndarray:
    if name not in table.column_names:
        return np.full(table.num_rows, default)
    column = table[name]
    if pa.types.is_timestamp(column.type):
        column, default = column.cast(pa.timestamp("us", "UTC")).cast(pa.int64()), 0
    return pc.fill_null(column, default).to_numpy()
