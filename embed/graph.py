"""From a snapshot (Parquet) to DGL heterographs: a faithful one, and the one that models learn from."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import dgl
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from kg.errors import ContractError
from kg.ids import IdMap
from kg.interactions import Catalogue, Interactions
from kg.schema import EdgeType
from kg.tables import Output

Canonical = tuple[str, str, str]
REVERSE = "rev_"
SHARED = "RELATED"
MESSAGE = "message"
"""Edge data: what the messages along an edge are multiplied by."""
DAY = 86_400_000_000
"""Microseconds."""
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


def simple(src: np.ndarray, dst: np.ndarray, n_dst: int) -> np.ndarray:
    """Row numbers of the last of each (src, dst), in that order: only without parallels DGL excludes all targets."""
    code = (src * max(n_dst, 1) + dst)[::-1]
    return len(code) - 1 - np.unique(code, return_index=True)[1]


@dataclass
class _Edges:
    src: list[np.ndarray] = field(default_factory=list)
    dst: list[np.ndarray] = field(default_factory=list)


def to_hetero(
    snapshot: Snapshot, catalogue: Catalogue, interactions: Interactions | None, max_relations: int | None = None
) -> dgl.DGLHeteroGraph:
    """The graph that models see: simple edges, each with its reverse type (``rev_…``).

    All interaction edges give way to the positives of `interactions`, under one edge type by item label; with None
    they are the snapshot's own positives. These carry `weight` and `time` (edge data). Between two labels all but the
    `max_relations` relations with most edges become one, ``RELATED``.
    """
    data: dict[Canonical, tuple[Tensor, Tensor]] = {}
    extra: dict[Canonical, dict[str, Tensor]] = {}
    placement = Placement.of(snapshot, catalogue)
    if interactions is None:
        interactions = own_interactions(snapshot, catalogue)
    for (source, type_, target), edges in _group(snapshot, max_relations).items():
        src, dst = np.concatenate(edges.src), np.concatenate(edges.dst)
        keep = simple(src, dst, snapshot.count(target))
        _add(data, (source, type_, target), src[keep], dst[keep])
    for label, edge in target_edges(snapshot, catalogue).items():
        mine = _of_label(interactions.positives(), catalogue, label)
        item = mine.item - catalogue.offsets[label]
        keep = simple(mine.user, item, len(catalogue.items[label]))
        canonical = (edge.source, edge.type, label)
        _add(data, canonical, placement.users[mine.user[keep]], placement.items[label][item[keep]])
        extra[canonical] = {
            "weight": torch.from_numpy(mine.weight[keep].astype(np.float32)),
            "time": torch.from_numpy(mine.time[keep].astype(np.int64)),
        }
    graph = dgl.heterograph(data, {label: snapshot.count(label) for label in snapshot.nodes})
    for (source, type_, target), columns in extra.items():
        for name, values in columns.items():
            graph.edges[source, type_, target].data[name] = values
            graph.edges[target, REVERSE + type_, source].data[name] = values
    return graph


def weigh_messages(
    graph: dgl.DGLHeteroGraph, interactions: Iterable[Canonical], weights: bool, half_life: float | None
) -> None:
    """Set the edge data `MESSAGE` of interactions, 1 on average: by their weight, and halved every `half_life` days.

    Ages count from the latest interaction of the graph; a weight below zero counts as zero.
    """
    along = [etype for etype in interactions if "time" in graph.edges[etype].data and graph.num_edges(etype)]
    latest = max((int(graph.edges[etype].data["time"].max()) for etype in along), default=0)
    for etype in along:
        data = graph.edges[etype].data
        factor = data["weight"].clamp(min=0) if weights else torch.ones(len(data["time"]))
        if half_life is not None:
            factor = factor * 0.5 ** ((latest - data["time"]).double() / DAY / half_life).float()
        data[MESSAGE] = factor / factor.mean().clamp(min=1e-12)


def reverse_types(graph: dgl.DGLHeteroGraph) -> dict[Canonical, Canonical]:
    """For every edge type its opposite; edge ids of the two correspond."""
    pairs: dict[Canonical, Canonical] = {}
    for source, type_, target in graph.canonical_etypes:
        if not type_.startswith(REVERSE):
            forward, backward = (source, type_, target), (target, REVERSE + type_, source)
            pairs |= {forward: backward, backward: forward}
    return pairs


def without_leaves(graph: dgl.DGLHeteroGraph, bare: set[str]) -> tuple[dgl.DGLHeteroGraph, dict[str, Tensor]]:
    """The graph without nodes of the labels `bare` that have one neighbour, and the numbers of those left, by label.

    A node that brings nothing with it and hangs on one other can only echo that one. Of MovieLens' Freebase entities
    three in four are such.
    """
    rows = {label: torch.arange(graph.num_nodes(label)) for label in graph.ntypes}
    for label in bare:
        pairs: list[np.ndarray] = []
        for source, type_, target in graph.canonical_etypes:
            if target == label:
                src, dst = graph.edges(etype=(source, type_, target))
                # A number for each (node, neighbour), the same in whatever relation they meet.
                offset = sum(graph.num_nodes(before) for before in graph.ntypes[: graph.ntypes.index(source)])
                pairs.append(dst.numpy() * graph.num_nodes() + src.numpy() + offset)
        owner = np.unique(np.concatenate([np.zeros(0, np.int64), *pairs])) // max(graph.num_nodes(), 1)
        neighbours = np.bincount(owner, minlength=graph.num_nodes(label))
        rows[label] = torch.from_numpy(np.flatnonzero(neighbours > 1))
    return (_keep(graph, rows) if bare else graph), rows


def _keep(graph: dgl.DGLHeteroGraph, rows: dict[str, Tensor]) -> dgl.DGLHeteroGraph:
    """The subgraph of some nodes, renumbered, its edges in their order.

    `dgl.node_subgraph` sorts them, so that an edge and its reverse no longer have equal ids, by which DGL's exclusion
    of targets finds them.
    """
    number = {label: torch.full((graph.num_nodes(label),), -1) for label in rows}
    for label, kept in rows.items():
        number[label][kept] = torch.arange(len(kept))
    data, kept_edges = {}, {}
    for source, type_, target in graph.canonical_etypes:
        src, dst = graph.edges(etype=(source, type_, target), order="eid")
        keep = (number[source][src] >= 0) & (number[target][dst] >= 0)
        data[source, type_, target] = number[source][src[keep]], number[target][dst[keep]]
        kept_edges[source, type_, target] = keep
    small = dgl.heterograph(data, {label: len(kept) for label, kept in rows.items()})
    for edge, keep in kept_edges.items():
        for name, values in graph.edges[edge].data.items():
            small.edges[edge].data[name] = values[keep]
    return small


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


def _of_label(rows: Interactions, catalogue: Catalogue, label: str) -> Interactions:
    span = catalogue.span(label)
    return rows.take((rows.item >= span.start) & (rows.item < span.stop))


def _add(data: dict[Canonical, tuple[Tensor, Tensor]], edge: Canonical, src: np.ndarray, dst: np.ndarray) -> None:
    source, type_, target = edge
    ends = torch.from_numpy(src.astype(np.int64)), torch.from_numpy(dst.astype(np.int64))
    data[source, type_, target] = ends
    data[target, REVERSE + type_, source] = ends[::-1]


def _group(snapshot: Snapshot, max_relations: int | None) -> dict[Canonical, _Edges]:
    """Edges without interactions, by type or, for rare relations of a pair of labels, together."""
    plain = {e: t for e, t in snapshot.edges.items() if not snapshot.edge_meta[e]["interaction"] and t.num_rows}
    kept: set[EdgeType] = set()
    used: Counter[tuple[str, str]] = Counter()
    for edge in sorted(plain, key=lambda e: (-plain[e].num_rows, e)):
        used[edge.source, edge.target] += 1
        if max_relations is None or used[edge.source, edge.target] <= max_relations:
            kept.add(edge)
    groups: dict[Canonical, _Edges] = {}
    for edge in sorted(plain):
        group = groups.setdefault((edge.source, edge.type if edge in kept else SHARED, edge.target), _Edges())
        group.src.append(plain[edge]["src"].to_numpy())
        group.dst.append(plain[edge]["dst"].to_numpy())
    return groups


@dataclass(frozen=True)
class Mirror:
    """A snapshot as one DGL heterograph, node for node, edge for edge and property for property.

    Numbers and truth values are tensors, timestamps microseconds; everything else is a code into `vocabularies`.
    A null is False in the tensor ``<property>__present``, which exists where a column has nulls.
    """

    graph: dgl.DGLHeteroGraph
    vocabularies: dict[tuple[str, str], pa.Array]
    """Distinct values by (label or edge name, property)."""
    fields: dict[tuple[str, str], pa.Field]

    def node_table(self, label: str) -> pa.Table:
        """The label's properties, read back from the tensors, in node order."""
        return self._table(label, dict(self.graph.nodes[label].data), {})

    def edge_table(self, edge: EdgeType) -> pa.Table:
        """`src`, `dst` and the type's properties, read back from the tensors, in edge order."""
        canonical = (edge.source, edge.type, edge.target)
        src, dst = self.graph.edges(etype=canonical)
        return self._table(edge.name, dict(self.graph.edges[canonical].data), {"src": src, "dst": dst})

    def _table(self, owner: str, data: dict[str, Tensor], ends: dict[str, Tensor]) -> pa.Table:
        columns = [pa.array(values.numpy()) for values in ends.values()]
        fields = [field for (of, _), field in self.fields.items() if of == owner]
        for (of, name), wanted in self.fields.items():
            if of != owner:
                continue
            present = data.get(f"{name}__present")
            mask = None if present is None else ~present.numpy()
            values = pa.array(data[name].numpy(), mask=mask)
            if (of, name) in self.vocabularies:
                values = self.vocabularies[of, name].take(values)
            columns.append(values.cast(wanted.type))
        schema = pa.schema([*(pa.field(name, pa.int64()) for name in ends), *fields])
        return pa.table(columns, schema=schema)


