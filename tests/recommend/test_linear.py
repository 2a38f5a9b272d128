"""Linear autoencoders minimise what they say they minimise."""

import numpy as np
import pytest
from scipy import sparse

from recommend import linear
from recommend.baselines import EASE, Scorer
from recommend.linear import LinearAutoencoder, LocalAutoencoder
from tests.contracts import ScorerContract

RNG = np.random.default_rng(3)
X = sparse.csr_matrix((RNG.random((60, 15)) < np.linspace(0.1, 0.6, 15)).astype(np.float32))


class TestLinearAutoencoder(ScorerContract):
    def make(self) -> Scorer:
        return LinearAutoencoder()


class TestLocalAutoencoder(ScorerContract):
    def make(self) -> Scorer:
        return LocalAutoencoder(neighbours=8)


def solved(item: int, others: list[int]) -> np.ndarray:
    """Weighted ridge regression of an item on others: lambda 2, alpha 0.5, gamma 0.25."""
    x = X.toarray().astype(np.float64)
    n, d = x.sum(1), x.sum(0)
    weight = (np.maximum(n, 1) / np.maximum(n, 1).mean()) ** -0.5  # the square of the users' factors
    ridge = 2 * d.mean() * (d[others] / d.mean()) ** 0.5
    a = x[:, others]
    return np.linalg.solve(a.T @ (weight[:, None] * a) + np.diag(ridge), a.T @ (weight * x[:, item]))


def test_each_column_is_a_weighted_ridge_regression_on_the_other_items() -> None:
    found = LinearAutoencoder(2.0, 0.5, 0.25).fit(X)
    for item in range(15):
        others = [j for j in range(15) if j != item]
        np.testing.assert_allclose(found.weights[others, item], solved(item, others), rtol=2e-3, atol=1e-5)
        assert found.weights[item, item] == 0


def test_without_corrections_it_is_ease() -> None:
    users = np.arange(60)
    mean = X.sum(0).mean()
    plain = LinearAutoencoder(10 / mean, 0.0, 0.0).fit(X).scores(users)
    np.testing.assert_allclose(plain, EASE(10.0).fit(X).scores(users), rtol=1e-3, atol=1e-5)


def test_dropout_is_a_penalty_by_popularity() -> None:
    # EDLAE's p / (1 - p) diag(G): at p = 1/2 that is G's diagonal, the items' counts; at alpha 1 lambda 1 is them too.
    users = np.arange(60)
    dropped = LinearAutoencoder(0.0, 0.0, 0.0, dropout=0.5).fit(X).scores(users)
    np.testing.assert_allclose(dropped, LinearAutoencoder(1.0, 1.0, 0.0).fit(X).scores(users), rtol=1e-3, atol=1e-5)


def test_rare_items_may_stay_out() -> None:
    part = LinearAutoencoder(2.0, max_items=5).fit(X).scores(np.arange(60))
    assert np.flatnonzero(part.any(0)).tolist() == sorted(np.argsort(-X.sum(0).A1, kind="stable")[:5].tolist())


@pytest.mark.parametrize("block", [4, 100])
def test_each_local_column_is_a_ridge_regression_on_its_neighbours(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(linear, "BLOCK", block)
    found = LocalAutoencoder(2.0, neighbours=4).fit(X).weights.toarray()
    for item in range(15):
        others = np.flatnonzero(found[:, item])
        assert len(others) == 4 and item not in others
        np.testing.assert_allclose(found[others, item], solved(item, others.tolist()), rtol=2e-3, atol=1e-5)


def test_with_all_neighbours_local_is_whole() -> None:
    users, dense = np.arange(60), sparse.csr_matrix((RNG.random((60, 15)) < 0.5).astype(np.float32))
    local = LocalAutoencoder(2.0, neighbours=15).fit(dense).scores(users)
    np.testing.assert_allclose(local, LinearAutoencoder(2.0).fit(dense).scores(users), rtol=1e-3, atol=1e-4)
