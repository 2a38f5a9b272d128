import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from embed.batches import Batch, full_graph_batches, sampled_batches
from embed.config import EmbedConfig
from embed.corruption import corrupted_pass, draw_hidden, without_columns, without_edges, without_nodes
from embed.graph import reverse_types
from embed.infer import Embeddings
from embed.inputs import Views
from embed.model import Fused, Inputs
from embed.ops import seed_everything
from embed.selfsupervised import Decoder, alignment, contrast, info_nce, scaled_cosine_error
from embed.snapshot import Snapshot, target_edges
from embed.train import Trained, fit
from kg.interactions import Catalogue, Interactions
from tests.embed.planted import GROUPS, LIKES, SMALL, hit_rate, hold_out

MODES = {"full-graph": {}, "mini-batches": {"full_graph_edges": 0, "fanout": 5}}
SSL = {"contrast": 1.0, "reconstruction": 1.0, "alignment": 1.0}
NONE = {"softmax": 0.0, "bpr": 0.0, "views": 0.0}
FAST = {"batch_size": 128, "learning_rate": 0.05}


def config(graph: dict[str, object] | None = None, **changes: object) -> EmbedConfig:
    return EmbedConfig.model_validate(
        SMALL.model_dump() | {"graph": SMALL.graph.model_dump() | (graph or {})} | changes
    )


@pytest.fixture(scope="module")
def trained(snapshot: Snapshot, views: Views, catalogue: Catalogue, interactions: Interactions) -> Trained:
    return fit(snapshot, views, catalogue, interactions, config({"cold": 0.0}), epochs=2)


def one_batch(trained: Trained, rows: Interactions, make: object = full_graph_batches) -> Batch:
    seed_everything(0)
    graph, inputs = trained.prepare(rows)
    targets = target_edges(trained.snapshot, trained.catalogue)
    return next(iter(make(graph, inputs, trained.catalogue, targets, trained.network)))  # type: ignore[operator]


# The objectives


def test_info_nce_by_hand() -> None:
    one = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    # Cosines 1 and 0 at temperature 0.5, the same in all four sums: -log(e^2 / (e^2 + e^0)).
    assert info_nce(one, one, 0.5).item() == pytest.approx(math.log(1 + math.exp(-2)))
    # Each finds the other instead: -log(e^0 / (e^0 + e^2)).
    assert info_nce(one, one.flip(0), 0.5).item() == pytest.approx(math.log(1 + math.exp(2)))
    assert info_nce(one[:1], one[:1], 0.5).item() == 0


def test_info_nce_equals_cross_entropy_row_by_row() -> None:
    torch.manual_seed(0)
    one, two = torch.randn(6, 4), torch.randn(6, 4)
    expected = []
    for a, b in ((one, two), (two, one)):
        for i in range(6):
            cosines = torch.stack([F.cosine_similarity(a[i], b[j], dim=0) for j in range(6)]) / 0.3
            expected.append(F.cross_entropy(cosines[None], torch.tensor([i])).item())
    assert info_nce(one, two, 0.3).item() == pytest.approx(sum(expected) / 12, rel=1e-5)


def test_scaled_cosine_error_by_hand() -> None:
    # The same way, at a right angle, the other way: (0^2 + 1^2 + 2^2) / 3.
    wanted = torch.tensor([[3.0, 0.0], [0.0, 5.0], [-1.0, 0.0]])
    found = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    assert scaled_cosine_error(found, wanted).item() == pytest.approx(5 / 3)
    torch.manual_seed(0)
    found, wanted = torch.randn(5, 3), torch.randn(5, 3)
    expected = [(1 - float(f @ w / (f.norm() * w.norm()))) ** 3 for f, w in zip(found, wanted, strict=True)]
    assert scaled_cosine_error(found, wanted, 3.0).item() == pytest.approx(sum(expected) / 5, rel=1e-5)


def fused(rows: int = 6, views: int = 3) -> Fused:
    found = torch.randn(rows, views, 4, generator=torch.Generator().manual_seed(rows))
    return Fused(found, torch.ones(rows, views, dtype=torch.bool), found.mean(1))


