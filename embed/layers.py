"""Graph convolutions over one relation, and the layers that run them over all relations of a heterograph."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import dgl
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from embed.graph import MESSAGE, SENT, Canonical
from embed.messages import Edges, attention_sum, edge_softmax, neighbour_sum


@dataclass(frozen=True)
class Relation:
    """One relation's edges; a rare one is numbered over the nodes that it touches, and so costs no more than they."""

    edges: Edges
    src: Int[Tensor, " src"] | None = None
    """Rows of the source label that the edges' sources are; None: all of them."""
    dst: Int[Tensor, " dst"] | None = None
    """Likewise of the target label; None: its leading rows."""

    def sources(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "src d"]:
        """The rows of the edges' source nodes."""
        return x if self.src is None else x[self.src]

    def targets(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "dst d"]:
        """The rows of the edges' target nodes."""
        return x if self.dst is None else x[self.dst]


Hop = Mapping[Canonical, Relation]
"""The relations that one layer passes messages over."""
Kind = Literal["graphsage", "gcn", "gat"]


def slot(*names: str) -> str:
    """A key for `nn.ModuleDict`, which refuses names of its own methods (a label may be called `items`)."""
    return "-".join(("of", *names))


def relation(graph: dgl.DGLHeteroGraph, device: torch.device) -> Relation:
    """A slice of a heterograph; nodes that it does not touch are left out where they are most of a side."""
    weight, sent = graph.edata.get(MESSAGE), graph.edata.get(SENT)
    if graph.is_block:
        return Relation(Edges.of(graph, weight).sending(sent).to(device))
    src, dst = graph.edges(order="eid")
    sources, source = torch.unique(src, return_inverse=True)
    targets, target = torch.unique(dst, return_inverse=True)
    n_src, n_dst = graph.num_nodes(graph.srctypes[0]), graph.num_nodes(graph.dsttypes[0])
    if 2 * len(sources) > n_src and 2 * len(targets) > n_dst:
        return Relation(Edges.of(graph, weight).sending(sent).to(device))
    edges = Edges(source, target, len(sources), len(targets), weight).sending(sent)
    return Relation(edges.to(device), sources.to(device), targets.to(device))


def scatter(total: Float[Tensor, "n d"], parts: list[tuple[Relation, Float[Tensor, "dst d"]]]) -> Float[Tensor, "n d"]:
    """`total` plus each relation's rows at its targets."""
    for relation, rows in parts:
        if relation.dst is None:
            total = total + rows
    rare = [(relation.dst, rows) for relation, rows in parts if relation.dst is not None]
    if not rare:
        return total
    return total.index_add(0, torch.cat([dst for dst, _ in rare]), torch.cat([rows for _, rows in rare]))


def mapped_sum(
    edges: Edges, linear: nn.Module, x: Float[Tensor, "src a"], scale: Float[Tensor, " dst"]
) -> Float[Tensor, "dst b"]:
    """A linear map of the scaled sum over in-neighbours, applied on the side with fewer nodes: that saves but time."""
    before = edges.n_src < edges.n_dst
    summed = neighbour_sum(edges, linear(x) if before else x) * scale[:, None]
    return summed if before else linear(summed)


class SAGEConv(nn.Module):
    r"""Neighbour part of GraphSAGE with mean aggregation, Hamilton et al. (2017), algorithm 1.

    .. math:: h_i = W \cdot \operatorname{mean}_{j \in N(i)} w_{ji} x_j

    With the layer's own linear map of :math:`x_i` added it equals ``dgl.nn.SAGEConv(…, 'mean')``, weights and all.
    """

    def __init__(self, d_in: int, d_out: int) -> None:
        """A linear map without bias."""
        super().__init__()
        self.linear = nn.Linear(d_in, d_out, bias=False)

    def forward(self, edges: Edges, src: Float[Tensor, "src a"], dst: Float[Tensor, "dst a"]) -> Float[Tensor, "dst b"]:
        """`dst` is not looked at; nodes without neighbours get zeros."""
        return mapped_sum(edges, self.linear, src, 1 / edges.in_degrees.clamp(min=1))


