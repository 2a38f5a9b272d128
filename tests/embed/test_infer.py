import numpy as np
import pytest
import torch

from embed.infer import Embeddings, align, embed_graph, relations
from embed.inputs import Views
from embed.snapshot import Placement, Snapshot
from embed.train import fit
from kg.interactions import Catalogue, Interactions
from tests.embed.planted import SMALL


@pytest.mark.parametrize("model", ["lightgcn", "gcn", "gat"])
def test_layer_by_layer_equals_the_whole_graph_at_once(
    snapshot: Snapshot, views: Views, catalogue: Catalogue, interactions: Interactions, model: str
) -> None:
    config = SMALL.model_copy(update={"graph": SMALL.graph.model_copy(update={"model": model})})
    trained = fit(snapshot, views, catalogue, interactions, config, epochs=2)
    graph, inputs = trained.prepare(interactions)
    placement = Placement.of(snapshot, catalogue)
    whole = embed_graph(trained.network, graph, inputs, placement)
    batched = embed_graph(trained.network, graph, inputs, placement, batch_size=7)
    for view in whole.views:
        np.testing.assert_allclose(whole.users[view], batched.users[view], atol=1e-5)
        np.testing.assert_allclose(whole.items[view], batched.items[view], atol=1e-5)
        assert np.array_equal(whole.item_masks[view], batched.item_masks[view])
    everything = {label: graph.num_nodes(label) for label in graph.ntypes}
    network, hops = trained.network, range(SMALL.graph.hops)
    counts = [{label: everything[label] for label in network.labels_after(hop)} for hop in hops]
    with torch.inference_mode():
        fused = network([relations(graph, torch.device("cpu")) for _ in hops], inputs, counts)
    np.testing.assert_allclose(whole.users["z"], fused["User"].z.numpy()[placement.users], atol=1e-5)


def random_embeddings(seed: int, dim: int = 6) -> Embeddings:
    generator = np.random.default_rng(seed)
    rows = generator.standard_normal((50, dim)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    users, items = {"h": rows[:20], "z": rows[:20]}, {"h": rows[20:], "z": rows[20:]}
    masks = {"h": np.ones(20, bool), "z": np.ones(20, bool)}
    return Embeddings(users, items, masks, {"h": np.ones(30, bool), "z": np.ones(30, bool)})


def test_align_recovers_a_rotation() -> None:
    reference = random_embeddings(0)
    rotation, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((6, 6)))
    turned = Embeddings(
        {view: (rows @ rotation).astype(np.float32) for view, rows in reference.users.items()},
        {view: (rows @ rotation).astype(np.float32) for view, rows in reference.items.items()},
        reference.user_masks,
        reference.item_masks,
    )
    back = align(turned, reference)
    for view in ("h", "z"):
        np.testing.assert_allclose(back.users[view], reference.users[view], atol=1e-5)
        np.testing.assert_allclose(back.items[view], reference.items[view], atol=1e-5)
    np.testing.assert_allclose(
        align(random_embeddings(4), reference).scores(), random_embeddings(4).scores(), atol=1e-5
    )


def test_align_refuses_another_width() -> None:
    with pytest.raises(ValueError, match="one catalogue and width"):
        align(random_embeddings(0, 6), random_embeddings(0, 5))
