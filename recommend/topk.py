"""Exact top-k in bounded memory; ties go to the smaller index."""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

from recommend.filters import exclude

CELLS = 8_000_000
"""Scores held at once by `blocks`: 32 MB of float32."""

Scores = Callable[[np.ndarray], np.ndarray]
"""User indices int64[b] to float32[b, items]."""


def blocks(users: Int[np.ndarray, " u"], n_items: int, cells: int = CELLS) -> Iterator[Int[np.ndarray, " b"]]:
    """Consecutive pieces of `users` whose scores over `n_items` stay within `cells`."""
    step = max(1, cells // max(1, n_items))
    for start in range(0, len(users), step):
        yield users[start : start + step]


def top_k(scores: Float[np.ndarray, "b n"], k: int) -> tuple[Int[np.ndarray, "b k"], Float[np.ndarray, "b k"]]:
    """The k best columns of each row, best first, and their scores.

    Columns of -inf (or NaN) are never chosen; where fewer than k remain the rest is -1 with score -inf.
    """
    rows, width = scores.shape
    items = np.full((rows, k), -1, np.int64)
    values = np.full((rows, k), -np.inf, np.float32)
    kept = min(k, width)
    if not rows or not kept:
        return items, values
    scores = np.where(np.isnan(scores), -np.inf, scores)
    least = np.partition(scores, width - kept, axis=1)[:, width - kept, None]
    row, column = np.nonzero((scores >= least) & (scores > -np.inf))
    order = np.lexsort((column, -scores[row, column], row))
    row, column = row[order], column[order]
    place = np.arange(len(row)) - np.searchsorted(row, np.arange(rows))[row]
    best = place < k
    row, column, place = row[best], column[best], place[best]
    items[row, place] = column
    values[row, place] = scores[row, column]
    return items, values


def top_items(
    scores: Scores, users: Int[np.ndarray, " u"], k: int, mask: np.ndarray, seen: sparse.csr_matrix | None
) -> Int[np.ndarray, "u k"]:
    """The k best items of each user among `mask` (bool[items]), without `seen` ones; -1 where there are fewer."""
    found = [np.empty((0, k), np.int64)]
    for block in blocks(users, len(mask)):
        found.append(top_k(exclude(scores(block), block, mask, seen), k)[0])
    return np.concatenate(found)
