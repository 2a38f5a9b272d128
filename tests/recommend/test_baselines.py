"""Every scorer keeps the contract, and each equals its formula."""

import numpy as np
import pytest
from scipy import sparse

from recommend import baselines
from recommend.baselines import EASE, ItemKNN, Popularity, Scorer, Walk
from tests.contracts import ScorerContract

X = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1]], np.float32)


class TestPopularity(ScorerContract):
    personal = False

    def make(self) -> Scorer:
        return Popularity()


class TestItemKNN(ScorerContract):
    def make(self) -> Scorer:
        return ItemKNN(5, 1.0)


class TestEASE(ScorerContract):
    def make(self) -> Scorer:
        return EASE(5.0)


class TestWalk(ScorerContract):
    def make(self) -> Scorer:
        return Walk()


def fitted(scorer: Scorer) -> np.ndarray:
    return scorer.fit(sparse.csr_matrix(X)).scores(np.arange(3))


def test_popularity_counts() -> None:
    assert fitted(Popularity())[0].tolist() == [2, 2, 2, 1]


def test_item_knn_by_hand() -> None:
    # Items 0 and 1 share two users, norms sqrt(2): 2 / (2 + 1) = 2/3. Items 0 and 2 share one: 1 / 3.
    # User 0 has items 0 and 1: item 2 gets 1/3 + 1/3; item 3 shares no user with them.
    assert fitted(ItemKNN(3, 1.0))[0].tolist() == pytest.approx([2 / 3, 2 / 3, 2 / 3, 0])
    # With one neighbour each, item 2 keeps item 3: 1 / (sqrt(2) + 1), larger than 1/3; user 0 gives it nothing.
    assert fitted(ItemKNN(1, 1.0))[0].tolist() == pytest.approx([2 / 3, 2 / 3, 0, 0])


def test_item_knn_is_the_same_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fitted(ItemKNN(2, 0.5))
    monkeypatch.setattr(baselines, "BLOCK", 3)
    np.testing.assert_allclose(fitted(ItemKNN(2, 0.5)), whole)


def test_ease_minimises_its_objective() -> None:
    # Steck's eq. 3: each column of B solves a ridge regression of an item on all others.
    found = EASE(0.7).fit(sparse.csr_matrix(X))
    for j in range(4):
        others = [i for i in range(4) if i != j]
        a = X[:, others]
        b = np.linalg.solve(a.T @ a + 0.7 * np.eye(3), a.T @ X[:, j])
        np.testing.assert_allclose(found.weights[others, j], b, rtol=1e-4)
        assert found.weights[j, j] == 0


def test_ease_over_the_most_popular_items_only() -> None:
    part = EASE(0.7, max_items=3).fit(sparse.csr_matrix(X))
    whole = EASE(0.7).fit(sparse.csr_matrix(X[:, :3]))
    np.testing.assert_allclose(part.scores(np.arange(3))[:, :3], whole.scores(np.arange(3)), rtol=1e-5)
    assert not part.scores(np.arange(3))[:, 3].any()


def test_walk_by_hand() -> None:
    # User 0 steps to item 0 or 1 (1/2 each), back to user 0 or 1 (1/2 each), then user 0 to 0, 1 (1/2), user 1 to
    # 0, 1, 2 (1/3). Item 0: 1/2 * 1/2 + 1/2 * 1/3 = 5/12, item 2: 1/2 * 1/3 = 1/6. No discount.
    assert fitted(Walk(beta=0.0))[0].tolist() == pytest.approx([5 / 12, 5 / 12, 1 / 6, 0])
    # beta 1 divides by the items' users: 2, 2, 2, 1.
    assert fitted(Walk(beta=1.0))[0].tolist() == pytest.approx([5 / 24, 5 / 24, 1 / 12, 0])
