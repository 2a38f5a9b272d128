"""Contracts: one test class by role; a test module names an implementation and so runs them all on it."""

from typing import ClassVar

import dgl
import numpy as np
import pytest
import torch
from scipy import sparse
from torch import Tensor, nn

from embed.fusion import Fusion, make_fusion
from embed.layers import Kind, make_conv
from embed.messages import Edges
from recommend.baselines import Scorer

D_IN, D_OUT = 6, 8


def bipartite(seed: int = 0) -> tuple[dgl.DGLHeteroGraph, Tensor, Tensor]:
    """12 sources, 7 targets of which the last has no neighbour, 30 edges, and features."""
    generator = torch.Generator().manual_seed(seed)
    code = torch.randperm(12 * 6, generator=generator)[:30]
    graph = dgl.heterograph({("a", "r", "b"): (code // 6, code % 6)}, {"a": 12, "b": 7})
    return graph, torch.randn(12, D_IN, generator=generator), torch.randn(7, D_IN, generator=generator)


class ConvContract:
    """A convolution over one relation."""

    kind: ClassVar[Kind]

    def reference(
        self, conv: nn.Module, graph: dgl.DGLHeteroGraph, ends: tuple[Tensor, Tensor], weight: Tensor | None
    ) -> Tensor:
        """What `dgl.nn` makes of it with the same weights."""
        raise NotImplementedError

    @pytest.fixture
    def conv(self) -> nn.Module:
        torch.manual_seed(1)
        return make_conv(self.kind, D_IN, D_OUT, heads=2)

    @pytest.fixture
    def given(self) -> tuple[Edges, Tensor, Tensor]:
        graph, src, dst = bipartite()
        return Edges.of(graph), src, dst

    def test_shape(self, conv: nn.Module, given: tuple[Edges, Tensor, Tensor]) -> None:
        assert conv(*given).shape == (7, D_OUT)

    def test_a_node_without_neighbours_gets_zeros(self, conv: nn.Module, given: tuple[Edges, Tensor, Tensor]) -> None:
        assert not conv(*given)[6].any()
        assert conv(*given)[:6].any()

    def test_the_order_of_edges_does_not_matter(self, conv: nn.Module, given: tuple[Edges, Tensor, Tensor]) -> None:
        edges, src, dst = given
        order = torch.randperm(len(edges), generator=torch.Generator().manual_seed(5))
        shuffled = Edges(edges.src[order], edges.dst[order], 12, 7)
        torch.testing.assert_close(conv(edges, src, dst), conv(shuffled, src, dst))

    def test_the_smaller_side_does_not_matter(self, conv: nn.Module, given: tuple[Edges, Tensor, Tensor]) -> None:
        """Two copies of the targets make the source side the smaller one; the rows stay the same."""
        edges, src, dst = given
        doubled = Edges(torch.cat([edges.src] * 2), torch.cat([edges.dst, edges.dst + 7]), 12, 14)
        more = src * torch.sqrt(torch.tensor(2.0)) if self.kind == "gcn" else src  # sources have twice the degree now
        torch.testing.assert_close(
            conv(doubled, more, torch.cat([dst, dst]))[:7], conv(edges, src, dst), rtol=1e-4, atol=1e-5
        )

    def test_hidden_edges_are_not_there(self, conv: nn.Module, given: tuple[Edges, Tensor, Tensor]) -> None:
        """Values and gradients, where some edges of a target are hidden and all of another's."""
        edges, src, dst = given
        rows = torch.cat([torch.tensor([0, 7, 11]), (edges.dst == 4).nonzero()[:, 0]]).unique()
        hidden = edges.without(rows)
        keep = torch.ones(len(edges), dtype=torch.bool)
        keep[rows] = False
        rest = Edges(edges.src[keep], edges.dst[keep], 12, 7)
        assert len(hidden) == len(rest) == 30 - len(rows)
        results = []
        for given_edges in (hidden, rest):
            x = src.clone().requires_grad_()
            out = conv(given_edges, x, dst)
            (out**2).sum().backward()
            results.append((out, x.grad))
        torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-5)
        assert not results[0][0][4].any()

    @pytest.mark.parametrize("weighted", [False, True])
    def test_equals_dgl(self, conv: nn.Module, given: tuple[Edges, Tensor, Tensor], weighted: bool) -> None:
        graph, src, dst = bipartite()
        weight = torch.rand(30, generator=torch.Generator().manual_seed(6)) + 0.5 if weighted else None
        found = conv(Edges.of(graph, weight), src, dst)
        torch.testing.assert_close(found[:6], self.reference(conv, graph, (src, dst), weight)[:6], rtol=1e-4, atol=1e-5)


class FusionContract:
    """A fusion of views."""

    kind: ClassVar[Fusion]
    views, dim = 3, 5

    @pytest.fixture
    def fusion(self) -> nn.Module:
        torch.manual_seed(2)
        fusion = make_fusion(self.kind, self.views, self.dim)
        for parameter in fusion.parameters():
            nn.init.normal_(parameter, std=0.5)
        return fusion

    @pytest.fixture
    def rows(self) -> tuple[Tensor, Tensor]:
        torch.manual_seed(3)
        mask = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 0, 1], [0, 0, 0]], dtype=torch.bool)
        return torch.randn(4, self.views, self.dim), mask

    def test_rows_have_length_one_or_zero(self, fusion: nn.Module, rows: tuple[Tensor, Tensor]) -> None:
        lengths = fusion(*rows).norm(dim=1)
        torch.testing.assert_close(lengths, torch.tensor([1.0, 1.0, 1.0, 0.0]))

    def test_a_masked_view_has_no_say(self, fusion: nn.Module, rows: tuple[Tensor, Tensor]) -> None:
        views, mask = rows
        other = torch.where(mask[..., None], views, torch.full_like(views, torch.nan))
        torch.testing.assert_close(fusion(views, mask), fusion(other, mask))

    def test_a_present_view_has_a_say(self, fusion: nn.Module, rows: tuple[Tensor, Tensor]) -> None:
        views, mask = rows
        other = views.clone()
        other[0, 2] = -other[0, 2]
        assert not torch.allclose(fusion(views, mask)[0], fusion(other, mask)[0], atol=1e-3)

    def test_no_view_drowns_the_others(self, fusion: nn.Module, rows: tuple[Tensor, Tensor]) -> None:
        views, mask = rows
        louder = views * torch.tensor([1.0, 1000.0, 0.01])[None, :, None]
        torch.testing.assert_close(fusion(views, mask), fusion(louder, mask), rtol=1e-4, atol=1e-5)

    def test_gradients_are_finite_where_all_views_are_missing(
        self, fusion: nn.Module, rows: tuple[Tensor, Tensor]
    ) -> None:
        views, mask = rows[0].clone().requires_grad_(), rows[1]
        fusion(views, mask).sum().backward()
        assert views.grad is not None and torch.isfinite(views.grad).all()
        assert all(p.grad is None or torch.isfinite(p.grad).all() for p in fusion.parameters())


