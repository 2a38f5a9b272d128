r"""Ranking metrics over each user's top items; every one returns an array by user.

With hits :math:`y_r \in \{0, 1\}` at rank r = 1 … k and :math:`n` relevant items:
recall :math:`\sum y_r / n`; NDCG :math:`\sum y_r / \log_2(r + 1)` over its value when the first
:math:`\min(k, n)` ranks are hits (Järvelin and Kekäläinen, 2002, binary gains); MRR :math:`1 / r` of the first hit.
"""

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse

from recommend.filters import pairs

CUTOFFS = (10, 20)
"""The k at which reports are made."""


def hits(
    items: Int[np.ndarray, "u k"], users: Int[np.ndarray, " u"], relevant: sparse.csr_matrix
) -> Bool[np.ndarray, "u k"]:
    """Which recommended items are relevant; -1 never is."""
    found = np.zeros((len(users), relevant.shape[1] + 1), bool)
    found[pairs(relevant, users)] = True
    return np.take_along_axis(found, np.where(items < 0, relevant.shape[1], items), axis=1)


def recall(y: Bool[np.ndarray, "u k"], n: Int[np.ndarray, " u"]) -> Float[np.ndarray, " u"]:
    """The share of the n relevant items that was found."""
    return y.sum(1) / np.maximum(n, 1)


def ndcg(y: Bool[np.ndarray, "u k"], n: Int[np.ndarray, " u"]) -> Float[np.ndarray, " u"]:
    """Discounted gain over the best that k ranks allow."""
    discount = 1 / np.log2(np.arange(2, y.shape[1] + 2))
    ideal = np.concatenate([[1.0], np.cumsum(discount)])
    best = ideal[np.clip(n, 0, y.shape[1])]
    return (y @ discount) / np.where(n > 0, best, 1.0)


def mrr(y: Bool[np.ndarray, "u k"]) -> Float[np.ndarray, " u"]:
    """One over the rank of the first hit, 0 without one."""
    return np.where(y.any(1), 1 / (1 + y.argmax(1)), 0.0)


def coverage(items: Int[np.ndarray, "u k"], n_items: int) -> float:
    """The share of a catalogue of `n_items` that anyone was recommended."""
    return len(np.unique(items[items >= 0])) / max(1, n_items)


def by_user(
    items: Int[np.ndarray, "u k"], users: Int[np.ndarray, " u"], relevant: sparse.csr_matrix
) -> dict[str, Float[np.ndarray, " u"]]:
    """Recall, NDCG and MRR at each of `CUTOFFS`, as ``ndcg@10`` …; `items` must be at least that wide."""
    y = hits(items, users, relevant)
    n = np.diff(relevant.indptr)[users]
    found: dict[str, np.ndarray] = {}
    for k in CUTOFFS:
        found |= {f"recall@{k}": recall(y[:, :k], n), f"ndcg@{k}": ndcg(y[:, :k], n), f"mrr@{k}": mrr(y[:, :k])}
    return found