def test_contrast_tells_nodes_from_those_of_their_label_alone() -> None:
    one, two = {"User": fused(5), "Film": fused(7)}, {"User": fused(5), "Film": fused(7)}
    two = {label: replace(nodes, z=nodes.z + 0.3) for label, nodes in two.items()}
    wanted = (info_nce(one["User"].z, two["User"].z, 0.2) + info_nce(one["Film"].z, two["Film"].z, 0.2)) / 2
    torch.testing.assert_close(contrast(one, two, 0.2, 100), wanted)
    # Two of five or seven are told from one another: never more than log(2) + 2 / temperature.
    assert contrast(one, two, 0.2, 2) < wanted


def test_a_missing_view_takes_no_part_in_the_alignment() -> None:
    nodes = fused(6)
    nodes.mask[:2, 1] = False
    nodes.mask[5, 2] = False
    h, v, c = nodes.views.unbind(1)
    wanted = info_nce(h[2:], v[2:], 0.2) + info_nce(h[:5], c[:5], 0.2) + info_nce(v[2:5], c[2:5], 0.2)
    torch.testing.assert_close(alignment({"Film": nodes}, 0.2, 100), wanted / 3)
    nodes.views.requires_grad_()
    alignment({"Film": nodes}, 0.2, 100).backward()
    assert not nodes.views.grad[:2, 1].any() and not nodes.views.grad[5, 2].any()
    nodes.mask[:, 1:] = False
    assert alignment({"Film": nodes}, 0.2, 100).item() == 0


# What they hide


@pytest.mark.parametrize("make", [full_graph_batches, sampled_batches])
def test_what_a_batch_predicts_stays_hidden_in_a_corrupted_pass(
    make: object, trained: Trained, interactions: Interactions
) -> None:
    batch = one_batch(trained, interactions, make)
    used = [trained.network.relations_of(depth) for depth in range(len(batch.hops))]
    hops = without_edges(batch.hops, used, 0.3)
    starts = np.cumsum([0, *(batch.targets[-1][label] for label in batch.labels)]).tolist()
    back = reverse_types(trained.prepare(interactions)[0])
    targets = target_edges(trained.snapshot, trained.catalogue)
    kept = before = 0
    for label, start in zip(batch.labels, starts, strict=False):
        edge = (targets[label].source, targets[label].type, label)
        goals = {(user, item - start) for task in batch.tasks for user, item in task.edges.T.tolist()}
        for relation, flip in ((edge, False), (back[edge], True)):
            edges = hops[-1][relation].edges
            pairs = zip(edges.kept.src.tolist(), edges.kept.dst.tolist(), strict=True)
            assert not goals & {pair[::-1] if flip else pair for pair in pairs}
            kept += len(edges)
            before += len(batch.hops[-1][relation].edges)
            assert torch.equal(edges.in_degrees, edges.kept.in_degrees)
    assert 0.55 < kept / before < 0.85
    assert without_edges(batch.hops, used, 0.0) is batch.hops


def test_a_column_is_hidden_from_all_nodes_of_a_label(trained: Trained, interactions: Interactions) -> None:
    nodes = one_batch(trained, interactions).inputs
    torch.manual_seed(0)
    found = without_columns(nodes, 0.5)
    pairs = [(nodes.features["Film"], found.features["Film"]), (nodes.views["v"]["Book"], found.views["v"]["Book"])]
    for before, after in pairs:
        gone = (after != before).any(0)
        assert not after[:, gone].any() and torch.equal(after[:, ~gone], before[:, ~gone])
    assert any((after != before).any() for before, after in pairs)
    assert without_columns(nodes, 0.0) is nodes


