"""What users alike have: the user's side of nearest neighbours."""

from typing import Self

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse


class UserKNN:
    r"""User-based nearest neighbours (Herlocker et al., 1999) with sharpened, shrunk cosines, popular items discounted.

    .. math:: \hat x_{ui} = d_i^{-\alpha} \sum_{v \in N_k(u)} s_{uv}^q \, x_{vi}, \qquad
        s_{uv} = \frac{x_u^\top x_v}{\|x_u\| \|x_v\| + \beta}

    NDCG@10 on the validation part of MovieLens-1M, k = 400, q = 2, beta = 10: .1640 without discount, .1743 with 0.2;
    q = 1 .1608; items weighted by their rarity (idf) .1679.
    """

    def __init__(
        self, neighbours: int = 400, power: float = 2.0, discount: float = 0.2, shrinkage: float = 10.0
    ) -> None:
        """K, q, alpha and beta."""
        self.neighbours, self.power, self.discount, self.shrinkage = neighbours, power, discount, shrinkage

    def fit(self, matrix: sparse.csr_matrix, witness: sparse.csr_matrix | None = None) -> Self:
        """Keep the rows; who is alike is found when asked for, in `witness` (the users' rows elsewhere) if given."""
        self.matrix, self.witness = matrix, matrix if witness is None else witness
        self.columns = sparse.csr_matrix(self.witness.T)
        self.norms = np.sqrt(np.diff(self.witness.indptr)).astype(np.float32)
        counts = np.maximum(np.bincount(matrix.indices, minlength=matrix.shape[1]), 1)
        self.factor = (counts**-self.discount).astype(np.float32)
        return self

    def scores(self, users: Int[np.ndarray, " b"]) -> Float[np.ndarray, "b items"]:
        """The neighbours' items, the nearer the more they count."""
        similar = (self.witness[users] @ self.columns).toarray()
        similar /= np.outer(self.norms[users], self.norms) + self.shrinkage
        similar[np.arange(len(users)), users] = 0
        if (k := self.neighbours) < similar.shape[1]:
            similar[similar < np.partition(similar, similar.shape[1] - k, axis=1)[:, similar.shape[1] - k, None]] = 0
        near = sparse.csr_matrix(similar**self.power)
        return ((near @ self.matrix).toarray() * self.factor).astype(np.float32, copy=False)
