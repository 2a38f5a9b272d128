"""Recommenders that need nothing but interactions: what ours is measured against, and inputs of its ranker.

All share one contract: ``fit(CSR[users, items] of ones)``, then ``scores(users) -> float32[b, items]``.
"""

from typing import Protocol, Self

import numpy as np
from jaxtyping import Float, Int
from scipy import linalg, sparse

BLOCK = 1024
"""Items whose similarities are held densely at once."""


class Scorer(Protocol):
    """The shared contract."""

    def fit(self, matrix: sparse.csr_matrix) -> Self:
        """Learn from CSR[users, items] of ones."""
        ...

    def scores(self, users: Int[np.ndarray, " b"]) -> Float[np.ndarray, "b items"]:
        """How much each user may like each item, seen or not; comparable within a user only."""
        ...


class Popularity:
    """How many users an item has."""

    def fit(self, matrix: sparse.csr_matrix) -> Self:
        """Count the users of each item."""
        self.counts = np.bincount(matrix.indices, minlength=matrix.shape[1]).astype(np.float32)
        return self

    def scores(self, users: Int[np.ndarray, " b"]) -> Float[np.ndarray, "b items"]:
        """The same counts for every user."""
        return np.tile(self.counts, (len(users), 1))


class ItemKNN:
    r"""Item-based nearest neighbours, after Deshpande and Karypis (2004), with shrunk cosines.

    .. math:: \hat x_{ui} = \sum_{j \in X_u} s_{ji}, \qquad
        s_{ji} = \frac{x_j^\top x_i}{\|x_j\| \|x_i\| + \beta}

    where only the k largest :math:`s_{ji}` of each item i are kept.
    """

    def __init__(self, neighbours: int = 50, shrinkage: float = 20.0) -> None:
        """`neighbours` is k, `shrinkage` is beta: it makes similarities of rare items small."""
        self.neighbours, self.shrinkage = neighbours, shrinkage

    def fit(self, matrix: sparse.csr_matrix) -> Self:
        """Keep each item's nearest neighbours, in blocks of `BLOCK` items."""
        self.matrix = matrix
        columns = sparse.csc_matrix(matrix)
        norms = np.sqrt(np.diff(columns.indptr)).astype(np.float32)
        found = [self._nearest(columns, norms, start) for start in range(0, matrix.shape[1], BLOCK)]
        self.similarity = sparse.csr_matrix(sparse.hstack(found, dtype=np.float32, format="csr"))
        return self

    def _nearest(self, columns: sparse.csc_matrix, norms: np.ndarray, start: int) -> sparse.csc_matrix:
        """CSC[items, block]: similarities of a block of items to their neighbours."""
        block = np.arange(start, min(start + BLOCK, columns.shape[1]))
        dense = (columns.T @ columns[:, block]).toarray() / (np.outer(norms, norms[block]) + self.shrinkage + 1e-9)
        dense[block, np.arange(len(block))] = 0
        if (k := self.neighbours) < len(dense):
            dense[dense < np.partition(dense, len(dense) - k, axis=0)[len(dense) - k]] = 0
        return sparse.csc_matrix(dense.astype(np.float32))

    def scores(self, users: Int[np.ndarray, " b"]) -> Float[np.ndarray, "b items"]:
        """Sums of the similarities to the user's items."""
        return (self.matrix[users] @ self.similarity).toarray().astype(np.float32)

    def between(self, liked: Int[np.ndarray, " h"], items: Int[np.ndarray, " n"]) -> Float[np.ndarray, "h n"]:
        """The similarities of some items to others: what each of `liked` adds to the items' scores."""
        return self.similarity[liked][:, items].toarray()


class EASE:
    r"""Embarrassingly shallow autoencoder, after Steck (2019), eq. 8.

    .. math:: \hat P = (X^\top X + \lambda I)^{-1}, \qquad
        \hat B_{ij} = -\hat P_{ij} / \hat P_{jj} \; (i \ne j), \quad \hat B_{jj} = 0, \qquad \hat X = X \hat B
    """

    def __init__(self, penalty: float = 200.0, max_items: int = 12_000) -> None:
        """`penalty` is lambda. Beyond `max_items` only the most popular take part; the others score 0."""
        self.penalty, self.max_items = penalty, max_items

    def fit(self, matrix: sparse.csr_matrix) -> Self:
        """Invert the items' Gram matrix: time cubic, memory quadratic in the items that take part."""
        counts = np.bincount(matrix.indices, minlength=matrix.shape[1])
        self.items = np.sort(np.argsort(-counts, kind="stable")[: self.max_items])
        self.matrix = sparse.csr_matrix(matrix[:, self.items])
        gram = (self.matrix.T @ self.matrix).toarray().astype(np.float32)
        gram[np.diag_indices_from(gram)] += self.penalty
        inverse = linalg.inv(gram, overwrite_a=True, check_finite=False)
        self.weights = (inverse / -np.diag(inverse)).astype(np.float32)
        np.fill_diagonal(self.weights, 0)
        self.n_items = matrix.shape[1]
        return self

    def scores(self, users: Int[np.ndarray, " b"]) -> Float[np.ndarray, "b items"]:
        """The reconstruction of the users' rows."""
        found = np.zeros((len(users), self.n_items), np.float32)
        found[:, self.items] = self.matrix[users] @ self.weights
        return found


class Walk:
    r"""Walks user, item, user, item with a discount of popular ends: RP3-beta, after Paudel et al. (2017).

    .. math:: \hat x_{ui} = \frac{(D_U^{-1} X \, D_I^{-1} X^\top \, D_U^{-1} X)_{ui}}{d_i^{\,\beta}}
    """

    def __init__(self, beta: float = 0.4) -> None:
        """`beta` discounts the walk's end by its number of users."""
        self.beta = beta

    def fit(self, matrix: sparse.csr_matrix) -> Self:
        """Prepare the steps; the walk itself is taken for the users asked for."""
        users = np.maximum(np.diff(matrix.indptr), 1).astype(np.float32)
        items = np.maximum(np.bincount(matrix.indices, minlength=matrix.shape[1]), 1).astype(np.float32)
        self.step = sparse.csr_matrix(sparse.diags(1 / users) @ matrix, dtype=np.float32)
        self.back = sparse.csr_matrix(sparse.diags(1 / items) @ matrix.T, dtype=np.float32)
        self.discount = items**-self.beta
        return self

    def scores(self, users: Int[np.ndarray, " b"]) -> Float[np.ndarray, "b items"]:
        """Discounted probabilities of where the walk ends."""
        ends = ((self.step[users] @ self.back) @ self.step).toarray()
        return (ends * self.discount).astype(np.float32)
