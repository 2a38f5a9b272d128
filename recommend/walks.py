"""Random walks with restart over users and items."""

from typing import Self

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse


class RandomWalk:
    r"""Random walk with restart on the graph of users and items, degree-normalised on both sides.

    .. math:: \hat X = \sum_{k=1}^{K} t^{k-1} S^k R \, D_I^{1/2}, \qquad
        R = D_U^{-1/2} X D_I^{-1/2}, \quad S = R R^\top

    the truncated series of a heat-kernel-like filter that keeps all frequencies and favours low ones, as graph filters
    for recommendation do (Shen et al., 2021).
    """

    def __init__(self, further: float = 0.9, steps: int = 20) -> None:
        """`further` is t, the chance to go on, and `steps` is K."""
        self.further, self.steps = further, steps

    def fit(self, matrix: sparse.csr_matrix) -> Self:
        """Normalise; the walks are taken for the users asked for."""
        users = np.maximum(np.diff(matrix.indptr), 1)
        items = np.maximum(np.bincount(matrix.indices, minlength=matrix.shape[1]), 1)
        scaled = sparse.diags(users**-0.5) @ matrix @ sparse.diags(items**-0.5)
        self.matrix, self.back = (
            sparse.csr_matrix(scaled, dtype=np.float32),
            sparse.csr_matrix(scaled.T, dtype=np.float32),
        )
        self.ends = np.sqrt(items).astype(np.float32)
        return self

    def scores(self, users: Int[np.ndarray, " b"]) -> Float[np.ndarray, "b items"]:
        """Where walks from the users end."""
        start = np.zeros((self.matrix.shape[0], len(users)), np.float32)
        start[users, np.arange(len(users))] = 1
        total = at = self.matrix @ (self.back @ start)
        for _ in range(self.steps - 1):
            at = self.further * (self.matrix @ (self.back @ at))
            total = total + at
        return np.ascontiguousarray((self.back @ total).T) * self.ends