@pytest.mark.parametrize("make", [full_graph_batches, sampled_batches])
def test_a_hidden_node_s_graph_view_knows_nothing_of_what_it_brought(
    make: object, trained: Trained, interactions: Interactions
) -> None:
    batch = one_batch(trained, interactions, make)
    hidden = draw_hidden(batch.inputs, trained.network.ends, 0.5)
    trained.network.eval()

    def graph_view(nodes: Inputs, label: str) -> torch.Tensor:
        found: Fused = trained.network(batch.hops, without_nodes(nodes, hidden), batch.targets)[label]
        return found.views[:, 0].detach()

    def other(by_label: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {label: torch.where(hidden[label][:, None], rows + 7, rows) for label, rows in by_label.items()}

    ends = {label: batch.inputs.features[label] for label in hidden}
    changed = replace(
        batch.inputs,
        features=batch.inputs.features | other(ends),
        views={"v": other(batch.inputs.views["v"])},
        ids={
            label: torch.where(hidden[label], rows.flip(0), rows) if label in hidden else rows
            for label, rows in batch.inputs.ids.items()
        },
    )
    for label in batch.targets[-1]:
        torch.testing.assert_close(graph_view(batch.inputs, label), graph_view(changed, label))
    shown = replace(batch.inputs, features=batch.inputs.features | {k: v + 7 for k, v in ends.items()})
    assert not torch.equal(graph_view(batch.inputs, "Film"), graph_view(shown, "Film"))


def test_only_what_hidden_nodes_brought_is_told(trained: Trained, interactions: Interactions) -> None:
    """The first film and book have no text, and every other node is shown: neither is asked for."""
    batch = one_batch(trained, interactions)
    decoder = Decoder(["Book"], trained.network.dim, batch.inputs)
    hidden = {"Book": torch.arange(len(batch.inputs.features["Book"])) < 4}
    h = torch.randn(len(hidden["Book"]), trained.network.dim, requires_grad=True)
    decoder({"Book": h}, batch.inputs, hidden, 100).backward()
    assert h.grad is not None
    assert h.grad.any(1).nonzero()[:, 0].tolist() == [1, 2, 3]
    nobody = {"Book": torch.zeros_like(hidden["Book"])}
    assert decoder({"Book": h}, batch.inputs, nobody, 100).item() == 0


# What they teach


def test_the_graph_tells_a_text_that_neighbours_determine(
    snapshot: Snapshot, views: Views, catalogue: Catalogue, interactions: Interactions
) -> None:
    """A film's text is its group's, which its topic and whoever likes it tell."""
    settings = config(objectives=NONE | {"reconstruction": 1.0}, **FAST)
    losses = fit(snapshot, views, catalogue, interactions, settings, epochs=10).history.losses
    # A map that knows only the mean leaves an angle of 90 degrees to what is wanted: an error of 1.
    assert losses[0] > 0.8 and losses[-1] < 0.6


def agreement(found: Embeddings, films: slice) -> float:
    """How much nearer a film's `h` is to its own group's `v` than to other groups'."""
    rows = np.flatnonzero(found.item_masks["v"][films])
    cosines = found.items["h"][films][rows] @ found.items["v"][films][rows].T
    same = rows[:, None] % GROUPS == rows[None] % GROUPS
    return float(cosines[same].mean() - cosines[~same].mean())


def test_aligned_views_agree(
    snapshot: Snapshot, views: Views, catalogue: Catalogue, interactions: Interactions
) -> None:
    found = []
    for epochs, rate in ((1, 1e-9), (4, FAST["learning_rate"])):
        settings = config(objectives=NONE | {"alignment": 1.0}, **FAST | {"learning_rate": rate})
        model = fit(snapshot, views, catalogue, interactions, settings, epochs=epochs)
        found.append(agreement(model.embed(interactions), catalogue.span(LIKES.target)))
    assert abs(found[0]) < 0.2 and found[1] > 0.8


def test_two_passes_of_a_node_are_nearer_than_those_of_others(
    snapshot: Snapshot, views: Views, catalogue: Catalogue, interactions: Interactions
) -> None:
    """Vectors of their own would tell nodes apart with nothing learned; without them it takes training."""
    margins = []
    for epochs, rate in ((1, 1e-9), (6, FAST["learning_rate"])):
        settings = config({"ids": False}, objectives=NONE | {"contrast": 1.0}, **FAST | {"learning_rate": rate})
        model = fit(snapshot, views, catalogue, interactions, settings, epochs=epochs)
        batch = one_batch(model, interactions)
        model.network.train()
        one, two = (corrupted_pass(model.network, batch, settings.self_supervision)["Film"].z for _ in range(2))
        cosines = (one @ two.T).detach()
        others = cosines[~torch.eye(len(cosines), dtype=torch.bool)]
        margins.append(float(cosines.diagonal().mean() - others.mean()))
    assert margins[1] > margins[0] + 0.2 and margins[1] > 0.7


@pytest.mark.parametrize("graph", MODES.values(), ids=list(MODES))
def test_all_together_still_learn_planted_tastes(
    graph: dict[str, object], snapshot: Snapshot, views: Views, catalogue: Catalogue, interactions: Interactions
) -> None:
    train, held = hold_out(interactions)
    weights = dict.fromkeys(SSL, 0.3)
    settings = config(graph, objectives={"softmax": 1.0} | weights, pretraining=SSL | {"epochs": 3}, epochs=8, **FAST)
    told: list[tuple[int, int]] = []
    trained = fit(snapshot, views, catalogue, train, settings, progress=lambda *at: told.append(at))
    history = trained.history
    assert np.isfinite(history.losses).all() and history.losses[-1] < history.losses[0]
    assert len(history.pretraining) == 3 and history.pretraining[-1] < history.pretraining[0]
    assert told == [(i + 1, 11) for i in range(11)]
    scores = trained.embed(train).scores()
    scores[train.user, train.item] = -2
    assert hit_rate(scores, held) > 0.5


@pytest.mark.parametrize("model", ["graphsage", "gcn", "gat"])
def test_edges_are_hidden_from_every_convolution(
    model: str, snapshot: Snapshot, views: Views, catalogue: Catalogue, interactions: Interactions
) -> None:
    settings = config({"model": model}, objectives=NONE | {"contrast": 1.0}, **FAST)
    losses = fit(snapshot, views, catalogue, interactions, settings, epochs=3).history.losses
    assert np.isfinite(losses).all() and losses[-1] < losses[0]


@pytest.mark.parametrize("name", list(SSL))
@pytest.mark.parametrize("graph", MODES.values(), ids=list(MODES))
def test_each_trains_alone_where_nothing_has_a_text_or_property(
    name: str, graph: dict[str, object], snapshot: Snapshot, catalogue: Catalogue, interactions: Interactions
) -> None:
    bare = replace(snapshot, nodes={k: t.select(["key", "text", "image"]) for k, t in snapshot.nodes.items()})
    trained = fit(
        bare, Views(), catalogue, interactions, config(graph, objectives=NONE | {name: 1.0}, **FAST), epochs=2
    )
    assert np.isfinite(trained.history.losses).all() and len(trained.history.losses) == 2
    assert np.isfinite(trained.embed(interactions).items["z"]).all()


def test_what_weighs_nothing_draws_nothing(
    snapshot: Snapshot,
    views: Views,
    catalogue: Catalogue,
    interactions: Interactions,
    one_thread: None,
) -> None:
    """Settings of objectives that weigh nothing change no result."""
    other = {"edge_dropout": 0.9, "feature_dropout": 0.9, "masked": 0.9, "temperature": 9.0, "nodes": 2}
    runs = [
        fit(snapshot, views, catalogue, interactions, settings, epochs=2).embed(interactions).users["z"]
        for settings in (
            config(**FAST),
            config(self_supervision=other, **FAST),
            config(pretraining={"contrast": 1.0, "epochs": 1}, **FAST),
        )
    ]
    assert np.array_equal(runs[0], runs[1]) and not np.array_equal(runs[0], runs[2])


def test_nothing_to_learn_from_is_a_clear_error() -> None:
    for wrong in ({"objectives": NONE}, {"pretraining": {"epochs": 3}}):
        with pytest.raises(ValidationError, match="nothing to learn from"):
            EmbedConfig.model_validate(wrong)
