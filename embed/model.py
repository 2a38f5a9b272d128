"""The network: node inputs, typed graph layers, propagated id vectors, projected views, fusion."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from embed.config import EmbedConfig
from embed.fusion import make_fusion
from embed.layers import Canonical, HeteroLayer, Hop, propagate, slot
from embed.ops import l2_normalise


class Shape(BaseModel):
    """What a network's parameters are laid out for; with the configuration it rebuilds the network."""

    model_config = ConfigDict(frozen=True)
    user: str
    items: list[str]
    labels: list[str]
    relations: list[Canonical]
    interactions: list[Canonical]
    """Those of `relations` that ids and user views travel along, both directions."""
    features: dict[str, int]
    """Width of the property matrix by label."""
    views: dict[str, int]
    """Width of the encoder's vectors by view: `v` from text, `c` from images."""
    ids: dict[str, int]
    """How many nodes have a vector of their own, by label."""


@dataclass
class Inputs:
    """What nodes bring with them, by label, on the model's device."""

    features: dict[str, Float[Tensor, "n f"]]
    views: dict[str, dict[str, Float[Tensor, "n e"]]]
    """By view, then label."""
    masks: dict[str, dict[str, Bool[Tensor, " n"]]]
    ids: dict[str, Int[Tensor, " n"]]
    """Row of the node's own vector, -1 where it has none."""
    scale: dict[str, Float[Tensor, " n"]]
    """Weight of a node as source of propagation, about 1/sqrt(degree)."""

    def take(self, rows: dict[str, Tensor]) -> "Inputs":
        """The inputs of some nodes."""
        pick = {label: index for label, index in rows.items() if label in self.features}

        def cut(by_label: dict[str, Tensor]) -> dict[str, Tensor]:
            return {
                label: by_label[label][index.to(by_label[label].device)]
                for label, index in pick.items()
                if label in by_label
            }

        return Inputs(
            cut(self.features),
            {view: cut(found) for view, found in self.views.items()},
            {view: cut(found) for view, found in self.masks.items()},
            cut(self.ids),
            cut(self.scale),
        )

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return next(iter(self.features.values())).device

    def counts(self) -> dict[str, int]:
        """Nodes by label."""
        return {label: len(rows) for label, rows in self.features.items()}


@dataclass
class State:
    """Between two layers: what the layers made, what propagation made, and the sum of the latter so far."""

    x: dict[str, Tensor]
    light: dict[str, Tensor]
    total: dict[str, Tensor]
    depth: int = 0


@dataclass
class Fused:
    """Views and their fusion for the nodes of one label."""

    views: Float[Tensor, "n views d"]
    mask: Bool[Tensor, "n views"]
    z: Float[Tensor, "n d"] = field(default_factory=lambda: torch.zeros(0))


