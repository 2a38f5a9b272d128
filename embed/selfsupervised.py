"""Self-supervised objectives: what a graph and what its nodes bring teach without predicting any interaction."""

from collections.abc import Iterator
from itertools import combinations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from embed.batches import Batch
from embed.config import SelfSupervisedWeights, SelfSupervision
from embed.corruption import Hidden, corrupted_pass, draw_hidden, without_nodes
from embed.layers import slot
from embed.model import Fused, Inputs, Network
from embed.ops import l2_normalise

SHARPNESS = 2.0
"""GraphMAE's gamma, of which the paper takes 1 to 3: what is nearly told weighs less than what is not."""


def self_supervised_losses(
    network: Network,
    decoder: "Decoder | None",
    batch: Batch,
    fused: dict[str, Fused],
    weights: SelfSupervisedWeights,
    settings: SelfSupervision,
) -> list[Float[Tensor, ""]]:
    """The losses with a weight above 0, each times it. `fused` is the batch's own pass, which the alignment looks at.

    The contrast takes two further passes, the reconstruction one and a `decoder`.
    """
    losses = []
    if weights.contrast:
        one, two = (corrupted_pass(network, batch, settings) for _ in range(2))
        losses.append(weights.contrast * contrast(one, two, settings.temperature, settings.nodes))
    if weights.reconstruction and decoder is not None:
        hidden = draw_hidden(batch.inputs, network.ends, settings.masked)
        found = network(batch.hops, without_nodes(batch.inputs, hidden), batch.targets)
        graph_views = {label: nodes.views[:, 0] for label, nodes in found.items()}
        losses.append(weights.reconstruction * decoder(graph_views, batch.inputs, hidden, settings.nodes))
    if weights.alignment:
        losses.append(weights.alignment * alignment(fused, settings.temperature, settings.nodes))
    return losses


def info_nce(one: Float[Tensor, "n d"], two: Float[Tensor, "n d"], temperature: float) -> Float[Tensor, ""]:
    r"""Row i of either side finds row i of the other among all of its rows, by cosine; both ways, averaged.

    .. math::
        -\frac{1}{2n} \sum_i \Big(\log \frac{e^{a_i \cdot b_i / \tau}}{\sum_j e^{a_i \cdot b_j / \tau}}
            + \log \frac{e^{a_i \cdot b_i / \tau}}{\sum_j e^{a_j \cdot b_i / \tau}}\Big)

    van den Oord et al. (2018), eq. 4, as SGL has it (Wu et al., 2021), made symmetric as in GRACE (Zhu et al.,
    2020), without that one's negatives from a node's own side.
    """
    logits = l2_normalise(one) @ l2_normalise(two).T / temperature
    true = torch.arange(len(one), device=one.device)
    return (F.cross_entropy(logits, true) + F.cross_entropy(logits.T, true)) / 2


def scaled_cosine_error(
    found: Float[Tensor, "n f"], wanted: Float[Tensor, "n f"], sharpness: float = SHARPNESS
) -> Float[Tensor, ""]:
    r"""How far rows point away from those wanted, whatever their lengths; GraphMAE, Hou et al. (2022).

    .. math:: \frac{1}{n} \sum_i \Big(1 - \frac{x_i \cdot z_i}{\|x_i\| \, \|z_i\|}\Big)^\gamma
    """
    return (1 - F.cosine_similarity(found, wanted)).pow(sharpness).mean()


def contrast(one: dict[str, Fused], two: dict[str, Fused], temperature: float, count: int) -> Float[Tensor, ""]:
    """`info_nce` between `z` of two passes over the same nodes, at most `count` of a label; the mean over labels.

    Nodes are told from others of their label alone, or domains would be driven apart. As passes each treat other items
    as new (`GraphModel.cold`), this also draws an item as it is known to what it would be without interactions.
    """
    losses = []
    for label, nodes in one.items():
        rows = some(torch.arange(len(nodes.z), device=nodes.z.device), count)
        losses.append(info_nce(nodes.z[rows], two[label].z[rows], temperature))
    return torch.stack(losses).mean()


def alignment(fused: dict[str, Fused], temperature: float, count: int) -> Float[Tensor, ""]:
    """`info_nce` between every two views of the nodes that have both, at most `count` of a label; the mean over these.

    As CLIP does with texts and pictures (Radford et al., 2021, figure 3). A missing view takes no part.
    """
    losses = []
    for nodes in fused.values():
        for one, two in combinations(range(nodes.views.shape[1]), 2):
            rows = some((nodes.mask[:, one] & nodes.mask[:, two]).nonzero()[:, 0], count)
            if len(rows) > 1:
                losses.append(info_nce(nodes.views[rows, one], nodes.views[rows, two], temperature))
    return _mean(losses, *(nodes.z for nodes in fused.values()))


def some(rows: Int[Tensor, " n"], count: int) -> Int[Tensor, " k"]:
    """`count` of the rows in random order, or all of them where there are fewer."""
    return rows[torch.randperm(len(rows), device=rows.device)[:count]]


def _mean(losses: list[Tensor], *passed: Tensor) -> Float[Tensor, ""]:
    """A zero that gradients can start from where nobody took part."""
    return torch.stack(losses).mean() if losses else torch.stack([rows.sum() for rows in passed]).sum() * 0


class Decoder(nn.Module):
    """From the graph view back to what nodes brought: a linear map by label for each of properties, text and picture.

    Only training needs it. What is wanted is taken relative to the mean over nodes: the mean alone has a
    cosine of 0.64 with the posters of MovieLens, and 0.40 with its texts, and that would be all there is to learn.
    """

    def __init__(self, labels: list[str], dim: int, nodes: Inputs) -> None:
        """For the labels of users and items; `nodes` are all that training knows."""
        super().__init__()
        self.centres: dict[str, Float[Tensor, " f"]] = {}
        self.maps = nn.ModuleDict()
        for label in labels:
            for name, rows, known in brought(nodes, label):
                self.centres[name] = rows[known].mean(0)
                self.maps[name] = nn.Linear(dim, rows.shape[1], device=nodes.device)

    def forward(
        self, graph_views: dict[str, Float[Tensor, "n d"]], nodes: Inputs, hidden: Hidden, count: int
    ) -> Float[Tensor, ""]:
        """`scaled_cosine_error` of what hidden nodes brought, by label and kind at most `count` of them; the mean.

        `graph_views` are of the leading rows of `nodes`, who here show what a pass without the hidden did not see.
        """
        losses = []
        for label, h in graph_views.items():
            for name, rows, known in brought(nodes, label):
                mine = some((known & hidden[label])[: len(h)].nonzero()[:, 0], count)
                if len(mine):
                    losses.append(scaled_cosine_error(self.maps[name](h[mine]), rows[mine] - self.centres[name]))
        return _mean(losses, *graph_views.values())


def brought(nodes: Inputs, label: str) -> Iterator[tuple[str, Float[Tensor, "n f"], Bool[Tensor, " n"]]]:
    """A name, rows, and who has them, for each of properties, text and picture that nodes of a label bring."""
    features = nodes.features[label]
    if features.shape[1] and len(features):
        yield slot(label), features, torch.ones(len(features), dtype=torch.bool, device=features.device)
    for view, by_label in nodes.views.items():
        if label in by_label and nodes.masks[view][label].any():
            yield slot(label, view), by_label[label], nodes.masks[view][label]
