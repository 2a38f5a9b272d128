"""The seam that all message passing goes through: sums over neighbours, and softmax over incoming edges.

Each operation has the faster kernel for where its features lie. On a CPU, over 800,000 edges 64 wide, there and back
(`python -m tests.benchmarks.messages`), plain sums take DGL 10 ms and torch's sparse product 17; weighted ones 256 and
18; the softmax of four heads 154 and 115 by torch's scatter; sums by attention 321 and 742. On a GPU torch does all,
for DGL's wheel knows none. Sampling stays with DGL.
"""

import warnings
from functools import cached_property

import dgl
import torch
from dgl import ops
from jaxtyping import Float, Int
from torch import Tensor


class Edges:
    """The edges of one relation between rows of two sets, with everything that kernels derive from them, made once.

    Some may be hidden (`without`): sums leave them out by subtraction, so that a training step that hides what it
    predicts need not sort the edges of the whole graph anew.
    """

    def __init__(
        self,
        src: Int[Tensor, " edges"],
        dst: Int[Tensor, " edges"],
        n_src: int,
        n_dst: int,
        weight: Float[Tensor, " edges"] | None = None,
        *,
        hidden: Int[Tensor, " hidden"] | None = None,
    ) -> None:
        """`weight` multiplies what passes along an edge; `hidden` are numbers of edges that are not there."""
        self.src, self.dst, self.n_src, self.n_dst, self.weight = src, dst, n_src, n_dst, weight
        self._hidden = hidden

    @classmethod
    def of(cls, graph: dgl.DGLHeteroGraph, weight: Float[Tensor, " edges"] | None = None) -> "Edges":
        """A DGL graph of one edge type: a slice of a heterograph or of a sampled block."""
        src, dst = graph.edges(order="eid")
        edges = cls(src, dst, graph.num_nodes(graph.srctypes[0]), graph.num_nodes(graph.dsttypes[0]), weight)
        edges.__dict__["graph"] = graph
        return edges

    def __len__(self) -> int:
        """How many edges are there, hidden ones left out."""
        return len(self.src) - (0 if self._hidden is None else len(self._hidden))

    def without(self, rows: Int[Tensor, " hidden"]) -> "Edges":
        """The same edges, some more of them hidden; what was derived from all of them is shared."""
        hidden = rows if self._hidden is None else torch.unique(torch.cat([self._hidden, rows]))
        edges = Edges(self.src, self.dst, self.n_src, self.n_dst, self.weight, hidden=hidden)
        edges.__dict__["whole"] = self.whole
        return edges

    def to(self, device: torch.device) -> "Edges":
        """The same on another device."""
        if self.src.device == device:
            return self
        weight, hidden = (None if t is None else t.to(device) for t in (self.weight, self._hidden))
        moved = Edges(self.src.to(device), self.dst.to(device), self.n_src, self.n_dst, weight, hidden=hidden)
        if (degrees := self.__dict__.get("out_degrees")) is not None:
            moved.__dict__["out_degrees"] = degrees.to(device)
        return moved

    def sending(self, sent: Float[Tensor, " edges"] | None) -> "Edges":
        """These, some edges of a larger graph, of which `sent` leave an edge's source there; None: they are all."""
        if sent is not None:
            degrees = torch.zeros(self.n_src, device=self.src.device)
            degrees[self.src] = sent
            self.__dict__["out_degrees"] = degrees
        return self

    @cached_property
    def whole(self) -> "Edges":
        """All edges, the hidden ones too."""
        return self if self._hidden is None else Edges(self.src, self.dst, self.n_src, self.n_dst, self.weight)

    @cached_property
    def hidden(self) -> "Edges | None":
        """The hidden edges."""
        return None if self._hidden is None else self._take(self._hidden)

    @cached_property
    def kept(self) -> "Edges":
        """Edges of their own without the hidden ones."""
        if self._hidden is None:
            return self
        keep = torch.ones(len(self.src), dtype=torch.bool, device=self.src.device)
        keep[self._hidden] = False
        return self._take(keep.nonzero()[:, 0])

    def _take(self, rows: Tensor) -> "Edges":
        weight = None if self.weight is None else self.weight[rows]
        return Edges(self.src[rows], self.dst[rows], self.n_src, self.n_dst, weight)

    @cached_property
    def in_degrees(self) -> Float[Tensor, " dst"]:
        """How many edges lead to each target, hidden ones left out."""
        return self._degrees(self.dst, self.n_dst, "in_degrees")

    @cached_property
    def out_degrees(self) -> Float[Tensor, " src"]:
        """How many edges leave each source, hidden ones left out."""
        return self._degrees(self.src, self.n_src, "out_degrees")

    def _degrees(self, ends: Tensor, count: int, name: str) -> Tensor:
        if self.hidden is not None:
            whole: Tensor = getattr(self.whole, name)
            return whole - getattr(self.hidden, name)
        return torch.bincount(ends, minlength=count).float()

    @cached_property
    def graph(self) -> dgl.DGLHeteroGraph:
        """All edges as a bipartite DGL graph, whose kernels run on the CPU."""
        ends = self.src.cpu(), self.dst.cpu()
        return dgl.heterograph({("src", "to", "dst"): ends}, {"src": self.n_src, "dst": self.n_dst})

    @cached_property
    def matrix(self) -> Float[Tensor, "dst src"]:
        """Sparse CSR of the weights, of ones without weights."""
        return _csr(self.dst, self.src, self.weight, (self.n_dst, self.n_src))

    @cached_property
    def transposed(self) -> Float[Tensor, "src dst"]:
        """The same the other way."""
        return _csr(self.src, self.dst, self.weight, (self.n_src, self.n_dst))


