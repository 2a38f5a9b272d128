import pytest
import torch
from dgl import ops

from embed.messages import (
    Edges,
    _SparseSum,
    attention_sum,
    edge_softmax,
    neighbour_sum,
    scattered_sum,
)


@pytest.fixture
def edges() -> Edges:
    generator = torch.Generator().manual_seed(0)
    code = torch.randperm(9 * 5, generator=generator)[:20]
    return Edges(code // 5, code % 5, 9, 6, torch.rand(20, generator=generator))


def dense(edges: Edges) -> torch.Tensor:
    weight = torch.ones(len(edges.src)) if edges.weight is None else edges.weight
    return torch.zeros(edges.n_dst, edges.n_src).index_put((edges.dst, edges.src), weight)


def test_a_sum_by_hand() -> None:
    edges = Edges(torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]), 2, 3, torch.tensor([1.0, 0.5, 2.0]))
    # 0: 1 x 3 + 0.5 x 4 = 5;  1: 2 x 4 = 8;  2 has no neighbour.
    assert neighbour_sum(edges, torch.tensor([[3.0], [4.0]])).flatten().tolist() == [5.0, 8.0, 0.0]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("hide", [False, True])
def test_sums_and_gradients_equal_a_dense_product(edges: Edges, weighted: bool, hide: bool) -> None:
    if not weighted:
        edges = Edges(edges.src, edges.dst, edges.n_src, edges.n_dst)
    matrix = dense(edges)
    if hide:
        rows = torch.tensor([0, 5, 6])
        matrix[edges.dst[rows], edges.src[rows]] = 0
        # In two goes that overlap: what was hidden before stays so.
        edges = edges.without(rows[:2]).without(rows[1:])
        assert len(edges) == 17
    x, y = (torch.randn(9, 4, generator=torch.Generator().manual_seed(1)).requires_grad_() for _ in range(2))
    found, wanted = neighbour_sum(edges, x), matrix @ y
    torch.testing.assert_close(found, wanted)
    (found**3).sum().backward()
    (wanted**3).sum().backward()
    torch.testing.assert_close(x.grad, y.grad)


def test_the_kernels_of_both_devices_agree(edges: Edges) -> None:
    """What a GPU would run, run here, against what this CPU runs."""
    plain = Edges(edges.src, edges.dst, edges.n_src, edges.n_dst)
    x = torch.randn(9, 4)
    torch.testing.assert_close(_SparseSum.apply(x, plain), neighbour_sum(plain, x))
    results = []
    dgl_softmax = lambda edges, logits: ops.edge_softmax(edges.graph, logits)  # noqa: E731
    for soften, mix in ((dgl_softmax, attention_sum), (edge_softmax, scattered_sum)):
        logits = (torch.arange(40.0).view(20, 2) / 7).sin().requires_grad_()
        values = torch.ones(9, 2, 3).cumsum(0).requires_grad_()
        mixed = mix(edges, values, soften(edges, logits))
        (mixed**2).sum().backward()
        results.append((mixed, logits.grad, values.grad))
    torch.testing.assert_close(results[0], results[1])


def test_softmax_over_the_edges_of_one_target() -> None:
    edges = Edges(torch.tensor([0, 1, 2]), torch.tensor([0, 0, 1]), 3, 2)
    logits = torch.tensor([[0.0], [torch.log(torch.tensor(3.0))], [5.0]])
    torch.testing.assert_close(edge_softmax(edges, logits).flatten(), torch.tensor([0.25, 0.75, 1.0]))
