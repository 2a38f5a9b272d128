"""Scorers are fused by what hidden items say, and the fusion is a scorer like its parts."""

from typing import Self

import numpy as np
import pytest
from scipy import sparse

from recommend.baselines import EASE, ItemKNN, Popularity, Scorer
from recommend.config import Ranker
from recommend.stacking import Signals, Stack, Stacking, folds
from recommend.topk import top_items
from tests.contracts import ScorerContract

SMALL = Stacking(folds=2, hidden=0.25, candidates=11, ranker=Ranker(hidden=8, epochs=10, batch=16))
MAKE = {"ease": lambda: EASE(5.0), "item_knn": lambda: ItemKNN(5, 1.0), "popular": Popularity}


class TestStack(ScorerContract):
    def make(self) -> Scorer:
        return Stack(MAKE, SMALL)

    def test_an_item_without_users_never_beats_one_with(self, matrix: sparse.csr_matrix) -> None:
        """Of the items that a user does not have: what they have is no candidate, and scores 0."""
        found = self.make().fit(matrix).scores(np.arange(1, 30))
        new = np.where(matrix[1:].toarray() > 0, -1, found)
        assert (new[:, 11] <= new[:, :11].max(axis=1)).all()

    def test_own_group_comes_first(self, matrix: sparse.csr_matrix) -> None:
        """The same, of what is new to the user, where their group has any left."""
        items = top_items(self.make().fit(matrix).scores, np.arange(1, 30), 1, np.ones(12, bool), matrix)[:, 0]
        left = [(matrix[u].toarray()[0, u % 2 : 11 : 2] == 0).any() for u in range(1, 30)]
        assert (items % 2 == np.arange(1, 30) % 2)[left].mean() > 0.8


@pytest.fixture
def matrix() -> sparse.csr_matrix:
    return sparse.csr_matrix((np.random.default_rng(1).random((40, 20)) < 0.3).astype(np.float32))


def test_folds_hide_different_parts_of_one_whole(matrix: sparse.csr_matrix) -> None:
    parts = list(folds(matrix, 4, 0.25, seed=3))
    for rest, hidden in parts:
        np.testing.assert_array_equal((rest + hidden).toarray(), matrix.toarray())
        assert hidden.nnz == pytest.approx(matrix.nnz / 4, abs=1)
    np.testing.assert_array_equal(sum(hidden.toarray() for _, hidden in parts), matrix.toarray())


def test_candidates_are_new_to_the_user_and_fused_by_reciprocal_rank(matrix: sparse.csr_matrix) -> None:
    signals = Signals(MAKE, SMALL.model_copy(update={"proposed": 3, "candidates": 4})).fit(matrix)
    lists = signals.lists(np.arange(40))
    for user in range(40):
        worth: dict[int, float] = {}
        for make in MAKE.values():
            scores = np.where(matrix[user].toarray()[0] > 0, -np.inf, make().fit(matrix).scores(np.array([user]))[0])
            for rank, item in enumerate(np.argsort(-scores, kind="stable")[:3]):
                worth[int(item)] = worth.get(int(item), 0) + 1 / (61 + rank)
        wanted = sorted(worth, key=lambda item: (-round(worth[item], 6), item))[:4]
        assert lists.items[user, : len(wanted)].tolist() == wanted
        assert not matrix[user, wanted].toarray().any()


class Oracle:
    """Knows every item that anyone will ever have."""

    def __init__(self, everything: np.ndarray) -> None:
        self.everything = everything

    def fit(self, matrix: sparse.csr_matrix) -> Self:
        return self

    def scores(self, users: np.ndarray) -> np.ndarray:
        return self.everything[users]


def test_the_ranker_finds_the_scorer_that_knows(matrix: sparse.csr_matrix) -> None:
    rng = np.random.default_rng(0)
    test = ((rng.random((40, 20)) < 0.2) & (matrix.toarray() == 0)).astype(np.float32)
    makers = {"ease": lambda: EASE(5.0), "oracle": lambda: Oracle(matrix.toarray() + test), "popular": Popularity}
    config = SMALL.model_copy(update={"candidates": 20, "ranker": Ranker(epochs=60, lr=3e-2, patience=60, batch=16)})
    found = Stack(makers, config).fit(matrix).scores(np.arange(40))
    assert np.allclose(found.sum(1), 1, atol=1e-5) and not found[matrix.nonzero()].any()
    first, users = found.argmax(1), np.flatnonzero(test.any(1))
    assert test[users, first[users]].mean() > 0.9
    alone = EASE(5.0).fit(matrix).scores(np.arange(40))
    alone[matrix.nonzero()] = -np.inf
    assert test[users, alone.argmax(1)[users]].mean() < 0.6