class Network(nn.Module):
    r"""Graph, language and picture views of users and items, and their fusion, inductive in all three.

    .. math:: h = \operatorname{norm}(\operatorname{norm}(W\,\mathrm{GNN}(x)) + g \operatorname{norm}(\bar e))

    where :math:`x` are projected properties, text and image plus the id vector, and :math:`\bar e` the mean over hops
    of the id vectors propagated along interactions (LightGCN, He et al., 2020, eq. 8).
    """

    def __init__(self, shape: Shape, config: EmbedConfig) -> None:
        """Parameters as `shape` says."""
        super().__init__()
        graph = config.graph
        dim = graph.dim
        self.shape, self.dim, self.hide_share = shape, dim, graph.id_dropout
        described = {label: width for label, width in shape.features.items() if width}
        self.inputs = nn.ModuleDict({slot(label): nn.Linear(width, dim) for label, width in described.items()})
        self.base = nn.ParameterDict({slot(label): torch.randn(dim) * 0.1 for label in shape.labels})
        self.from_view = nn.ModuleDict({view: nn.Linear(width, dim, bias=False) for view, width in shape.views.items()})
        self.project = nn.ModuleDict({view: nn.Linear(width, dim) for view, width in shape.views.items()})
        self.ids = nn.ParameterDict({slot(label): torch.randn(n, dim) * 0.1 for label, n in shape.ids.items()})
        self.layers = nn.ModuleList(
            HeteroLayer(graph.model, shape.labels, shape.relations, dim, graph.heads, graph.dropout)
            for _ in range(graph.layers)
        )
        self.head = nn.Linear(dim, dim)
        self.gate = nn.Parameter(torch.ones(()))
        self.fusion = nn.ModuleDict(
            {side: make_fusion(config.fusion, 1 + len(shape.views), dim) for side in ("user", "item")}
        )
        self._interactions = set(shape.interactions)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.gate.device

    @property
    def views(self) -> list[str]:
        """Names of the views in the order of `Fused.views`: always `h`, then those that the project has."""
        return ["h", *self.shape.views]

    def start(self, nodes: Inputs) -> State:
        """Layer 0 of all rows of `nodes`; training hides a share of the id vectors."""
        x, light = {}, {}
        for label, features in nodes.features.items():
            x[label] = self.base[slot(label)].expand(len(features), -1)
            if slot(label) in self.inputs:
                x[label] = x[label] + self.inputs[slot(label)](features)
            for view, by_label in nodes.views.items():
                if label in by_label:
                    x[label] = x[label] + self.from_view[view](by_label[label]) * nodes.masks[view][label][:, None]
            if label in nodes.ids and slot(label) in self.ids:
                light[label] = self._own_vectors(label, nodes.ids[label])
                x[label] = x[label] + light[label]
        return State(x, light, light)

    def _own_vectors(self, label: str, rows: Int[Tensor, " n"]) -> Float[Tensor, "n d"]:
        known = rows >= 0
        if self.training and self.hide_share:
            known = known & (torch.rand(len(rows), device=rows.device) >= self.hide_share)
        return self.ids[slot(label)][rows.clamp(min=0)] * known[:, None]

    def step(self, hop: Hop, nodes: Inputs, state: State, targets: dict[str, int]) -> State:
        """The next layer for the leading rows of each label that `targets` counts."""
        x = self.layers[state.depth](hop, state.x, targets)
        scale = {label: nodes.scale[label][: len(rows)] for label, rows in state.light.items()}
        light = propagate(hop, state.light, scale, targets, self._interactions)
        total = {label: state.total[label][: len(rows)] + rows for label, rows in light.items()}
        return State(x, light, total, state.depth + 1)

    def finish(
        self, hop: Hop, nodes: Inputs, state: State, sources: dict[str, int], targets: dict[str, int]
    ) -> dict[str, Fused]:
        """Views and `z` of users and items after the last layer; `hop` is the last one again, `sources` its rows."""
        hs = {label: self._graph_view(state, label) for label in targets}
        others = [self._encoded_view(view, hop, nodes, sources, targets) for view in self.shape.views]
        result = {}
        for label, h in hs.items():
            stacked = torch.stack([h, *(views[label] for views, _ in others)], dim=1)
            mask = torch.stack([torch.ones_like(h[:, 0], dtype=torch.bool), *(m[label] for _, m in others)], dim=1)
            side = "user" if label == self.shape.user else "item"
            result[label] = Fused(stacked, mask, self.fusion[side](stacked, mask))
        return result

    def _graph_view(self, state: State, label: str) -> Float[Tensor, "n d"]:
        h = l2_normalise(self.head(state.x[label]))
        if label in state.total:
            h = h + self.gate * l2_normalise(state.total[label])
        return l2_normalise(h)

    def _encoded_view(
        self, view: str, hop: Hop, nodes: Inputs, sources: dict[str, int], targets: dict[str, int]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Projected vectors and masks; who has none of its own gets the mean over its interactions' other ends."""
        own: dict[str, Tensor] = {}
        known: dict[str, Tensor] = {}
        for label in {self.shape.user, *self.shape.items} & sources.keys():
            size = sources[label]
            if label in nodes.views[view]:
                known[label] = nodes.masks[view][label][:size]
                own[label] = l2_normalise(self.project[view](nodes.views[view][label][:size])) * known[label][:, None]
            else:
                known[label] = torch.zeros(size, dtype=torch.bool, device=self.gate.device)
                own[label] = torch.zeros(size, self.dim, device=self.gate.device)
        ones = {label: torch.ones(len(rows), device=rows.device) for label, rows in own.items()}
        user = self.shape.user
        mean = propagate(hop, own, ones, {user: targets[user]}, self._interactions)[user] if user in targets else None
        for label, count in targets.items():
            own[label], known[label] = own[label][:count], known[label][:count]
            if label == user and mean is not None:
                own[label] = torch.where(known[label][:, None], own[label], l2_normalise(mean))
                known[label] = known[label] | (mean.abs().sum(1) > 0)
        return own, known

    def forward(self, hops: list[Hop], nodes: Inputs, targets: list[dict[str, int]]) -> dict[str, Fused]:
        """All layers: `targets` counts the wanted leading rows after each hop, users and items alone after the last."""
        state = self.start(nodes)
        for hop, wanted in zip(hops, targets, strict=True):
            state = self.step(hop, nodes, state, wanted)
        sources = targets[-2] if len(targets) > 1 else nodes.counts()
        return self.finish(hops[-1], nodes, state, sources, targets[-1])

    @torch.no_grad()
    def start_from(self, axes: dict[str, tuple[Tensor, Tensor]]) -> None:
        """Let projections start as principal axes, so that a view means something before anything is learned."""
        for view, (mean, basis) in axes.items():
            layer = self.project[view]
            assert isinstance(layer, nn.Linear)
            layer.weight.zero_()
            layer.weight[: len(basis)].copy_(basis)
            layer.bias.copy_(-(layer.weight @ mean))
