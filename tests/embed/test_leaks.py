"""No target edge, nor its reverse, helps to predict itself: what a batch computes is held against a graph without them.

The reference never hides anything. It is a graph made of the other interactions alone, so an edge that a batch should
have hidden and did not, in whatever direction and by whatever route, makes a difference. Leaks are planted to see that.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import dgl
import numpy as np
import pytest
import torch

from embed import batches, graph
from embed.batches import Batch, full_graph_batches, sampled_batches
from embed.config import EmbedConfig
from embed.infer import relations
from embed.inputs import Views
from embed.messages import Edges
from embed.model import Fused, Inputs
from embed.ops import seed_everything
from embed.snapshot import Snapshot, own_interactions, target_edges
from embed.train import Trained, fit
from kg.interactions import Catalogue, Interactions
from kg.schema import EdgeType
from tests.embed.planted import LIKES, SMALL

Make = Callable[..., Iterator[Batch]]
MODELS = ("lightgcn", "graphsage", "gcn", "gat")
ROUNDING = 1e-4
"""Without a leak the largest difference is 3e-7; planted ones make more than 0.1 in every view."""


BATCHES = pytest.mark.parametrize("make", [full_graph_batches, sampled_batches], ids=["full-graph", "mini-batches"])


@pytest.fixture(scope="module", params=MODELS)
def trained(
    request: pytest.FixtureRequest, snapshot: Snapshot, views: Views, catalogue: Catalogue, interactions: Interactions
) -> Trained:
    return learned(request.param, snapshot, views, catalogue, interactions)


def learned(model: str, snapshot: Snapshot, views: Views, catalogue: Catalogue, interactions: Interactions) -> Trained:
    """A model whose sampled neighbourhoods have all neighbours, so that they can be compared."""
    settings = SMALL.model_dump() | {"graph": SMALL.graph.model_dump() | {"model": model, "fanout": 200}}
    config = EmbedConfig.model_validate(settings | {"batch_size": 170})
    return fit(snapshot, views, catalogue, interactions, config, epochs=1)


def leak(make: Make, trained: Trained, interactions: Interactions) -> dict[str, float]:
    """By view the most by which a vector in a batch differs from what it is where the batch's targets never were."""
    seed_everything(1)
    whole, inputs = trained.prepare(interactions)
    targets = target_edges(trained.snapshot, trained.catalogue)
    found = dict.fromkeys([*trained.network.views, "z"], 0.0)
    for batch in make(whole, inputs, trained.catalogue, targets, trained.network):
        rest = interactions.take(~np.isin(_pairs(interactions), predicted(batch, trained)))
        assert len(rest) < len(interactions)
        with torch.inference_mode():
            seen = trained.network(batch.hops, batch.inputs, batch.targets)
            wanted = elsewhere(make, trained, rest, inputs, batch)
        for label in seen:
            for view, most in differences(trained.network.views, seen[label], wanted[label]).items():
                found[view] = max(found[view], most)
    return found


def predicted(batch: Batch, trained: Trained) -> np.ndarray:
    """The pairs that a batch predicts, as `_pairs` numbers them."""
    catalogue, ids = trained.catalogue, batch.inputs.ids
    # Every node has a vector of its own here, whose row is the node's number in the whole graph.
    items = [ids[label][: batch.targets[-1][label]] + catalogue.offsets[label] for label in batch.labels]
    user, item = torch.cat([task.edges for task in batch.tasks], dim=1)
    return (ids["User"][user] * catalogue.n_items + torch.cat(items)[item]).numpy()


def _pairs(rows: Interactions) -> np.ndarray:
    return rows.user * rows.n_items + rows.item


def elsewhere(make: Make, trained: Trained, rest: Interactions, inputs: Inputs, batch: Batch) -> dict[str, Fused]:
    """What the batch's nodes become along the remaining interactions; they bring with them what they always bring."""
    there, _ = trained.prepare(rest)
    network, cpu = trained.network, torch.device("cpu")
    if make is full_graph_batches:
        return network([relations(there, cpu) for _ in batch.hops], inputs, batch.targets)
    nodes = {label: batch.inputs.ids[label][:count] for label, count in batch.targets[-1].items()}
    rows, _, blocks = batches._neighbour_sampler(there, network).sample_blocks(there, nodes)
    counts = [
        {label: block.num_dst_nodes(label) for label in network.labels_after(i)} for i, block in enumerate(blocks)
    ]
    return network([relations(block, cpu) for block in blocks], inputs.take(rows), [*counts[:-1], batch.targets[-1]])


