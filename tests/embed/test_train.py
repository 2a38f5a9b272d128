from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from embed.batches import full_graph_batches, sampled_batches
from embed.config import EmbedConfig
from embed.graph import reverse_types
from embed.inputs import Views
from embed.ops import seed_everything
from embed.snapshot import Snapshot, target_edges
from embed.train import Trained, fit
from kg.errors import ConfigError
from kg.ids import IdMap
from kg.interactions import Catalogue, Interactions
from kg.schema import EdgeType
from tests.embed.planted import BOOKS, GROUPS, SMALL, hit_rate, hold_out, without

MINI_BATCHES = {"full_graph_edges": 0, "fanout": 5}


def config(base: EmbedConfig = SMALL, graph: dict[str, object] | None = None, **changes: object) -> EmbedConfig:
    return EmbedConfig.model_validate(base.model_dump() | changes | {"graph": base.graph.model_dump() | (graph or {})})


@pytest.mark.parametrize(
    "changed",
    [
        config(),
        config(graph={"model": "graphsage"}),
        config(graph={"model": "gcn"}, fusion="mean"),
        config(graph={"model": "gat"}, fusion="concat"),
        config(graph=MINI_BATCHES),
        config(objectives={"softmax": 0, "bpr": 1}),
    ],
    ids=["lightgcn", "graphsage", "gcn", "gat", "mini-batches", "bpr"],
)
def test_planted_tastes_are_learned(
    changed: EmbedConfig, snapshot: Snapshot, views: Views, catalogue: Catalogue, interactions: Interactions
) -> None:
    train, held = hold_out(interactions)
    trained = fit(snapshot, views, catalogue, train, changed)
    first, last = trained.history.losses[0], trained.history.losses[-1]
    assert last < (0.85 if changed.objectives.softmax else 0.9) * first
    scores = trained.embed(train).scores()
    scores[train.user, train.item] = -2
    # Eight of 44 at random would hit 18%.
    assert hit_rate(scores, held) > 0.5


@pytest.mark.parametrize("graph", [{}, MINI_BATCHES], ids=["full-graph", "mini-batches"])
def test_one_seed_repeats_exactly(
    graph: dict[str, object], snapshot: Snapshot, views: Views, catalogue: Catalogue, interactions: Interactions
) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        runs = [
            fit(snapshot, views, catalogue, interactions, config(graph=graph), epochs=2, seed=seed)
            for seed in (5, 5, 6)
        ]
    finally:
        torch.set_num_threads(threads)
    assert runs[0].history.losses == runs[1].history.losses != runs[2].history.losses
    one, two = (run.embed(interactions) for run in runs[:2])
    for view in one.views:
        assert np.array_equal(one.users[view], two.users[view]) and np.array_equal(one.items[view], two.items[view])


@pytest.mark.parametrize("make", [full_graph_batches, sampled_batches])
def test_no_message_passes_along_what_a_batch_predicts(
    make: object, snapshot: Snapshot, views: Views, catalogue: Catalogue, interactions: Interactions
) -> None:
    """Every target edge is predicted once an epoch, and neither it nor its reverse is in any hop of its batch."""
    seed_everything(0)
    settings = config(graph={"fanout": 100})
    trained = fit(snapshot, views, catalogue, interactions, settings, epochs=1)
    graph, inputs = trained.prepare(interactions)
    back = reverse_types(graph)
    targets = target_edges(snapshot, catalogue)
    predicted = 0
    for batch in make(graph, inputs, catalogue, targets, trained.network):  # type: ignore[operator]
        starts, offset = {}, 0
        for label in batch.labels:
            starts[label] = offset
            offset += batch.targets[-1][label]
        for task in batch.tasks:
            predicted += task.edges.shape[1]
            for label, start in starts.items():
                stop = start + batch.targets[-1][label]
                inside = (task.edges[1] >= start) & (task.edges[1] < stop)
                goals = set(zip(task.edges[0][inside].tolist(), (task.edges[1][inside] - start).tolist(), strict=True))
                edge = (targets[label].source, targets[label].type, label)
                for relation, flip in ((edge, False), (back[edge], True)):
                    # Rows of targets lead the rows of sources, so one numbering serves both ends of the last hop.
                    kept = batch.hops[-1][relation].edges.kept
                    u, v = kept.src, kept.dst
                    pairs = (
                        zip(v.tolist(), u.tolist(), strict=True) if flip else zip(u.tolist(), v.tolist(), strict=True)
                    )
                    assert not goals & set(pairs)
    assert predicted == len(interactions)


