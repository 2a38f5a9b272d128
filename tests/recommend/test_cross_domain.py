"""One domain's items from what users did in two: scorers against second implementations, and planted tastes."""

import numpy as np
import pytest
from scipy import sparse

from recommend.baselines import EASE, Scorer
from recommend.cross_domain import CrossDomain, CrossDomainRanker
from recommend.linear import WideAutoencoder
from recommend.neighbours import UserKNN
from recommend.walks import RandomWalk
from tests.benchmarks.cross_domain_data import Domain, has_twin, held_out, negatives, sampled_metrics, twins
from tests.contracts import ScorerContract

QUICK = CrossDomain(folds=1, hidden=0.2, negatives=60, widths=(4,))


class TestWideAutoencoder(ScorerContract):
    def make(self) -> Scorer:
        return WideAutoencoder(5.0)


class TestRandomWalk(ScorerContract):
    def make(self) -> Scorer:
        return RandomWalk()


def some(users: int, items: int, share: float, seed: int = 0) -> sparse.csr_matrix:
    return sparse.csr_matrix((np.random.default_rng(seed).random((users, items)) < share).astype(np.float32))


def planted(seed: int = 0) -> tuple[sparse.csr_matrix, sparse.csr_matrix, np.ndarray]:
    """Two domains of 120 items where each of 300 users keeps to one of four tastes; the first 60 have no target item.

    Also the tastes of the users; an item's taste is its number modulo four.
    """
    rng = np.random.default_rng(seed)
    taste = rng.integers(0, 4, 300)
    chance = np.where(taste[:, None] == np.arange(120) % 4, 0.15, 0.01)
    target, source = ((rng.random(chance.shape) < chance).astype(np.float32) for _ in range(2))
    target[:60] = 0
    return sparse.csr_matrix(target), sparse.csr_matrix(source), taste


def test_the_wide_autoencoder_is_ease() -> None:
    matrix, users = some(30, 50, 0.15), np.array([3, 7])
    expected = EASE(20.0).fit(matrix).scores(users)
    assert WideAutoencoder(20.0).fit(matrix).scores(users) == pytest.approx(expected, abs=1e-4)


def test_a_walk_is_the_series_of_its_steps() -> None:
    matrix, users = some(20, 30, 0.2), np.array([0, 5])
    x = matrix.toarray()
    degrees = np.maximum(x.sum(0), 1)
    r = x / np.sqrt(np.maximum(x.sum(1), 1))[:, None] / np.sqrt(degrees)
    s = r @ r.T
    series = (s + 0.5 * s @ s + 0.25 * s @ s @ s) @ r * np.sqrt(degrees)
    assert RandomWalk(0.5, 3).fit(matrix).scores(users) == pytest.approx(series[users], abs=1e-5)


def test_neighbours_of_another_domain_bring_their_items_of_this_one() -> None:
    target = sparse.csr_matrix(np.array([[0, 0], [1, 0], [0, 1]], np.float32))
    source = sparse.csr_matrix(np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]], np.float32))
    found = UserKNN(neighbours=2, power=1.0, discount=0.0, shrinkage=0.0).fit(target, source).scores(np.array([0]))
    assert found == pytest.approx(np.array([[1.0, 0.0]]))


def test_who_has_a_history_elsewhere_alone_gets_items_of_their_taste() -> None:
    target, source, taste = planted()
    cold, items = np.arange(60), np.tile(np.arange(120), (60, 1))
    best = np.argsort(-CrossDomainRanker(QUICK).fit(target, source).logits(cold, items))[:, :10]
    assert (best % 4 == taste[cold, None]).mean() > 0.8
    nothing = sparse.csr_matrix(source.shape, dtype=np.float32)
    blind = np.argsort(-CrossDomainRanker(QUICK).fit(target, nothing).logits(cold, items))[:, :10]
    assert (blind % 4 == taste[cold, None]).mean() < 0.5


def test_one_seed_gives_one_result() -> None:
    target, source, _ = planted()
    users, items = np.arange(100, 120), np.tile(np.arange(40), (20, 1))
    first, again = (CrossDomainRanker(QUICK, seed=3).fit(target, source).logits(users, items) for _ in range(2))
    assert (first == again).all()


def test_twins_are_items_of_nearly_the_same_users() -> None:
    first, second = np.zeros((8, 3), np.float32), np.zeros((8, 2), np.float32)
    first[:5, 0] = second[:5, 0] = 1  # five of five
    first[:5, 1], second[1:5, 1] = 1, 1  # item 1: four of five, .8, with the second's 1
    first[5:8, 2] = 1  # three users are too few whatever else has them
    found = twins(sparse.csr_matrix(first), sparse.csr_matrix(second)).tolist()
    assert sorted(found) == [[0, 0], [0, 1], [1, 0], [1, 1]]
    target = Domain("a", sparse.csr_matrix(first), np.array([[0, 0], [7, 0], [0, 2]]))
    assert has_twin(target, Domain("b", sparse.csr_matrix(second), np.empty((0, 2), np.int64))).tolist() == [
        True, False, False,
    ]  # fmt: skip


def test_negatives_are_distinct_and_never_touched() -> None:
    matrix = some(12, 1100, 0.05)
    target = Domain("a", matrix, np.array([[user, user] for user in range(12)]))
    drawn = negatives(target, 0)
    assert drawn.shape == (12, 999) and all(len(set(row)) == 999 for row in drawn.tolist())
    assert not matrix[np.repeat(np.arange(12), 999), drawn.ravel()].any() and (drawn != np.arange(12)[:, None]).all()
    assert (drawn == negatives(target, 0)).all() and (drawn != negatives(target, 1)).any()


def test_equal_scores_count_as_all_their_orders_do() -> None:
    others = np.array([[3.0] * 2 + [0.0] * 20, [1.0] * 2 + [0.0] * 20, [9.0] * 9 + [1.0] + [0.0] * 12])
    hits, gains = sampled_metrics(np.array([1.0, 1.0, 1.0]), others)
    # Third place; a place of the first three; the tenth or the eleventh.
    first, second, third, tenth = (1 / np.log2(rank + 1) for rank in (1, 2, 3, 10))
    assert hits == pytest.approx([100, 100, 50])
    assert gains == pytest.approx([100 * third, 100 * (first + second + third) / 3, 100 * tenth / 2])


def test_what_is_held_out_to_choose_leaves_every_item_a_user() -> None:
    matrix = some(40, 30, 0.1)
    part, rows = held_out(matrix, 0)
    assert len(rows) > 10 and part.nnz == matrix.nnz - len(rows) == (part + 0).nnz
    assert np.asarray(matrix[rows[:, 0], rows[:, 1]]).all() and not np.asarray(part[rows[:, 0], rows[:, 1]]).any()
    assert ((np.bincount(part.indices, minlength=30) > 0) == (np.bincount(matrix.indices, minlength=30) > 0)).all()