class ScorerContract:
    """A recommender from interactions alone: `make` returns an unfitted one."""

    personal: ClassVar[bool] = True

    def make(self) -> Scorer:
        raise NotImplementedError

    @pytest.fixture
    def matrix(self) -> sparse.csr_matrix:
        """30 users in two groups that keep to their own half of 12 items; user 0 and item 11 have nothing."""
        rng = np.random.default_rng(4)
        own = (np.arange(30) % 2)[:, None] == (np.arange(12) % 2)[None, :]
        dense = (rng.random((30, 12)) < np.where(own, 0.6, 0.05)).astype(np.float32)
        dense[0], dense[:, 11] = 0, 0
        return sparse.csr_matrix(dense)

    def test_shape_and_type(self, matrix: sparse.csr_matrix) -> None:
        found = self.make().fit(matrix).scores(np.array([3, 0, 3]))
        assert found.shape == (3, 12) and found.dtype == np.float32 and np.isfinite(found).all()
        np.testing.assert_array_equal(found[0], found[2])

    def test_rows_do_not_depend_on_the_batch(self, matrix: sparse.csr_matrix) -> None:
        scorer = self.make().fit(matrix)
        whole = scorer.scores(np.arange(30))
        np.testing.assert_allclose(np.concatenate([scorer.scores(np.array([u])) for u in range(30)]), whole, rtol=1e-5)

    def test_fitting_again_repeats(self, matrix: sparse.csr_matrix) -> None:
        users = np.arange(30)
        np.testing.assert_array_equal(
            self.make().fit(matrix).scores(users), self.make().fit(matrix.copy()).scores(users)
        )

    def test_the_matrix_is_left_as_it_was(self, matrix: sparse.csr_matrix) -> None:
        before = matrix.toarray()
        self.make().fit(matrix)
        np.testing.assert_array_equal(matrix.toarray(), before)

    def test_an_item_without_users_never_beats_one_with(self, matrix: sparse.csr_matrix) -> None:
        found = self.make().fit(matrix).scores(np.arange(1, 30))
        assert (found[:, 11] <= found[:, :11].max(axis=1)).all()

    def test_own_group_comes_first(self, matrix: sparse.csr_matrix) -> None:
        found = self.make().fit(matrix).scores(np.arange(1, 30))
        own = (np.arange(1, 30) % 2)[:, None] == (np.arange(12) % 2)[None, :]
        better = np.where(own, found, 0).sum(1) / own.sum(1) > np.where(own, 0, found).sum(1) / (~own).sum(1)
        assert better.mean() > 0.9 if self.personal else 0.1 < better.mean() < 0.9
