"""DisenCDR's layout of two domains with shared users: reading it, products that are in both, and its protocol.

Cao et al. (2022): each held-out item is ranked among 999 items of its domain that the user never touched.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from scipy import sparse

NEGATIVES, CUTOFF = 999, 10
TWIN_JACCARD, TWIN_USERS = 0.7, 4
"""Two items are one product where so large a share of the users of either, and so many of them, had both."""
_GAINS = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, CUTOFF + 2)))])


@dataclass(frozen=True)
class Domain:
    """What the users shared by two domains did in one of them."""

    name: str
    train: sparse.csr_matrix
    """float32[users, items], ones"""
    test: Int[np.ndarray, "n 2"]
    """Rows of users and of items: one held-out item a user"""


def read_domains(first: Path, second: Path) -> tuple[Domain, Domain]:
    """Two folders `<domain>_<other>` with `train.txt` ("user item 1") and `test.txt`, users and items numbered anew.

    `ValueError` where a file does not hold two columns of whole numbers, or a held-out item is in no training row.
    """
    folders = (first, second)
    trains, tests = ([_rows(folder / name) for folder in folders] for name in ("train.txt", "test.txt"))
    users = np.unique(np.concatenate([rows[:, 0] for rows in (*trains, *tests)]))
    found = []
    for folder, train, test in zip(folders, trains, tests, strict=True):
        items = np.unique(train[:, 1])
        if unknown := sorted(set(test[:, 1].tolist()) - set(items.tolist())):
            raise ValueError(f"{folder / 'test.txt'}: expected items of train.txt, found {unknown[0]}")
        shape = (len(users), len(items))
        pairs = np.unique(_numbered(train, users, items), axis=0)
        matrix = sparse.csr_matrix((np.ones(len(pairs), np.float32), (pairs[:, 0], pairs[:, 1])), shape=shape)
        found.append(Domain(folder.name.split("_")[0], matrix, _numbered(test, users, items)))
    return found[0], found[1]


def _rows(path: Path) -> np.ndarray:
    try:
        return pd.read_csv(path, sep=r"\s+", header=None, usecols=[0, 1], dtype=np.int64).to_numpy()
    except ValueError as error:
        raise ValueError(f'{path}: expected "user item …" a line, whole numbers') from error


def _numbered(rows: np.ndarray, users: np.ndarray, items: np.ndarray) -> np.ndarray:
    return np.stack([np.searchsorted(users, rows[:, 0]), np.searchsorted(items, rows[:, 1])], axis=1)


def twins(first: sparse.csr_matrix, second: sparse.csr_matrix) -> Int[np.ndarray, "pairs 2"]:
    r"""Items of two domains that nearly the same users had: one product under two ids.

    .. math:: \frac{|U_i \cap U_j|}{|U_i \cup U_j|} \ge 0.7, \qquad |U_i \cap U_j| \ge 4
    """
    both = (first.T @ second).tocoo()
    either = _popularity(first)[both.row] + _popularity(second)[both.col] - both.data
    kept = (both.data >= TWIN_USERS) & (both.data >= TWIN_JACCARD * either)
    return np.stack([both.row[kept], both.col[kept]], axis=1).astype(np.int64)


def has_twin(target: Domain, other: Domain) -> Bool[np.ndarray, " n"]:
    """Whether the user of each held-out row has the same product in the other domain's training rows."""
    pairs = twins(target.train, other.train)
    same = sparse.csr_matrix((np.ones(len(pairs)), pairs.T), shape=(target.train.shape[1], other.train.shape[1]))
    users, items = target.test.T
    return np.asarray(same[items].multiply(other.train[users]).sum(1)).ravel() > 0


def negatives(target: Domain, seed: int) -> Int[np.ndarray, "n 999"]:
    """For each held-out row distinct items that its user has neither in training nor held out, drawn uniformly."""
    rng, items = np.random.default_rng(seed), target.train.shape[1]
    held = sparse.csr_matrix((np.ones(len(target.test)), target.test.T), shape=target.train.shape)
    touched = sparse.csr_matrix(target.train + held)
    drawn = np.empty((len(target.test), NEGATIVES), np.int64)
    for row, user in enumerate(target.test[:, 0]):
        free = np.ones(items, bool)
        free[touched.indices[touched.indptr[user] : touched.indptr[user + 1]]] = False
        # Twice as many as are wanted, made distinct, are nearly always enough; a permutation of all items is slow.
        order = pd.unique(rng.integers(0, items, 2 * NEGATIVES + touched.indptr[user + 1] - touched.indptr[user]))
        order = order[free[order]]
        if len(order) < NEGATIVES:
            order = rng.permutation(np.flatnonzero(free))
        drawn[row] = order[:NEGATIVES]
    return drawn


def sampled_metrics(
    held: Float[np.ndarray, " n"], others: Float[np.ndarray, "n m"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """HR@10 and NDCG@10 in percent of each held-out item's score among others; of equal scores the order is random.

    What is returned is the mean over all orders of equal scores.
    """
    above = (others > held[:, None]).sum(1)
    equal = (others == held[:, None]).sum(1)
    first, last = np.minimum(above, CUTOFF), np.minimum(above + equal + 1, CUTOFF)
    return 100 * (last - first) / (equal + 1), 100 * (_GAINS[last] - _GAINS[first]) / (equal + 1)


def _popularity(matrix: sparse.csr_matrix) -> Int[np.ndarray, " items"]:
    return np.bincount(matrix.indices, minlength=matrix.shape[1])


def held_out(matrix: sparse.csr_matrix, seed: int) -> tuple[sparse.csr_matrix, Int[np.ndarray, "n 2"]]:
    """A training part and one item each of the users with two or more: what choices are made on.

    No item loses all its users.
    """
    rng, left = np.random.default_rng(seed), _popularity(matrix)
    kept, rows = np.ones(matrix.nnz, bool), []
    for user in rng.permutation(matrix.shape[0]):
        start, end = matrix.indptr[user], matrix.indptr[user + 1]
        place = rng.integers(start, end) if end - start > 1 else start
        item = matrix.indices[place]
        if end - start > 1 and left[item] > 1:
            left[item] -= 1
            kept[place] = False
            rows.append((user, item))
    users = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    part = sparse.csr_matrix((matrix.data[kept], (users[kept], matrix.indices[kept])), shape=matrix.shape)
    return part, np.array(rows, np.int64).reshape(-1, 2)
