"""What must not be recommended: items of another domain and, usually, items the user has seen."""

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse


def pairs(
    matrix: sparse.csr_matrix, users: Int[np.ndarray, " b"]
) -> tuple[Int[np.ndarray, " nnz"], Int[np.ndarray, " nnz"]]:
    """The rows `users` of a CSR matrix as (position in `users`, column)."""
    rows = matrix[users]
    return np.repeat(np.arange(len(users)), np.diff(rows.indptr)), rows.indices


def exclude(
    scores: Float[np.ndarray, "b n"],
    users: Int[np.ndarray, " b"],
    mask: Bool[np.ndarray, " n"],
    seen: sparse.csr_matrix | None,
) -> Float[np.ndarray, "b n"]:
    """A copy of the scores with -inf outside `mask` and where the user has `seen` the item."""
    kept = np.where(mask, scores, -np.inf).astype(np.float32, copy=False)
    if seen is not None:
        kept[pairs(seen, users)] = -np.inf
    return kept


def history(matrix: sparse.csr_matrix, user: int) -> Int[np.ndarray, " h"]:
    """The items of one user."""
    return matrix.indices[matrix.indptr[user] : matrix.indptr[user + 1]]
