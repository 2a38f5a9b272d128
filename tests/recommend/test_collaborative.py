"""Neighbours, factors and the autoencoder keep the contract, and each equals its formula."""

import numpy as np
import pytest
from implicit.cpu.als import AlternatingLeastSquares
from scipy import sparse

from recommend.autoencoder import Autoencoder
from recommend.baselines import Scorer
from recommend.ials import IALS
from recommend.neighbours import UserKNN
from tests.contracts import ScorerContract

X = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1]], np.float32)


class TestUserKNN(ScorerContract):
    def make(self) -> Scorer:
        return UserKNN()


class TestIALS(ScorerContract):
    def make(self) -> Scorer:
        return IALS(8, regularisation=0.05)


class TestAutoencoder(ScorerContract):
    def make(self) -> Scorer:
        return Autoencoder(16, passes=80, lr=1e-2)


def test_user_knn_by_hand() -> None:
    # Users 0 and 1 share two items: 2 / (sqrt(2) sqrt(3) + 1); users 0 and 2 none.
    near = 2 / (6**0.5 + 1)
    plain = UserKNN(2, power=1.0, discount=0.0, shrinkage=1.0).fit(sparse.csr_matrix(X))
    assert plain.scores(np.array([0]))[0].tolist() == pytest.approx([near, near, near, 0])
    # Squared, and items 0 to 2, which have two users each, divided by 2.
    sharp = UserKNN(2, power=2.0, discount=1.0, shrinkage=1.0).fit(sparse.csr_matrix(X))
    assert sharp.scores(np.array([0]))[0].tolist() == pytest.approx([near**2 / 2] * 3 + [0])


def test_user_knn_keeps_the_nearest() -> None:
    # User 1 shares two items with user 0 (2 / 3.449) and one with user 2 (1 / 3.449): one neighbour is user 0.
    found = UserKNN(1, power=1.0, discount=0.0, shrinkage=1.0).fit(sparse.csr_matrix(X)).scores(np.array([1]))
    assert found[0].tolist() == pytest.approx([2 / (6**0.5 + 1)] * 2 + [0, 0])


def test_ials_solves_its_normal_equations() -> None:
    model = IALS(2, regularisation=0.5, unobserved=0.2, exponent=0.5).fit(sparse.csr_matrix(X))
    h = model.items.astype(np.float64)
    for user in range(3):
        own = h[X[user] > 0]
        left = own.T @ own + 0.2 * h.T @ h + 0.5 * (len(own) + 0.2 * 4) ** 0.5 * np.eye(2)
        np.testing.assert_allclose(model.users[user], np.linalg.solve(left, own.sum(0)), rtol=1e-3)


def test_a_step_of_ials_is_that_of_implicit() -> None:
    """Theirs weighs ones by 1 + a and aims at 1, ours weighs by 1 + 1/a (times a) and aims at a / (1 + a) of it."""
    matrix = sparse.csr_matrix((np.random.default_rng(0).random((80, 30)) < 0.2).astype(np.float32))
    a = 9.0
    ours = IALS(4, regularisation=2.0 / a, unobserved=1 / a, exponent=0.0, rounds=3).fit(matrix)
    theirs = AlternatingLeastSquares(4, regularization=2.0, alpha=1 + a, iterations=1, use_cg=False)
    theirs.fit(matrix, show_progress=False)
    theirs.item_factors = ours.items
    theirs._YtY = None
    users = theirs.recalculate_user(np.arange(80), matrix)
    np.testing.assert_allclose(users * a / (1 + a), ours.users, rtol=1e-2, atol=1e-3)


def test_the_autoencoder_reads_a_row_as_a_set() -> None:
    matrix = sparse.csr_matrix(X)
    model = Autoencoder(8, passes=3).fit(matrix)
    swapped = matrix.copy()
    swapped.indices[:2] = swapped.indices[:2][::-1].copy()
    model.matrix = swapped
    found = model.scores(np.array([0]))
    model.matrix = matrix
    np.testing.assert_allclose(found, model.scores(np.array([0])), rtol=1e-5)
