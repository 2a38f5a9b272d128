"""Groups of users: one group is the whole, two are found where they are."""

import numpy as np
from scipy import sparse

from recommend.baselines import Scorer
from recommend.clustered import ClusteredAutoencoder, memberships
from recommend.linear import LinearAutoencoder
from tests.contracts import ScorerContract

RNG = np.random.default_rng(3)
X = sparse.csr_matrix((RNG.random((60, 15)) < np.linspace(0.1, 0.6, 15)).astype(np.float32))


class TestClusteredAutoencoder(ScorerContract):
    def make(self) -> Scorer:
        return ClusteredAutoencoder(groups=2)


def test_one_group_is_the_linear_autoencoder() -> None:
    users = np.arange(60)
    one = ClusteredAutoencoder(groups=1, penalty=2.0).fit(X).scores(users)
    np.testing.assert_allclose(one, LinearAutoencoder(2.0).fit(X).scores(users), rtol=1e-3, atol=1e-5)


def test_planted_groups_are_found() -> None:
    group = np.arange(100) % 2
    own = group[:, None] == (np.arange(20) % 2)[None, :]
    dense = RNG.random((100, 20)) < np.where(own, 0.6, 0.1)
    shares = memberships(sparse.csr_matrix(dense.astype(np.float32)), 2, 0.2)
    np.testing.assert_allclose(shares.sum(1), 1)
    likelier = shares.argmax(1)
    assert max((likelier == group).mean(), (likelier != group).mean()) > 0.95


def test_groups_disagree_where_their_users_do() -> None:
    """Item 2 goes with item 0 in one group and never in the other, where it goes with item 1."""
    rows = [[1, 1, 1, 0, 1, 1, 1, 0, 0, 0]] * 30 + [[1, 1, 0, 1, 0, 0, 0, 1, 1, 1]] * 30
    flipped = [[0, 1, 0, 1, 1, 1, 1, 0, 0, 0]] * 15 + [[0, 1, 1, 0, 0, 0, 0, 1, 1, 1]] * 15
    model = ClusteredAutoencoder(groups=2, penalty=0.1, shared=0.1, softness=0.1)
    model.fit(sparse.csr_matrix(np.array(rows + flipped, np.float32)))
    pair = sorted(float(weights[0, 2]) for weights in model.weights)
    assert pair[0] < 0 < pair[1]
