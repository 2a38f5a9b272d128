import dgl
import torch
from torch import Tensor, nn

from embed.layers import GATConv, GCNConv, HeteroLayer, Relation, SAGEConv, propagate, relation
from embed.messages import Edges
from tests.contracts import D_IN, D_OUT, ConvContract, bipartite


class TestGraphSage(ConvContract):
    kind = "graphsage"

    def reference(
        self, conv: nn.Module, graph: dgl.DGLHeteroGraph, ends: tuple[Tensor, Tensor], weight: Tensor | None
    ) -> Tensor:
        assert isinstance(conv, SAGEConv)
        theirs = dgl.nn.SAGEConv(D_IN, D_OUT, "mean", bias=False)
        with torch.no_grad():
            theirs.fc_neigh.weight.copy_(conv.linear.weight)
            theirs.fc_self.weight.zero_()
        return theirs(graph, ends, edge_weight=weight)


class TestGCN(ConvContract):
    kind = "gcn"

    def reference(
        self, conv: nn.Module, graph: dgl.DGLHeteroGraph, ends: tuple[Tensor, Tensor], weight: Tensor | None
    ) -> Tensor:
        assert isinstance(conv, GCNConv)
        theirs = dgl.nn.GraphConv(D_IN, D_OUT, norm="both", bias=False, weight=False, allow_zero_in_degree=True)
        return theirs(graph, ends[0], weight=conv.linear.weight.T, edge_weight=weight)


class TestGAT(ConvContract):
    kind = "gat"

    def reference(
        self, conv: nn.Module, graph: dgl.DGLHeteroGraph, ends: tuple[Tensor, Tensor], weight: Tensor | None
    ) -> Tensor:
        assert isinstance(conv, GATConv)
        theirs = dgl.nn.GATConv((D_IN, D_IN), D_OUT // 2, 2, bias=False, allow_zero_in_degree=True)
        with torch.no_grad():
            theirs.fc_src.weight.copy_(conv.linear.weight)
            theirs.fc_dst.weight.copy_(conv.linear.weight)
            theirs.attn_l.copy_(conv.left[None])
            theirs.attn_r.copy_(conv.right[None])
        return theirs(graph, ends, edge_weight=weight).flatten(1)


def test_a_layer_sums_its_relations_and_its_own_term() -> None:
    torch.manual_seed(0)
    graph = bipartite()[0]
    etype = ("a", "r", "b")
    layer = HeteroLayer("graphsage", ["a", "b", "items"], [etype], 8, heads=1, dropout=0.0).eval()
    x = {"a": torch.randn(12, 8), "b": torch.randn(7, 8), "items": torch.randn(3, 8)}
    out = layer({etype: Relation(Edges.of(graph))}, x, {"b": 7, "items": 3}, {})
    assert {label: rows.shape for label, rows in out.items()} == {"b": (7, 8), "items": (3, 8)}
    conv, own, norm = layer.convs["of-a-r-b"], layer.own["of-items"], layer.norm["of-items"]
    assert conv is not None
    torch.testing.assert_close(out["items"], x["items"] + torch.relu(norm(own(x["items"]))))


def test_propagation_is_the_scaled_mean() -> None:
    graph = dgl.heterograph({("u", "r", "i"): ([0, 1, 1], [0, 0, 1])}, {"u": 2, "i": 3})
    etype = ("u", "r", "i")
    x = {"u": torch.tensor([[2.0], [4.0]]), "i": torch.zeros(3, 1)}
    scale = {"u": torch.tensor([1.0, 0.5]), "i": torch.ones(3)}
    out = propagate({etype: Relation(Edges.of(graph))}, x, scale, {"i": 3}, {etype})
    # i0: (2 x 1 + 4 x 0.5) / 2 = 2;  i1: 4 x 0.5 / 1 = 2;  i2 has no neighbour.
    assert out["i"].flatten().tolist() == [2.0, 2.0, 0.0]


def test_a_rare_relation_numbered_over_its_own_nodes_sums_the_same() -> None:
    torch.manual_seed(0)
    etype = ("a", "r", "b")
    graph = dgl.heterograph({etype: ([3, 3, 9], [40, 2, 40])}, {"a": 10, "b": 50})
    small = relation(graph, torch.device("cpu"))
    assert (small.edges.n_src, small.edges.n_dst) == (2, 2)
    x = {"a": torch.randn(10, 8), "b": torch.randn(50, 8)}
    layer = HeteroLayer("graphsage", ["a", "b"], [etype], 8, heads=1, dropout=0.0).eval()
    out, wanted = (layer({etype: r}, x, {"b": 50}, {})["b"] for r in (small, Relation(Edges.of(graph))))
    torch.testing.assert_close(out, wanted)
    scale = {label: torch.rand(len(rows)) for label, rows in x.items()}
    out, wanted = (propagate({etype: r}, x, scale, {"b": 50}, {etype})["b"] for r in (small, Relation(Edges.of(graph))))
    torch.testing.assert_close(out, wanted)