def _csr(rows: Tensor, columns: Tensor, values: Tensor | None, shape: tuple[int, int]) -> Tensor:
    order = torch.argsort(rows * shape[1] + columns)
    starts = torch.zeros(shape[0] + 1, dtype=torch.int64, device=rows.device)
    starts[1:] = torch.bincount(rows, minlength=shape[0]).cumsum(0)
    data = torch.ones(len(rows), device=rows.device) if values is None else values.float()[order]
    with warnings.catch_warnings(), torch.sparse.check_sparse_tensor_invariants(False):
        warnings.simplefilter("ignore")  # that CSR is in beta, once a process
        return torch.sparse_csr_tensor(starts, columns[order], data, shape)


class _SparseSum(torch.autograd.Function):
    """A product with a constant sparse matrix; torch's own backward pass would sort the transpose at every step."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, edges: Edges) -> Tensor:
        ctx.edges = edges  # type: ignore[attr-defined]
        return edges.matrix @ x

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.edges.transposed @ grad.contiguous(), None  # type: ignore[attr-defined]


def neighbour_sum(edges: Edges, x: Float[Tensor, "src d"]) -> Float[Tensor, "dst d"]:
    r"""Sum over a node's in-neighbours, each times its edge's weight.

    .. math:: s_i = \sum_{(j, i) \in E} w_{ji} \, x_j

    No gradient reaches the weights. A target whose every edge is hidden gets zeros, not what rounding leaves.
    """
    if edges.hidden is None:
        return _sum(edges, x)
    rest = _sum(edges.whole, x) - _sum(edges.hidden, x)
    return rest * (edges.in_degrees > 0)[:, None]


def _sum(edges: Edges, x: Tensor) -> Tensor:
    if x.device.type == "cpu" and edges.weight is None:
        found: Tensor = ops.copy_u_sum(edges.graph, x)
        return found
    summed: Tensor = _SparseSum.apply(x, edges)
    return summed


def edge_softmax(edges: Edges, logits: Float[Tensor, "edges heads"]) -> Float[Tensor, "edges heads"]:
    """Softmax over the edges that lead to one target, head by head; hidden edges must have been left out (`kept`)."""
    index = edges.dst[:, None].expand_as(logits)
    largest = logits.new_full((edges.n_dst, logits.shape[1]), -torch.inf)
    largest = largest.scatter_reduce(0, index, logits.detach(), "amax")
    powers = torch.exp(logits - largest[edges.dst])
    return powers / logits.new_zeros(largest.shape).index_add(0, edges.dst, powers)[edges.dst]


def attention_sum(
    edges: Edges, x: Float[Tensor, "src heads d"], attention: Float[Tensor, "edges heads"]
) -> Float[Tensor, "dst heads d"]:
    """Sum over in-neighbours times an attention that gradients reach, head by head."""
    if x.device.type == "cpu":
        found: Tensor = ops.u_mul_e_sum(edges.graph, x, attention[..., None])
        return found
    return scattered_sum(edges, x, attention)


def scattered_sum(
    edges: Edges, x: Float[Tensor, "src heads d"], attention: Float[Tensor, "edges heads"]
) -> Float[Tensor, "dst heads d"]:
    """`attention_sum` by torch alone."""
    return x.new_zeros((edges.n_dst, *x.shape[1:])).index_add(0, edges.dst, x[edges.src] * attention[..., None])
