"""Linear autoencoders of user groups: the same pair of items may mean different things to different users."""

from typing import Self

import numpy as np
from jaxtyping import Float, Int
from scipy import linalg, sparse
from scipy.sparse.linalg import svds

from recommend.linear import confidence, penalties

WIDTH, ROUNDS = 8, 20
"""Singular vectors that users are grouped by, and rounds of k-means."""


class ClusteredAutoencoder:
    r"""Soft groups of users, each with a `LinearAutoencoder` that its own users teach most, after GLSLIM.

    (Christakopoulou and Karypis, 2016: local item-item models beside a global one.)

    .. math:: \hat x_u = \sum_k \pi_{uk} x_u B_k, \qquad
        B_k = \text{solution with } c_u^2 \, (g + (1 - g) K \pi_{uk}), \qquad
        \pi_{u} = \operatorname{softmax}_k(\cos(v_u, m_k) / \tau)

    with v the users' singular vectors of :math:`D_U^{-1/2} X D_I^{-1/2}` (the first, which is but their activity, left
    out) and m the centres of spherical k-means over them.
    """

    def __init__(self, groups: int = 6, penalty: float = 3.0, shared: float = 0.5, softness: float = 0.3) -> None:
        """K, lambda as for `LinearAutoencoder`, g (1: all groups alike) and tau."""
        self.groups, self.penalty, self.shared, self.softness = groups, penalty, shared, softness

    def fit(self, matrix: sparse.csr_matrix) -> Self:
        """One inverse of items by items a group."""
        self.matrix, self.memberships = matrix, memberships(matrix, self.groups, self.softness)
        counts = np.bincount(matrix.indices, minlength=matrix.shape[1])
        weighted = confidence(matrix, 0.25)
        self.weights = []
        for share in self.memberships.T:
            factor = np.sqrt(self.shared + (1 - self.shared) * self.groups * share)
            own = sparse.csr_matrix(sparse.diags_array(factor.astype(np.float32)) @ weighted)
            gram = (own.T @ own).toarray().astype(np.float32)
            gram[np.diag_indices_from(gram)] += penalties(counts, gram.diagonal(), self.penalty, 0.5, 0.0)
            inverse = linalg.inv(gram, overwrite_a=True, check_finite=False)
            weights = (inverse / -np.diag(inverse)).astype(np.float32)
            np.fill_diagonal(weights, 0)
            self.weights.append(weights)
        return self

    def scores(self, users: Int[np.ndarray, " b"]) -> Float[np.ndarray, "b items"]:
        """The groups' reconstructions, weighed by membership."""
        rows, share = self.matrix[users], self.memberships[users].astype(np.float32)
        found = np.zeros((len(users), self.matrix.shape[1]), np.float32)
        for place, weights in enumerate(self.weights):
            found += share[:, place, None] * (rows @ weights)
        return found


def memberships(matrix: sparse.csr_matrix, groups: int, softness: float) -> Float[np.ndarray, "users k"]:
    """Each user's share in each group; rows sum to 1."""
    users, items = (
        np.maximum(np.diff(matrix.indptr), 1.0),
        np.maximum(np.bincount(matrix.indices, minlength=matrix.shape[1]), 1.0),
    )
    normal = sparse.diags_array(users**-0.5) @ matrix.astype(np.float64) @ sparse.diags_array(items**-0.5)
    width = min(WIDTH + 1, min(matrix.shape) - 1)
    vectors = svds(normal, width, random_state=0)[0][:, :-1]
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    rng = np.random.default_rng(0)
    centres = vectors[rng.choice(len(vectors), min(groups, len(vectors)), replace=False)]
    for _ in range(ROUNDS):
        nearest = (vectors @ centres.T).argmax(1)
        sums = np.stack([vectors[nearest == place].sum(0) for place in range(len(centres))])
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(norms > 1e-9, sums / np.maximum(norms, 1e-9), centres)
    found = np.exp(vectors @ centres.T / softness)
    shares: np.ndarray = found / found.sum(1, keepdims=True)
    return shares