@pytest.mark.parametrize("make", [full_graph_batches, sampled_batches])
def test_a_step_hides_but_a_share_of_few_events(
    make: object, snapshot: Snapshot, views: Views, catalogue: Catalogue, interactions: Interactions
) -> None:
    settings = config(batch_size=8192, hidden=0.1)
    trained = fit(snapshot, views, catalogue, interactions, settings, epochs=1)
    batches = make(  # type: ignore[operator]
        *trained.prepare(interactions), catalogue, target_edges(snapshot, catalogue), trained.network
    )
    sizes = [sum(task.edges.shape[1] for task in batch.tasks) for batch in batches]
    assert sum(sizes) == len(interactions)
    assert max(sizes) <= 0.1 * len(interactions) + 1


@pytest.mark.parametrize("make", [full_graph_batches, sampled_batches])
def test_messages_along_interactions_are_weighed_by_weight_and_age(
    make: object, snapshot: Snapshot, views: Views, catalogue: Catalogue, interactions: Interactions
) -> None:
    day = 86_400_000_000
    aged = replace(interactions, time=np.where(interactions.user < 20, 0, 10 * day))
    settings = config(graph={"edge_weights": True, "half_life": 5.0, "fanout": 100, "cold": 0.0})
    trained = fit(snapshot, views, catalogue, aged, settings, epochs=1)
    graph, inputs = trained.prepare(aged)
    edge = ("User", "LIKES", "Film")
    user, weight = graph.edges(etype=edge)[0], graph.edges[edge].data["weight"]
    # Ten days are two half-lives: a quarter; then all over their mean.
    wanted = weight * torch.where(user < 20, 0.25, 1.0)
    torch.testing.assert_close(graph.edges[edge].data["message"], wanted / wanted.mean())
    batch = next(iter(make(graph, inputs, catalogue, target_edges(snapshot, catalogue), trained.network)))  # type: ignore[operator]
    found = batch.hops[-1][edge].edges.kept
    assert found.weight is not None
    assert set(found.weight.tolist()) <= set((wanted / wanted.mean()).tolist())
    assert found.weight.unique().numel() > 1


def test_own_vectors_count_by_how_many_events_taught_them(
    snapshot: Snapshot, views: Views, catalogue: Catalogue, interactions: Interactions
) -> None:
    few = interactions.take((interactions.user != 0) & ((interactions.user != 1) | (interactions.item == 3)))
    trained = fit(snapshot, views, catalogue, few, config(graph={"layers": 1, "id_shrinkage": 5.0}), epochs=3)
    own = trained.network.ids["of-User"]
    assert not own[0].any()
    before = trained.embed(few).users["h"]
    with torch.no_grad():
        own[:] = torch.randn(own.shape, generator=torch.Generator().manual_seed(1)) * own.norm(dim=1, keepdim=True)
    moved = 1 - (before * trained.embed(few).users["h"]).sum(1)
    events = np.bincount(few.user, minlength=len(moved))
    assert moved[0] < 1e-6
    assert events[1] <= 1 < np.median(events)
    assert moved[1] < np.median(moved[events > 1]) / 2


def test_a_new_item_is_ranked_by_what_it_brings(
    snapshot: Snapshot, views: Views, catalogue: Catalogue, interactions: Interactions
) -> None:
    """One film of each group loses all its interactions: users of a group find theirs by its text and topic."""
    new = catalogue.offsets["Film"] + np.arange(4, 4 + GROUPS)
    held = np.isin(interactions.item, new)
    train, wanted = interactions.take(~held), interactions.take(held)
    scores = fit(snapshot, views, catalogue, train, SMALL).embed(train).scores()
    best = new[scores[:, new].argmax(1)]
    # One in four by chance; a fifth of the likes are of another group.
    assert np.mean(best[wanted.user] == wanted.item) > 0.6


@pytest.mark.parametrize("make", [full_graph_batches, sampled_batches])
def test_an_item_that_nobody_has_is_no_negative(
    make: object, snapshot: Snapshot, views: Views, catalogue: Catalogue, interactions: Interactions
) -> None:
    train = interactions.take(interactions.item != catalogue.offsets["Film"] + 4)
    trained = fit(snapshot, views, catalogue, train, SMALL, epochs=1)
    graph, inputs = trained.prepare(train)
    for batch in make(graph, inputs, catalogue, target_edges(snapshot, catalogue), trained.network):  # type: ignore[operator]
        pools = [len(task.pool) for task in batch.tasks]
        assert sum(pools) == len(np.unique(train.item)) < catalogue.n_items