def heterograph(snapshot: Snapshot) -> Mirror:
    """The snapshot itself as a heterograph: nothing replaced, reversed, merged or left out."""
    ends = {
        (e.source, e.type, e.target): (_tensor(t["src"].to_numpy()), _tensor(t["dst"].to_numpy()))
        for e, t in snapshot.edges.items()
    }
    graph = dgl.heterograph(ends, {label: snapshot.count(label) for label in snapshot.nodes})
    mirror = Mirror(graph, {}, {})
    for label, table in snapshot.nodes.items():
        _fill(mirror, label, table, table.column_names, graph.nodes[label].data)
    for edge, table in snapshot.edges.items():
        names = [n for n in table.column_names if n not in {"src", "dst"}]
        _fill(mirror, edge.name, table, names, graph.edges[edge.source, edge.type, edge.target].data)
    return mirror


def _fill(mirror: Mirror, owner: str, table: pa.Table, names: Iterable[str], data: Any) -> None:
    for name in names:
        column = table[name].combine_chunks()
        mirror.fields[owner, name] = table.schema.field(name)
        if column.null_count:
            data[f"{name}__present"] = _tensor(column.is_valid().to_numpy(zero_copy_only=False))
        if pa.types.is_timestamp(column.type):
            values, fill = column.cast(pa.int64()), 0
        elif pa.types.is_boolean(column.type) or pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
            values, fill = column, 0
        else:
            mirror.vocabularies[owner, name], values = _codes(column)
            fill = 0
        data[name] = _tensor(
            pc.fill_null(values, False if pa.types.is_boolean(values.type) else fill).to_numpy(zero_copy_only=False)
        )


def _codes(column: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Distinct values and each row's position among them; lists are told apart by their Python value."""
    if not pa.types.is_nested(column.type):
        encoded = column.dictionary_encode()
        return encoded.dictionary, encoded.indices.cast(pa.int64())
    seen: dict[str, int] = {}
    first: list[int] = []
    codes: list[int | None] = []
    for row, value in enumerate(column.to_pylist()):
        if value is None:
            codes.append(None)
            continue
        if (text := repr(value)) not in seen:
            seen[text] = len(seen)
            first.append(row)
        codes.append(seen[text])
    return column.take(pa.array(first, pa.int64())), pa.array(codes, pa.int64())


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values).copy())
