"""From a trained network to the vectors of all users and items."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import dgl
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from embed.graph import SENT, with_sent
from embed.layers import Hop, relation
from embed.model import Fused, Inputs, Network, State
from embed.snapshot import Placement


@dataclass(frozen=True)
class Embeddings:
    """Vectors by view (`h`, `v`, `c`, `z`) for the users and items of a catalogue, in its order.

    Rows have length 1, or are zero where the mask says that the view is missing. `z` is never missing.
    """

    users: dict[str, np.ndarray]
    """float32[n_users, d]"""
    items: dict[str, np.ndarray]
    """float32[n_items, d], all domains"""
    user_masks: dict[str, np.ndarray]
    """bool[n_users]"""
    item_masks: dict[str, np.ndarray]
    """bool[n_items]"""

    @property
    def views(self) -> list[str]:
        """Names of the views."""
        return list(self.users)

    @property
    def dim(self) -> int:
        """Width of every view."""
        return int(self.users["z"].shape[1])

    def scores(self, users: np.ndarray | None = None) -> np.ndarray:
        """float32[users, n_items]: cosine in `z` of some users (default: all) with all items."""
        return (self.users["z"] if users is None else self.users["z"][users]) @ self.items["z"].T


def relations(graph: dgl.DGLHeteroGraph, device: torch.device) -> Hop:
    """The graph's relations one by one, as layers take them; in a block the target rows lead the source rows."""
    return {etype: relation(graph[etype], device) for etype in graph.canonical_etypes}


@torch.inference_mode()
def embed_graph(
    network: Network, graph: dgl.DGLHeteroGraph, nodes: Inputs, placement: Placement, batch_size: int | None = None
) -> Embeddings:
    """Layer by layer over all neighbours: each layer is computed once for every node, in batches or at one go.

    The result does not depend on `batch_size` (target nodes by label and batch) beyond rounding. Edges may carry
    `SENT` already where the graph is a part of a larger one.
    """
    was_training = network.training
    network.eval()
    if batch_size is not None and not any(SENT in graph.edges[etype].data for etype in graph.canonical_etypes):
        graph = with_sent(graph)
    projected = network.projected(nodes)
    state = network.start(nodes, projected)
    for depth in range(network.config.graph.hops):
        last = depth == network.config.graph.hops - 1
        labels = network.labels_after(depth)
        parts = []
        for hop, rows, counts in _layer_batches(graph, labels, batch_size, network.device):
            here, around = _rows(state, rows), nodes.take(rows)
            after = network.step(hop, around, here, counts)
            mine = {view: _cut(found, rows) for view, found in projected.items()}
            parts.append((after, network.finish(hop, around, after, mine, counts) if last else None))
        state = _join([after for after, _ in parts])
    fused = _join_fused([found for _, found in parts if found])
    network.train(was_training)
    return _embeddings(network, fused, placement)


def _layer_batches(
    graph: dgl.DGLHeteroGraph, labels: list[str], batch_size: int | None, device: torch.device
) -> Iterator[tuple[Hop, dict[str, Tensor], dict[str, int]]]:
    """Relations, rows of the source nodes by label, and how many leading ones are targets."""
    if batch_size is None:
        rows = {label: torch.arange(graph.num_nodes(label)) for label in graph.ntypes}
        yield relations(graph, device), rows, {label: len(rows[label]) for label in labels}
        return
    longest = max(graph.num_nodes(label) for label in labels)
    for start in range(0, longest, batch_size):
        seeds = {
            label: torch.arange(start, min(start + batch_size, graph.num_nodes(label)))
            for label in labels
            if start < graph.num_nodes(label) or not start
        }
        block = dgl.to_block(dgl.in_subgraph(graph, seeds), seeds)
        rows = {label: block.srcnodes[label].data[dgl.NID] for label in block.srctypes}
        yield relations(block, device), rows, {label: len(index) for label, index in seeds.items()}


def _rows(state: State, rows: dict[str, Tensor]) -> State:
    return State(_cut(state.x, rows), _cut(state.light, rows), _cut(state.total, rows), {}, state.depth)


def _cut(by_label: dict[str, Tensor], rows: dict[str, Tensor]) -> dict[str, Tensor]:
    return {label: values[rows[label].to(values.device)] for label, values in by_label.items() if label in rows}


def _join(parts: list[State]) -> State:
    def cat(found: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        labels = {label: None for by_label in found for label in by_label}
        return {label: torch.cat([f[label] for f in found if label in f]) for label in labels}

    return State(
        cat([p.x for p in parts]), cat([p.light for p in parts]), cat([p.total for p in parts]), {}, parts[0].depth
    )


def _join_fused(parts: list[dict[str, Fused]]) -> dict[str, Fused]:
    joined = {}
    for label in {label: None for part in parts for label in part}:
        mine = [part[label] for part in parts if label in part]
        joined[label] = Fused(*(torch.cat([getattr(m, name) for m in mine]) for name in ("views", "mask", "z")))
    return joined


def _embeddings(network: Network, fused: dict[str, Fused], placement: Placement) -> Embeddings:
    users, user_masks = _arrays(network, [(fused[network.shape.user], placement.users)])
    items, item_masks = _arrays(network, [(fused[label], index) for label, index in placement.items.items()])
    return Embeddings(users, items, user_masks, item_masks)


def _arrays(
    network: Network, parts: list[tuple[Fused, np.ndarray]]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    vectors, masks = {}, {}
    for position, view in enumerate(network.views):
        masks[view] = np.concatenate([f.mask[:, position].cpu().numpy()[index] for f, index in parts])
        found = np.concatenate([f.views[:, position].float().cpu().numpy()[index] for f, index in parts])
        vectors[view] = found * masks[view][:, None]
    vectors["z"] = np.concatenate([f.z.float().cpu().numpy()[index] for f, index in parts])
    masks["z"] = np.ones(len(vectors["z"]), bool)
    return vectors, masks


def rotation_onto(new: Embeddings, reference: Embeddings) -> Float[np.ndarray, "d d"]:
    r"""What turns `new` so that it lies in the space of `reference`: orthogonal Procrustes on `z` (Schönemann, 1966).

    .. math:: R = U V^\top, \quad U \Sigma V^\top = Z_{new}^\top Z_{ref}

    Both must be of one catalogue and width, else `ValueError`; what one learned late or the other never saw is in the
    fit all the same, row by row.
    """
    ours = np.concatenate([new.users["z"], new.items["z"]]).astype(np.float64)
    theirs = np.concatenate([reference.users["z"], reference.items["z"]]).astype(np.float64)
    if ours.shape != theirs.shape:
        raise ValueError(f"embeddings of one catalogue and width, found {ours.shape} and {theirs.shape}")
    left, _, right = np.linalg.svd(ours.T @ theirs)
    rotation: np.ndarray = (left @ right).astype(np.float32)
    return rotation


def turned(embeddings: Embeddings, rotation: Float[np.ndarray, "d d"]) -> Embeddings:
    """All views turned by one rotation, so cosines stay as they are."""
    return replace(
        embeddings,
        users={view: rows @ rotation for view, rows in embeddings.users.items()},
        items={view: rows @ rotation for view, rows in embeddings.items.items()},
    )


def align(new: Embeddings, reference: Embeddings) -> Embeddings:
    """`new`, turned so that it lies in the space of `reference` (`rotation_onto`)."""
    return turned(new, rotation_onto(new, reference))