def test_a_label_that_only_the_target_edge_shows_is_not_learned(snapshot: Snapshot, catalogue: Catalogue) -> None:
    """User k likes item k and nothing else: with ids and features off, nothing but the edge itself could tell which."""
    users = np.arange(BOOKS)
    rows = Interactions(
        users,
        users,
        np.ones(BOOKS, np.float32),
        np.zeros(BOOKS, np.int64),
        np.ones(BOOKS, bool),
        catalogue.n_users,
        catalogue.n_items,
    )
    bare = replace(
        snapshot,
        nodes={k: t.select(["key", "text", "image"]) for k, t in snapshot.nodes.items()},
        edges={e: t for e, t in snapshot.edges.items() if snapshot.edge_meta[e]["interaction"]},
        edge_meta={e: m for e, m in snapshot.edge_meta.items() if m["interaction"]},
    )
    settings = config(graph={"ids": False}, epochs=15, batch_size=8)
    trained = fit(bare, Views(), catalogue, rows, settings)
    # All that can be learned is that a batch's own eight books have no edge left: chance among them costs log(8) = 2.1.
    # Had an edge been visible in its own batch, the loss would fall towards 0.
    assert min(trained.history.losses) > 0.85 * np.log(8)


def test_early_stopping_keeps_the_best_weights(
    snapshot: Snapshot, views: Views, catalogue: Catalogue, interactions: Interactions
) -> None:
    figures = iter([0.1, 0.5, 0.4, 0.3, 0.9])
    seen = []

    def validate(embeddings: object) -> float:
        seen.append(embeddings)
        return next(figures)

    settings = config(patience=2)
    trained = fit(snapshot, views, catalogue, interactions, settings, validate=validate)
    assert trained.history.best_epoch == 2 and trained.history.stopped == "patience"
    assert trained.history.metrics == [0.1, 0.5, 0.4, 0.3]
    assert np.array_equal(trained.embed(interactions).users["z"], seen[1].users["z"])  # type: ignore[attr-defined]


def test_users_without_own_views_get_their_positives_and_cold_ones_none(
    snapshot: Snapshot, views: Views, catalogue: Catalogue, interactions: Interactions
) -> None:
    rows = without(interactions, 3)
    found = fit(snapshot, views, catalogue, rows, SMALL, epochs=2).embed(rows)
    assert not found.user_masks["v"][3] and not found.users["v"][3].any()
    assert found.user_masks["h"].all() and found.user_masks["z"].all()
    expected = np.unique(rows.item[(rows.user == 5)])
    expected = expected[found.item_masks["v"][expected]]
    mean = found.items["v"][expected].mean(0)
    assert np.allclose(found.users["v"][5], mean / np.linalg.norm(mean) if len(expected) else mean, atol=0.05)
    for view in found.views:
        lengths = np.linalg.norm(found.users[view], axis=1)
        assert np.allclose(lengths[found.user_masks[view]], 1, atol=1e-4)


def test_a_node_never_seen_gets_a_vector(
    snapshot: Snapshot, views: Views, catalogue: Catalogue, interactions: Interactions
) -> None:
    trained = fit(snapshot, views, catalogue, interactions, SMALL, epochs=3)
    users = snapshot.nodes["User"]
    key = pa.array([*users["key"].to_pylist()[:-1], "zz-new"])
    grown = replace(snapshot, nodes=snapshot.nodes | {"User": users.set_column(0, users.schema.field(0), key)})
    index = replace(catalogue, users=IdMap("User", key))
    found = replace_snapshot(trained, grown, index).embed(without(interactions, len(key) - 1))
    assert np.isclose(np.linalg.norm(found.users["z"][-1]), 1, atol=1e-4)


def replace_snapshot(trained: Trained, snapshot: Snapshot, catalogue: Catalogue) -> Trained:
    return replace(trained, snapshot=snapshot, catalogue=catalogue)


def test_a_domain_without_interactions_still_trains(
    snapshot: Snapshot, views: Views, catalogue: Catalogue, interactions: Interactions
) -> None:
    films = interactions.take(interactions.item >= catalogue.offsets["Film"])
    for graph in ({}, MINI_BATCHES):
        found = fit(snapshot, views, catalogue, films, config(graph=graph), epochs=2).embed(films)
        assert np.isfinite(found.items["z"]).all() and len(found.items["z"]) == catalogue.n_items
    no_edges = {e: t for e, t in snapshot.edges.items() if e != EdgeType("User", "READS", "Book")}
    alone = replace(snapshot, edges=no_edges, edge_meta={e: snapshot.edge_meta[e] for e in no_edges})
    assert len(fit(alone, views, catalogue, films, SMALL, epochs=1).history.losses) == 1


def test_an_unknown_device_is_a_clear_error(
    snapshot: Snapshot, views: Views, catalogue: Catalogue, interactions: Interactions
) -> None:
    with pytest.raises(ConfigError, match="device 'gpu9'"):
        fit(snapshot, views, catalogue, interactions, SMALL, device="gpu9")