class GCNConv(nn.Module):
    r"""Symmetrically normalised convolution, Kipf and Welling (2017), eq. 2, over a bipartite relation.

    .. math:: h_i = W \sum_{j \in N(i)} w_{ji} \, x_j / \sqrt{d_i d_j}

    The norm is applied to nodes, not edges: on a CPU that is an order of magnitude cheaper. Equals
    ``dgl.nn.GraphConv(norm='both', bias=False)``, edge weights included (degrees count edges).
    """

    def __init__(self, d_in: int, d_out: int) -> None:
        """A linear map without bias."""
        super().__init__()
        self.linear = nn.Linear(d_in, d_out, bias=False)

    def forward(self, edges: Edges, src: Float[Tensor, "src a"], dst: Float[Tensor, "dst a"]) -> Float[Tensor, "dst b"]:
        """`dst` is not looked at; nodes without neighbours get zeros."""
        x = src * edges.out_degrees.clamp(min=1).rsqrt()[:, None]
        return mapped_sum(edges, self.linear, x, edges.in_degrees.clamp(min=1).rsqrt())


class GATConv(nn.Module):
    r"""Attention over neighbours, Veličković et al. (2018), eq. 1 to 5; heads are concatenated.

    .. math::
        h_i = \sum_{j \in N(i)} w_{ji}
            \operatorname{softmax}_j(\operatorname{LeakyReLU}(a^\top [W x_i, W x_j])) W x_j

    Equals ``dgl.nn.GATConv(…, bias=False)`` with one map for both ends, edge weights included.
    """

    def __init__(self, d_in: int, d_out: int, heads: int = 4) -> None:
        """`ValueError` unless `heads` divides `d_out`."""
        super().__init__()
        if d_out % heads:
            raise ValueError(f"heads must divide the width: {heads} does not divide {d_out}")
        self.heads = heads
        self.linear = nn.Linear(d_in, d_out, bias=False)
        self.left = nn.Parameter(torch.empty(heads, d_out // heads))
        self.right = nn.Parameter(torch.empty(heads, d_out // heads))
        nn.init.xavier_normal_(self.left)
        nn.init.xavier_normal_(self.right)

    def forward(self, edges: Edges, src: Float[Tensor, "src a"], dst: Float[Tensor, "dst a"]) -> Float[Tensor, "dst b"]:
        """Nodes without neighbours get zeros."""
        edges = edges.kept
        values = self.linear(src).view(len(src), self.heads, -1)
        own = self.linear(dst).view(len(dst), self.heads, -1)
        left, right = (values * self.left).sum(-1), (own * self.right).sum(-1)
        logits = nn.functional.leaky_relu(left[edges.src] + right[edges.dst], 0.2)
        attention = edge_softmax(edges, logits)
        if edges.weight is not None:
            attention = attention * edges.weight[:, None]
        return attention_sum(edges, values, attention).flatten(1)


def make_conv(kind: Kind, d_in: int, d_out: int, heads: int) -> nn.Module:
    """The convolution of that name."""
    if kind == "gat":
        return GATConv(d_in, d_out, heads)
    return GCNConv(d_in, d_out) if kind == "gcn" else SAGEConv(d_in, d_out)


Shown = Mapping[str, Float[Tensor, "n 1"]]
"""By label 1 for a node that sends and receives messages, 0 for one that is treated as new; no label: all are shown."""


def veiled(rows: Float[Tensor, "n d"], shown: Shown, label: str) -> Float[Tensor, "n d"]:
    """Zeros in place of the rows of nodes that are not shown."""
    return rows * shown[label][: len(rows)] if label in shown else rows


class HeteroLayer(nn.Module):
    r"""One layer over typed relations: the sum of R-GCN (Schlichtkrull et al., 2018, eq. 2), any convolution.

    .. math::
        s_i &= W_{t(i)} x_i + \sum_r \operatorname{conv}_r(x)_i \\
        h_i &= x_i + \operatorname{dropout}(\operatorname{ReLU}(\operatorname{norm}(s_i)))

    :math:`t(i)` is the node's label. Labels that no relation leads to have their own term alone.
    """

    def __init__(
        self, kind: Kind, labels: list[str], relations: list[Canonical], dim: int, heads: int, dropout: float
    ) -> None:
        """One self map and norm by label, one convolution by relation; all `dim` wide."""
        super().__init__()
        self.own = nn.ModuleDict({slot(label): nn.Linear(dim, dim) for label in labels})
        self.norm = nn.ModuleDict({slot(label): nn.LayerNorm(dim) for label in labels})
        self.convs = nn.ModuleDict({slot(*r): make_conv(kind, dim, dim, heads) for r in relations})
        self.dropout = nn.Dropout(dropout)

    def forward(self, hop: Hop, x: dict[str, Tensor], targets: dict[str, int], shown: Shown) -> dict[str, Tensor]:
        """Rows of `targets` (by label how many leading rows of `x` are wanted); relations unknown to it are ignored."""
        own = {label: x[label][:count] for label, count in targets.items()}
        seen = {label: veiled(rows, shown, label) for label, rows in x.items()}
        sums = messages(self.convs, hop, seen, own)
        result = {}
        for label, rows in own.items():
            total = self.norm[slot(label)](self.own[slot(label)](rows) + veiled(sums[label], shown, label))
            result[label] = rows + self.dropout(torch.relu(total))
        return result


class AttributeLayer(nn.Module):
    r"""One hop along attributes: the relational sum of R-GCN (Schlichtkrull et al., 2018, eq. 2), left linear.

    .. math:: h_i = x_i + \operatorname{dropout}\big(\sum_r \operatorname{conv}_r(x)_i\big)
    """

    def __init__(self, kind: Kind, relations: list[Canonical], dim: int, heads: int, dropout: float) -> None:
        """One convolution by relation, `dim` wide."""
        super().__init__()
        self.convs = nn.ModuleDict({slot(*r): make_conv(kind, dim, dim, heads) for r in relations})
        self.dropout = nn.Dropout(dropout)

    def forward(self, hop: Hop, x: dict[str, Tensor], targets: dict[str, int]) -> dict[str, Tensor]:
        """Rows of `targets` (by label how many leading rows of `x` are wanted); relations unknown to it are ignored."""
        own = {label: x[label][:count] for label, count in targets.items()}
        sums = messages(self.convs, hop, x, own)
        return {label: rows + self.dropout(sums[label]) for label, rows in own.items()}


def messages(
    convs: nn.ModuleDict, hop: Hop, x: dict[str, Tensor], own: dict[str, Tensor]
) -> dict[str, Float[Tensor, "n d"]]:
    """By label of `own` the sum of what its relations' convolutions give; relations without one are ignored."""
    parts: dict[str, list[tuple[Relation, Tensor]]] = {label: [] for label in own}
    for etype, relation in hop.items():
        source, _, target = etype
        if target in own and len(relation.edges) and (name := slot(*etype)) in convs:
            rows = convs[name](relation.edges, relation.sources(x[source]), relation.targets(own[target]))
            parts[target].append((relation, rows))
    return {label: scatter(torch.zeros_like(rows), parts[label]) for label, rows in own.items()}


def propagate(
    hop: Hop, x: dict[str, Tensor], scale: dict[str, Tensor], targets: dict[str, int], relations: set[Canonical]
) -> dict[str, Tensor]:
    r"""Parameter-free propagation, LightGCN, He et al. (2020), eq. 3, written as a mean.

    .. math:: e_i = \frac{1}{s_i |N(i)|} \sum_{j \in N(i)} w_{ji} s_j x_j

    With :math:`s_i = d_i^{-1/2}` over all neighbours that is LightGCN's :math:`\sum_j x_j / \sqrt{d_i d_j}`, also in
    expectation where only some neighbours were sampled; with :math:`s = 1` it is their mean. Equals
    ``dgl.nn.GraphConv(norm='both', weight=False)``. `scale` holds :math:`s` by label for the rows of `x`.
    """
    sums = {label: x[label].new_zeros(count, x[label].shape[1]) for label, count in targets.items() if label in x}
    counts = {label: x[label].new_zeros(rows.shape[0]) for label, rows in sums.items()}
    scaled = {label: rows * scale[label][:, None] for label, rows in x.items()}
    for etype, relation in hop.items():
        source, _, target = etype
        if etype in relations and target in sums and len(relation.edges):
            summed = neighbour_sum(relation.edges, relation.sources(scaled[source]))
            sums[target] = scatter(sums[target], [(relation, summed)])
            counts[target] = scatter(counts[target], [(relation, relation.edges.in_degrees)])
    return {
        label: rows / (counts[label].clamp(min=1) * scale[label][: len(rows)])[:, None] for label, rows in sums.items()
    }
