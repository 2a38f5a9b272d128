"""New vectors after a changed ingest without training: those that the change reaches, the others stay as they are.

A change reaches as far as messages do: `hops` of the network, and one more where degrees scale what a node sends, for
a new edge then changes what both of its ends send along all others. Features of the whole graph (PageRank,
communities) are in no snapshot that is learned from, so they are nothing that a vector could follow.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import dgl
import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from embed.graph import MESSAGE, REVERSE, Canonical, part_of, with_sent
from embed.infer import Embeddings, embed_graph, turned
from embed.model import Inputs, Network
from embed.seen import changed, seen
from embed.snapshot import Placement, target_edges
from embed.train import Trained
from kg.errors import ConfigError
from kg.interactions import Interactions
from kg.schema import EdgeType

Masks = dict[str, Bool[np.ndarray, " n"]]
"""By label, over the nodes of the graph that the network sees."""


@dataclass(frozen=True)
class Figures:
    """What a refresh did."""

    recomputed: int
    """Users and items whose vectors were computed anew."""
    of: int
    """All users and items."""
    new: int
    """Of the recomputed those that had no vector before."""
    looked_at: int
    """Nodes of any label that messages to the recomputed come from, these included."""
    of_nodes: int
    weighed: bool = False
    """Whether messages are weighed relative to all others of their relation, so that one event more changes each."""
    ignored: tuple[str, ...] = ()
    """Relations that the model has no parameters for, as it was trained without them."""


@dataclass(frozen=True)
class Refreshed:
    """All vectors, and what the next refresh is to be told."""

    embeddings: Embeddings
    seen: dict[str, pa.Table]
    figures: Figures


def refresh(
    trained: Trained,
    interactions: Interactions,
    old: Embeddings,
    before: dict[str, pa.Table],
    rotation: Float[np.ndarray, "d d"] | None = None,
) -> Refreshed:
    """The vectors that `trained.embed(interactions)` gives, turned by `rotation`; what no change reaches is `old`'s.

    `trained` is a checkpoint on the new snapshot. `old` are the vectors of before in its catalogue's order, turned
    already, masked where a node had none; `before` is what the network saw then (`embed.seen`). The rest equals `old`
    bit by bit. `ConfigError` where the snapshot lacks labels or interactions that the network is laid out for.
    """
    _require_layout(trained)
    graph, inputs, rows = trained.seen(interactions)
    network, placement = trained.network, Placement.of(trained.snapshot, trained.catalogue)
    now = seen(graph, inputs, rows, trained.snapshot, network.shape)
    reached = _reached(network, graph, changed(before, now))
    # Whoever has no vector needs one, reached or not.
    users = reached[placement.user_label][placement.users] | ~old.user_masks["z"]
    items = np.concatenate([reached[label][index] for label, index in placement.items.items()]) | ~old.item_masks["z"]
    wanted = _among(placement, users, items)
    needed = _sources(network, graph, wanted)
    made = old
    if users.any() or items.any():
        found = _embed_part(trained, graph, inputs, wanted, needed)
        made = _merged(old, turned(found, rotation) if rotation is not None else found, users, items)
    figures = Figures(
        recomputed=int(users.sum() + items.sum()),
        of=len(users) + len(items),
        new=int((~old.user_masks["z"]).sum() + (~old.item_masks["z"]).sum()),
        looked_at=sum(int(mask.sum()) for mask in needed.values()),
        of_nodes=graph.num_nodes(),
        weighed=any(MESSAGE in graph.edges[relation].data for relation in network.shape.interactions),
        ignored=_ignored(network, graph),
    )
    return Refreshed(made, now, figures)


def _require_layout(trained: Trained) -> None:
    """`ConfigError` where the network cannot be applied to the snapshot."""
    snapshot, shape = trained.snapshot, trained.network.shape
    targets = target_edges(snapshot, trained.catalogue).values()
    for what, wanted, found in (
        ("labels", shape.labels, [label for label in shape.labels if label in snapshot.nodes]),
        ("items", shape.items, list(trained.catalogue.items)),
        ("interactions", [i for i in shape.interactions if i[0] == shape.user], [_canonical(e) for e in targets]),
    ):
        if set(wanted) != set(found):
            told = f"the model was trained on the {what} {sorted(wanted)}, found {sorted(found)}"
            raise ConfigError(f"{told}: `crossgraph run` trains a new one")


def _canonical(edge: EdgeType) -> Canonical:
    return edge.source, edge.type, edge.target


def _ignored(network: Network, graph: dgl.DGLHeteroGraph) -> tuple[str, ...]:
    known = set(network.shape.relations)
    unknown = (r for r in graph.canonical_etypes if r not in known and not r[1].startswith(REVERSE))
    return tuple(sorted("-".join(relation) for relation in unknown))


def _among(placement: Placement, users: np.ndarray, items: np.ndarray) -> Placement:
    """Of a catalogue those users and items that masks choose."""
    chosen, first = {}, 0
    for label, index in placement.items.items():
        chosen[label] = index[items[first : first + len(index)]]
        first += len(index)
    return Placement(placement.user_label, placement.users[users], chosen, placement.item_node[items])


def _reached(network: Network, graph: dgl.DGLHeteroGraph, change: dict[str, Masks]) -> Masks:
    """Whose vectors after the last hop may differ from before.

    After each hop along some relations a node is reached that was so before it, whose own edges of these changed, or
    who gets a message from a reached node, or from one with a changed degree where that scales what it sends.
    """
    reached = {label: mask.copy() for label, mask in change["own"].items()}
    convolved = network.config.graph.model == "gcn"
    for hop in range(network.config.graph.hops):
        attributes = hop < network.config.graph.attribute_layers
        edges = change["attributes" if attributes else "interactions"]
        scaled = convolved if attributes else True  # propagation scales by the degrees of both ends
        senders = {label: mask | edges[label] if scaled else mask for label, mask in reached.items()}
        reached = {label: mask | edges[label] for label, mask in reached.items()}
        for (source, _, target), src, dst in _ends(graph, network.relations_of(hop)):
            reached[target][dst[senders[source][src]]] = True
    return reached


def _sources(network: Network, graph: dgl.DGLHeteroGraph, wanted: Placement) -> Masks:
    """All nodes that these users and items are computed from, themselves included."""
    needed = {label: np.zeros(graph.num_nodes(label), bool) for label in graph.ntypes}
    for label, index in ((wanted.user_label, wanted.users), *wanted.items.items()):
        needed[label][index] = True
    for hop in reversed(range(network.config.graph.hops)):
        targets = {label: mask.copy() for label, mask in needed.items()}
        for (source, _, target), src, dst in _ends(graph, network.relations_of(hop)):
            needed[source][src[targets[target][dst]]] = True
    return needed


def _ends(
    graph: dgl.DGLHeteroGraph, relations: Iterable[Canonical]
) -> Iterable[tuple[Canonical, np.ndarray, np.ndarray]]:
    known = set(graph.canonical_etypes)
    for etype in relations:
        if etype in known:
            src, dst = graph.edges(etype=etype)
            yield etype, src.numpy(), dst.numpy()


def _embed_part(
    trained: Trained, graph: dgl.DGLHeteroGraph, inputs: Inputs, wanted: Placement, needed: Masks
) -> Embeddings:
    """Vectors of `wanted`, by the part of the graph that they need.

    Nodes at its rim lack neighbours and get vectors that are not theirs, which reach nobody who is wanted.
    """
    rows: dict[str, Tensor] = {label: torch.from_numpy(np.flatnonzero(mask)) for label, mask in needed.items()}
    part = part_of(with_sent(graph), rows)
    number = {label: mask.cumsum() - 1 for label, mask in needed.items()}
    items = {label: number[label][index] for label, index in wanted.items.items()}
    inside = replace(wanted, users=number[wanted.user_label][wanted.users], items=items)
    whole = part.num_edges() <= trained.config.graph.full_graph_edges
    return embed_graph(trained.network, part, inputs.take(rows), inside, None if whole else trained.config.batch_size)


def _merged(old: Embeddings, new: Embeddings, users: np.ndarray, items: np.ndarray) -> Embeddings:
    """`old` with `new` in the rows of two masks."""
    return Embeddings(
        *(
            {view: _filled(getattr(old, part).get(view), rows, mask) for view, rows in getattr(new, part).items()}
            for part, mask in (("users", users), ("items", items), ("user_masks", users), ("item_masks", items))
        )
    )


def _filled(old: np.ndarray | None, new: np.ndarray, mask: np.ndarray) -> np.ndarray:
    result = np.zeros((len(mask), *new.shape[1:]), new.dtype)
    if old is not None and old.shape == result.shape:  # a view that nobody had has no width
        result[:] = old
    result[mask] = new
    return result
