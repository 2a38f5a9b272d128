"""What self-supervised passes do not see of a batch: edges, columns of what nodes bring, or all that some nodes bring.

All draws come from torch's global generator, and none is made for a share of 0.
"""

from collections.abc import Iterable
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from embed.batches import Batch
from embed.config import SelfSupervision
from embed.layers import Canonical, Hop, Relation
from embed.model import Fused, Inputs, Network

Hidden = dict[str, Bool[Tensor, " n"]]
"""By label which rows are hidden."""


def corrupted_pass(network: Network, batch: Batch, settings: SelfSupervision) -> dict[str, Fused]:
    """The batch's users and items without some edges and columns; what the batch predicts stays hidden."""
    used = [network.relations_of(depth) for depth in range(len(batch.hops))]
    hops = without_edges(batch.hops, used, settings.edge_dropout)
    return network(hops, without_columns(batch.inputs, settings.feature_dropout), batch.targets)


def without_edges(hops: list[Hop], used: list[list[Canonical]], share: float) -> list[Hop]:
    """Hops along the relations `used` by each, every edge of which is hidden with probability `share`.

    Edge dropout of SGL, Wu et al. (2021). Hops over one graph miss the same edges, as there; sampled blocks each
    miss their own, as in that paper's random walk. By subtraction (`Edges.without`) the sums over a whole graph keep
    what was derived from it.
    """
    if not share:
        return hops
    made: dict[int, Relation] = {}
    for hop, along in zip(hops, used, strict=True):
        for etype in along:
            if etype in hop and id(hop[etype]) not in made:
                made[id(hop[etype])] = _thinned(hop[etype], share)
    return [
        {etype: made[id(hop[etype])] for etype in along if etype in hop} for hop, along in zip(hops, used, strict=True)
    ]


def _thinned(relation: Relation, share: float) -> Relation:
    edges = relation.edges
    rows = (torch.rand(len(edges.src), device=edges.src.device) < share).nonzero()[:, 0]
    return replace(relation, edges=edges.without(rows)) if len(rows) else relation


def without_columns(nodes: Inputs, share: float) -> Inputs:
    r"""Every column of a label's properties, texts and pictures is zero for all of its nodes with probability `share`.

    .. math:: \tilde x_i = x_i \circ m, \quad m_k \sim \operatorname{Bernoulli}(1 - p)

    Masking of node features in GRACE, Zhu et al. (2020).
    """
    if not share:
        return nodes

    def thin(by_label: dict[str, Float[Tensor, "n f"]]) -> dict[str, Float[Tensor, "n f"]]:
        return {
            label: rows * (torch.rand(rows.shape[1], device=rows.device) >= share) for label, rows in by_label.items()
        }

    return replace(
        nodes, features=thin(nodes.features), views={view: thin(by_label) for view, by_label in nodes.views.items()}
    )


def draw_hidden(nodes: Inputs, labels: Iterable[str], share: float) -> Hidden:
    """Every node of the labels with probability `share`."""
    found = {label: nodes.features[label] for label in labels if label in nodes.features}
    return {label: torch.rand(len(rows), device=rows.device) < share for label, rows in found.items()}


def without_nodes(nodes: Inputs, hidden: Hidden) -> Inputs:
    """Some nodes bring nothing: no properties, no text, no picture, no vector of their own.

    What is left of them is the vector that all nodes of their label start from; it stands for the learned mask token of
    GraphMAE, Hou et al. (2022). Their edges stay.
    """
    shown = {label: ~rows for label, rows in hidden.items()}
    return replace(
        nodes,
        features={
            label: rows * shown[label][:, None] if label in shown else rows for label, rows in nodes.features.items()
        },
        masks={
            view: {label: rows & shown[label] if label in shown else rows for label, rows in by_label.items()}
            for view, by_label in nodes.masks.items()
        },
        ids={
            label: torch.where(shown[label], rows, -1) if label in shown else rows for label, rows in nodes.ids.items()
        },
    )
