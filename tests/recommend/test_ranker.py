"""The ranker learns a planted rule, one seed repeats, and the online one computes the same numbers."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from recommend import online
from recommend.config import Ranker as Settings
from recommend.features import Lists
from recommend.fitting import fit, listwise, sample
from recommend.online import OnlineRanker
from recommend.ranker import Network, Ranker, Vectors

LISTS, LENGTH, WIDTH = 240, 30, 4
SETTINGS = Settings(epochs=60, lr=2e-2, dropout=0.0, negatives=20, batch=40)


def planted(signals: int = 3, seed: int = 0) -> tuple[Lists, np.ndarray, Vectors]:
    """The label is the item with the largest 2 s_1 + 3 z_u0 z_i0 d: neither signal 0 nor the rest matters."""
    rng = np.random.default_rng(seed)
    z_users, z_items = (rng.normal(size=(n, WIDTH)) for n in (LISTS, 200))
    z_users, z_items = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (z_users, z_items))
    items = np.stack([rng.permutation(200)[:LENGTH] for _ in range(LISTS)])
    items[::3, -5:] = -1
    s = rng.normal(size=(LISTS, LENGTH, signals)).astype(np.float32)
    truth = 2 * s[:, :, 1] + 3 * WIDTH * z_users[:, :1] * z_items[np.maximum(items, 0), 0]
    truth[items < 0] = -np.inf
    labels = np.zeros((LISTS, LENGTH), bool)
    labels[np.arange(LISTS), truth.argmax(1)] = True
    lists = Lists(np.arange(LISTS), items, s, np.zeros((LISTS, LENGTH, 0), np.float32), np.zeros(LISTS, bool))
    return lists, labels, Vectors.of(z_users.astype(np.float32), z_items.astype(np.float32), "cpu")


def hit_rate(ranker: Ranker, lists: Lists, labels: np.ndarray, vectors: Vectors) -> float:
    best = ranker.probabilities(lists, vectors).argmax(1)
    return float(labels[np.arange(len(labels)), best].mean())


@pytest.fixture(scope="module")
def ranker() -> Ranker:
    lists, labels, vectors = planted()
    return fit(lists.take(np.arange(200)), labels[:200], vectors, online.SIGNALS, SETTINGS, seed=1)


def test_learns_the_planted_rule(ranker: Ranker) -> None:
    lists, labels, vectors = planted()
    unseen = np.arange(200, LISTS)
    start = Ranker(Network(online.SIGNALS, 0, WIDTH, 8, 0.0), online.SIGNALS)
    assert hit_rate(start, lists.take(unseen), labels[unseen], vectors) < 0.3
    assert hit_rate(ranker, lists.take(unseen), labels[unseen], vectors) > 0.6


def test_starts_from_the_first_signal() -> None:
    lists, _, vectors = planted()
    p = Ranker(Network(online.SIGNALS, 0, WIDTH, 8, 0.5), online.SIGNALS).probabilities(lists, vectors)
    for row, signal, mask in zip(p, lists.signals[:, :, 0], lists.mask, strict=True):
        np.testing.assert_allclose(row[mask], np.exp(signal[mask]) / np.exp(signal[mask]).sum(), rtol=1e-4)


def test_keeps_the_best_input_where_labels_are_noise() -> None:
    lists, labels, vectors = planted()
    noise = np.random.default_rng(8).permuted(labels, axis=1) & lists.mask
    good = fit(lists, noise, vectors, online.SIGNALS, SETTINGS, seed=1)
    # Held-out lists see no gain, so the products and other signals get little say.
    assert abs(good.network.linear.detach().numpy()[0, 1:]).max() < 0.5


def test_probabilities_sum_to_one_and_padding_has_none(ranker: Ranker) -> None:
    lists, _, vectors = planted()
    p = ranker.probabilities(lists, vectors)
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-5)
    assert not p[~lists.mask].any()


def test_one_seed_repeats_and_leaves_the_global_generator_alone() -> None:
    lists, labels, vectors = planted()
    short = Settings(epochs=2)
    before = torch.random.get_rng_state()
    first = fit(lists, labels, vectors, online.SIGNALS, short, seed=3)
    assert torch.equal(torch.random.get_rng_state(), before)
    again = fit(lists, labels, vectors, online.SIGNALS, short, seed=3)
    other = fit(lists, labels, vectors, online.SIGNALS, short, seed=4)
    assert first.to_bytes() == again.to_bytes() != other.to_bytes()


def test_bytes_keep_everything(ranker: Ranker) -> None:
    lists, _, vectors = planted()
    again = Ranker.from_bytes(ranker.to_bytes())
    assert again.signals == ranker.signals
    np.testing.assert_array_equal(again.probabilities(lists, vectors), ranker.probabilities(lists, vectors))


def test_network_is_its_formula() -> None:
    torch.manual_seed(0)
    network = Network(online.SIGNALS, 2, 4, 6, 0.0)
    torch.nn.init.normal_(network.outer.weight)
    user, items, s, c = (torch.randn(size) for size in ((2, 4), (2, 5, 4), (2, 5, 3), (2, 5, 2)))
    x = torch.cat([user[:, None] * items * 4, s, c], dim=-1)
    torch.nn.init.normal_(network.linear)
    deep = network.outer(torch.relu(network.inner(x)))[..., 0]
    wanted = torch.stack([s[0] @ network.linear[0] + deep[0] * 0.5, s[1] @ network.linear[1] + deep[1] * 0.25])
    network.gate.data = torch.tensor([0.5, 0.25])
    torch.testing.assert_close(network(user, items, s, c, torch.tensor([0, 1])), wanted)


def test_cold_users_start_from_popularity() -> None:
    lists, _, vectors = planted()
    cold = replace(lists, cold=np.ones(LISTS, bool))
    p = Ranker(Network(online.SIGNALS, 0, WIDTH, 8, 0.5), online.SIGNALS).probabilities(cold, vectors)
    signal = np.where(lists.mask, lists.signals[:, :, online.SIGNALS.index("popular")], -np.inf)
    np.testing.assert_allclose(p, np.exp(signal) / np.exp(signal).sum(1, keepdims=True), rtol=1e-4)


def test_listwise_loss_by_hand() -> None:
    # logits 0, 0, 0: every log-probability is -log 3; two labels or one make the same mean. Padding has none.
    found = torch.tensor([[0.0, 0.0, 0.0, -torch.inf], [0.0, 0.0, 0.0, -torch.inf]])
    labels = torch.tensor([[True, True, False, False], [False, False, True, False]])
    assert listwise(found, labels).item() == pytest.approx(np.log(3))


def test_sampling_keeps_every_label_and_prefers_items_to_padding() -> None:
    lists, labels, _ = planted()
    thinner, kept = sample(lists, labels, 10, np.random.default_rng(0))
    assert thinner.items.shape == (LISTS, 11) and kept.sum() == labels.sum() and thinner.mask.all()
    assert (thinner.items[kept] == lists.items[labels]).all()


def test_online_ranker_computes_what_the_network_does(ranker: Ranker) -> None:
    lists, _, vectors = planted()
    plain = OnlineRanker.of(ranker.network.state_dict(), latest=20)
    plain = OnlineRanker.from_json(plain.to_json())
    rng = np.random.default_rng(2)
    raw = rng.normal(2.0, 3.0, (LENGTH, 3))
    scaled = ((raw - raw.mean(0)) / raw.std(0)).astype(np.float32)
    for cold in (False, True):
        one = Lists(lists.users[1:2], lists.items[1:2], scaled[None], lists.context[1:2], np.array([cold]))
        found = plain.probabilities(vectors.users[1].numpy(), vectors.items[lists.items[1]].numpy(), raw, cold)
        np.testing.assert_allclose(found, ranker.probabilities(one, vectors)[0], rtol=1e-4, atol=1e-7)