def differences(views: list[str], one: Fused, other: Fused) -> dict[str, float]:
    by_view = (one.views - other.views).abs().amax((0, 2)).tolist()
    return dict(zip(views, by_view, strict=True)) | {"z": float((one.z - other.z).abs().max())}


@BATCHES
def test_a_batch_computes_what_a_graph_without_its_targets_gives(
    make: Make, trained: Trained, interactions: Interactions
) -> None:
    assert max(leak(make, trained, interactions).values()) < ROUNDING


def nothing_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Edges, "without", lambda self, rows: self)
    sampler = dgl.dataloading.as_edge_prediction_sampler
    monkeypatch.setattr(
        dgl.dataloading,
        "as_edge_prediction_sampler",
        lambda *args, **kwargs: sampler(*args, **kwargs | {"exclude": None}),
    )


def reverses_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "reverse_types", lambda whole: {etype: etype for etype in whole.canonical_etypes})


def numbers_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reverse of an edge is the one after the one of its number, so another is hidden in its place."""
    add = graph._add

    def shifted(data: dict, edge: tuple[str, str, str], src: np.ndarray, dst: np.ndarray) -> None:
        add(data, edge, src, dst)
        back = edge[2], graph.REVERSE + edge[1], edge[0]
        data[back] = tuple(ends.roll(1) for ends in data[back])

    monkeypatch.setattr(graph, "_add", shifted)


@BATCHES
@pytest.mark.parametrize("plant", [nothing_is_hidden, reverses_stay, numbers_differ])
def test_a_planted_leak_is_caught(
    make: Make,
    plant: Callable[[pytest.MonkeyPatch], None],
    trained: Trained,
    interactions: Interactions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plant(monkeypatch)
    assert min(leak(make, trained, interactions).values()) > 100 * ROUNDING


def with_parallel(snapshot: Snapshot) -> Snapshot:
    """Every second film that is liked was viewed before: two relations between the same two nodes."""
    viewed = EdgeType("User", "VIEWED", "Film")
    rows = snapshot.edges[LIKES]
    return replace(
        snapshot,
        edges=snapshot.edges | {viewed: rows.take(np.arange(0, rows.num_rows, 2))},
        edge_meta=snapshot.edge_meta | {viewed: snapshot.edge_meta[LIKES] | {"target": False}},
    )


@pytest.fixture(scope="module")
def twice(snapshot: Snapshot, views: Views, catalogue: Catalogue) -> tuple[Trained, Interactions]:
    """A model of a graph with parallel relations, and its interactions, of which some are there twice."""
    doubled = with_parallel(snapshot)
    rows = own_interactions(doubled, catalogue)
    assert len(np.unique(_pairs(rows))) < len(rows)
    return learned("graphsage", doubled, views, catalogue, rows), rows


@BATCHES
def test_a_parallel_relation_does_not_give_the_target_away(make: Make, twice: tuple[Trained, Interactions]) -> None:
    trained, rows = twice
    seen, _ = trained.prepare(rows)
    between = [etype for etype in seen.canonical_etypes if {etype[0], etype[2]} == {"User", "Film"}]
    assert between == [("Film", "rev_LIKES", "User"), ("User", "LIKES", "Film")]
    user, film = seen.edges(etype=("User", "LIKES", "Film"))
    assert len(torch.unique(user * 1000 + film)) == len(user)
    assert max(leak(make, trained, rows).values()) < ROUNDING


@BATCHES
def test_a_parallel_edge_that_stays_is_caught(
    make: Make, twice: tuple[Trained, Interactions], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph, "simple", lambda src, dst, n_dst: np.arange(len(src)))
    assert min(leak(make, *twice).values()) > 100 * ROUNDING
