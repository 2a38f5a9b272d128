"""The network: what nodes bring with them, attributes, propagation along interactions, projected views, fusion."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from embed.config import EmbedConfig
from embed.fusion import make_fusion
from embed.layers import AttributeLayer, Canonical, HeteroLayer, Hop, propagate, slot, veiled
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
    """1/sqrt(degree) over interactions."""

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


@dataclass
class State:
    """Between two hops: node vectors, what propagation made of them, the sum of the latter, and who is shown."""

    x: dict[str, Tensor]
    light: dict[str, Tensor]
    total: dict[str, Tensor]
    shown: dict[str, Tensor]
    depth: int = 0


Projected = dict[str, dict[str, Float[Tensor, "n d"]]]
"""By view, then label."""


@dataclass
class Fused:
    """Views and their fusion for the nodes of one label."""

    views: Float[Tensor, "n views d"]
    mask: Bool[Tensor, "n views"]
    z: Float[Tensor, "n d"]

    @classmethod
    def cat(cls, parts: "list[Fused]") -> "Fused":
        """The nodes of several as one."""
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in ("views", "mask", "z")))


class Network(nn.Module):
    r"""Graph, language and picture views of users and items, and their fusion, inductive in all three.

    First attributes, then interactions, then views:

    .. math::
        e_i &= \operatorname{MLP}(\operatorname{GNN}_{\text{attributes}}(x)_i) + b_i \\
        h_i &= \operatorname{norm}\Big(\sum_{k=0}^{K} \operatorname{propagate}^k(e)_i\Big) \\
        z_i &= \operatorname{fuse}(h_i, v_i, c_i)

    where :math:`x` are projected properties, text and image plus the vectors of entities, :math:`b` the own vectors of
    users and items, and propagation (LightGCN, He et al., 2020, eq. 3 and 8) goes along interactions. A node without
    interactions has :math:`h_i = e_i`, and training shows the network such nodes (`cold`). With a convolution for
    `model`, its layers run along interactions beside the propagation, and :math:`h` is the mean direction of both.
    """

    def __init__(self, shape: Shape, config: EmbedConfig) -> None:
        """Parameters as `shape` says."""
        super().__init__()
        graph = config.graph
        dim = graph.dim
        self.shape, self.config, self.dim = shape, config, dim
        self.ends = [shape.user, *shape.items]
        described = {label: width for label, width in shape.features.items() if width}
        self.inputs = nn.ModuleDict({slot(label): nn.Linear(width, dim) for label, width in described.items()})
        self.base = nn.ParameterDict({slot(label): torch.randn(dim) * 0.1 for label in shape.labels})
        self.from_view = nn.ModuleDict({view: nn.Linear(dim, dim, bias=False) for view in shape.views})
        self.project = nn.ModuleDict({view: nn.Linear(width, dim) for view, width in shape.views.items()})
        self.ids = nn.ParameterDict({slot(label): torch.randn(n, dim) * 0.1 for label, n in shape.ids.items()})
        kind = "graphsage" if graph.model == "lightgcn" else graph.model
        self._interactions = set(shape.interactions)
        attributes = [relation for relation in shape.relations if relation not in self._interactions]
        self.attributes = nn.ModuleList(
            AttributeLayer(kind, attributes, dim, graph.heads, graph.dropout) for _ in range(graph.attribute_layers)
        )
        self.mix = nn.ModuleDict({slot(label): _perceptron(dim, graph.dropout) for label in self.ends})
        convolved = 0 if graph.model == "lightgcn" else graph.layers
        self.layers = nn.ModuleList(
            HeteroLayer(kind, self.ends, shape.interactions, dim, graph.heads, graph.dropout) for _ in range(convolved)
        )
        self.fusion = nn.ModuleDict(
            {side: make_fusion(config.fusion, 1 + len(shape.views), dim) for side in ("user", "item")}
        )

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    @property
    def views(self) -> list[str]:
        """Names of the views in the order of `Fused.views`: always `h`, then those that the project has."""
        return ["h", *self.shape.views]

    def labels_after(self, hop: int) -> list[str]:
        """Whose vectors are still needed after a hop, counted from 0: entities until attributes are gathered."""
        return self.shape.labels if hop < self.config.graph.attribute_layers - 1 else self.ends

    def relations_of(self, hop: int) -> list[Canonical]:
        """Along which relations a hop goes, counted from 0."""
        attributes = hop < self.config.graph.attribute_layers
        return [r for r in self.shape.relations if (r in self._interactions) != attributes]

    def projected(self, nodes: Inputs) -> Projected:
        """The encoders' vectors of all rows of `nodes` in the width of the model, zeros where masked."""
        return {
            view: {label: self.project[view](rows) * nodes.masks[view][label][:, None] for label, rows in found.items()}
            for view, found in nodes.views.items()
        }

    def start(self, nodes: Inputs, projected: Projected) -> State:
        """What all rows of `nodes` bring with them; training hides some vectors and treats some items as new."""
        x = {}
        for label, features in nodes.features.items():
            x[label] = self.base[slot(label)].expand(len(features), -1)
            if slot(label) in self.inputs:
                x[label] = x[label] + self.inputs[slot(label)](features)
            for view, by_label in projected.items():
                if label in by_label:
                    x[label] = x[label] + self.from_view[view](by_label[label])
            if label not in self.ends and label in nodes.ids and slot(label) in self.ids:
                x[label] = x[label] + self._own_vectors(label, nodes.ids[label])
        shown = {}
        if self.training and (share := self.config.graph.cold):
            for label in self.shape.items:
                if label in x:
                    shown[label] = (torch.rand(len(x[label]), 1, device=self.device) >= share).float()
        state = State(x, {}, {}, shown)
        return state if len(self.attributes) else self._meet(state, nodes)

    def _own_vectors(self, label: str, rows: Int[Tensor, " n"]) -> Float[Tensor, "n d"]:
        known = rows >= 0
        if self.training and self.config.graph.id_dropout:
            known = known & (torch.rand(len(rows), device=rows.device) >= self.config.graph.id_dropout)
        return self.ids[slot(label)][rows.clamp(min=0)] * known[:, None]

    def _trust(self, scale: Float[Tensor, " n"]) -> Float[Tensor, "n 1"]:
        """The share d / (d + k) for d interactions: what few events say of a node alone is mostly chance."""
        return 1 / (1 + self.config.graph.id_shrinkage * scale[:, None].square())

    def _meet(self, state: State, nodes: Inputs) -> State:
        """From attributes to interactions: users and items get their own vectors."""
        x = {}
        for label in self.ends:
            if label in state.x:
                x[label] = self.mix[slot(label)](state.x[label])
                if label in nodes.ids and slot(label) in self.ids:
                    own = self._own_vectors(label, nodes.ids[label][: len(x[label])])
                    own = own * self._trust(nodes.scale[label][: len(own)])
                    x[label] = x[label] + veiled(own, state.shown, label)
        return State(x, x, x, state.shown, state.depth)

    def step(self, hop: Hop, nodes: Inputs, state: State, targets: dict[str, int]) -> State:
        """The next hop, for the leading rows of each label that `targets` counts."""
        gathered = len(self.attributes)
        if state.depth < gathered:
            x = self.attributes[state.depth](hop, state.x, targets)
            after = State(x, {}, {}, state.shown, state.depth + 1)
            return self._meet(after, nodes) if after.depth == gathered else after
        x = state.x
        if len(self.layers):
            x = self.layers[state.depth - gathered](hop, x, targets, state.shown)
        seen = {label: veiled(rows, state.shown, label) for label, rows in state.light.items()}
        scale = {label: nodes.scale[label][: len(rows)] for label, rows in seen.items()}
        light = propagate(hop, seen, scale, targets, self._interactions)
        light = {label: veiled(rows, state.shown, label) for label, rows in light.items()}
        total = {label: state.total[label][: len(rows)] + rows for label, rows in light.items()}
        return State(x, light, total, state.shown, state.depth + 1)

    def finish(
        self, hop: Hop, nodes: Inputs, state: State, projected: Projected, targets: dict[str, int]
    ) -> dict[str, Fused]:
        """Views and `z` of users and items after the last hop, which `hop` is again, as `nodes` are its sources."""
        hs = {label: self._graph_view(state, label) for label in targets}
        others = [self._encoded_view(view, hop, nodes, projected[view], targets) for view in self.shape.views]
        result = {}
        for label, h in hs.items():
            stacked = torch.stack([h, *(views[label] for views, _ in others)], dim=1)
            mask = torch.stack([torch.ones_like(h[:, 0], dtype=torch.bool), *(m[label] for _, m in others)], dim=1)
            side = "user" if label == self.shape.user else "item"
            result[label] = Fused(stacked, mask, self.fusion[side](stacked, mask))
        return result

    def _graph_view(self, state: State, label: str) -> Float[Tensor, "n d"]:
        h = l2_normalise(state.total[label])
        return l2_normalise(h + l2_normalise(state.x[label])) if len(self.layers) else h

    def _encoded_view(
        self, view: str, hop: Hop, nodes: Inputs, projected: dict[str, Tensor], targets: dict[str, int]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Projected vectors and masks; who has none of its own gets the mean over its interactions' other ends."""
        own = {label: l2_normalise(projected[label]) for label in self.ends if label in projected}
        known = {label: nodes.masks[view][label][: len(rows)] for label, rows in own.items()}
        found: dict[str, Tensor] = {}
        masks: dict[str, Tensor] = {}
        for label, count in targets.items():
            found[label] = own[label][:count] if label in own else torch.zeros(count, self.dim, device=self.device)
            masks[label] = known[label][:count] if label in own else found[label].new_zeros(count, dtype=torch.bool)
        if (user := self.shape.user) in targets:
            around = own | {user: own.get(user, found[user])}
            ones = {label: torch.ones(len(rows), device=rows.device) for label, rows in around.items()}
            mean = propagate(hop, around, ones, {user: targets[user]}, self._interactions)[user]
            found[user] = torch.where(masks[user][:, None], found[user], l2_normalise(mean))
            masks[user] = masks[user] | (mean.abs().sum(1) > 0)
        return found, masks

    def forward(self, hops: list[Hop], nodes: Inputs, targets: list[dict[str, int]]) -> dict[str, Fused]:
        """All hops: `targets` counts the wanted leading rows after each, users and items alone after the last."""
        projected = self.projected(nodes)
        state = self.start(nodes, projected)
        for hop, wanted in zip(hops, targets, strict=True):
            state = self.step(hop, nodes, state, wanted)
        if len(targets) > 1:
            projected = _leading(projected, targets[-2])
        return self.finish(hops[-1], nodes, state, projected, targets[-1])

    @torch.no_grad()
    def start_from(self, axes: dict[str, tuple[Tensor, Tensor]], degrees: dict[str, Float[Tensor, " n"]]) -> None:
        """Let projections start as principal axes, so that a view means something before anything is learned.

        Own vectors of users and items without interactions, which nothing would teach, are zeros.
        """
        for view, (mean, basis) in axes.items():
            layer = self.project[view]
            assert isinstance(layer, nn.Linear)
            layer.weight.zero_()
            layer.weight[: len(basis)].copy_(basis)
            layer.bias.copy_(-(layer.weight @ mean))
        for label in self.ends:
            if slot(label) in self.ids:
                self.ids[slot(label)][degrees[label] == 0] = 0


def _perceptron(dim: int, dropout: float) -> nn.Module:
    """Its last map starts at zero: what attributes say is learned on top of what propagation says."""
    last = nn.Linear(2 * dim, dim)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 2 * dim), nn.GELU(), nn.Dropout(dropout), last)


def _leading(projected: Projected, counts: dict[str, int]) -> Projected:
    return {
        view: {label: rows[: counts[label]] for label, rows in found.items() if label in counts}
        for view, found in projected.items()
    }
