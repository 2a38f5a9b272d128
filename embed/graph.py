"""The DGL heterograph that models learn from, made of a snapshot and of the interactions that may be seen."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import dgl
import numpy as np
import torch
from torch import Tensor

from embed.snapshot import Placement, Snapshot, own_interactions, target_edges
from kg.interactions import Catalogue, Interactions
from kg.schema import EdgeType

Canonical = tuple[str, str, str]
REVERSE = "rev_"
SHARED = "RELATED"
MESSAGE = "message"
"""Edge data: what the messages along an edge are multiplied by."""
SENT = "sent"
"""Edge data: how many edges of its relation leave an edge's source, of which a part of a graph may hold only some."""
DAY = 86_400_000_000
"""Microseconds."""


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


def with_sent(graph: dgl.DGLHeteroGraph) -> dgl.DGLHeteroGraph:
    """The same graph with edge data `SENT`, which parts of it then have too."""
    graph = graph.local_var()
    for etype in graph.canonical_etypes:
        src, _ = graph.edges(etype=etype, order="eid")
        graph.edges[etype].data[SENT] = graph.out_degrees(etype=etype)[src].float()
    return graph


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
    return (part_of(graph, rows) if bare else graph), rows


def part_of(graph: dgl.DGLHeteroGraph, rows: dict[str, Tensor]) -> dgl.DGLHeteroGraph:
    """The subgraph of some nodes, by label, renumbered in their order, its edges in theirs.

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
