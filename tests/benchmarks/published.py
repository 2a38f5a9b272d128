"""Data sets split by others, one line a user: "user item item …", and what was published on them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import sparse

PUBLISHED = {
    # The split of Lee et al., LightGCN++ (RecSys 2024), and its tables' Recall@10 and NDCG@10.
    (6039, 3628, 590_733): {
        "BPR-MF (published)": (0.1291, 0.2677),
        "NGCF (published)": (0.1420, 0.2872),
        "LightGCN (published)": (0.1495, 0.2977),
        "XSimGCL (published)": (0.1657, 0.3216),
        "LightGCN++ (published)": (0.1667, 0.3243),
        "XSimGCL++ (published)": (0.1671, 0.3242),
    },
}
"""Figures of others by users, items and interactions in train, which is all that tells files without names apart."""


@dataclass(frozen=True)
class Known:
    """What a model may see: `train` to learn from, `valid` to choose by. CSR[users, items] of ones."""

    train: sparse.csr_matrix
    valid: sparse.csr_matrix


def read(folder: Path) -> tuple[Known, sparse.csr_matrix]:
    """`train` and `valid` of a folder, and apart from them `test`; `SystemExit` where a file is missing or bad."""
    parts = [_pairs(folder / f"{name}.txt") for name in ("train", "valid", "test")]
    users, items = (1 + max(int(part[side].max(initial=-1)) for part in parts) for side in (0, 1))
    train, valid, test = (_matrix(*part, (users, items)) for part in parts)
    return Known(train, valid), test


def published(train: sparse.csr_matrix) -> dict[str, tuple[float, float]]:
    """Recall@10 and NDCG@10 by model, as their authors printed them; empty where nothing is known of the data."""
    return PUBLISHED.get((*train.shape, train.nnz), {})


def _pairs(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Users and items of a file, int64 each; a user without items has a line of one number."""
    try:
        lines = [np.array(line.split(), np.int64) for line in path.read_text().splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise SystemExit(f"{path}: expected lines of whole numbers, 'user item item …': {error}") from error
    sizes = [len(line) - 1 for line in lines]
    users = np.repeat(np.array([line[0] for line in lines], np.int64), sizes)
    items = np.concatenate([np.empty(0, np.int64), *(line[1:] for line in lines)])
    if len(items) and min(users.min(), items.min()) < 0:
        raise SystemExit(f"{path}: an id is negative")
    return users, items


def _matrix(users: np.ndarray, items: np.ndarray, shape: tuple[int, int]) -> sparse.csr_matrix:
    """Ones at the pairs; a pair that is there twice counts once."""
    found = sparse.csr_matrix((np.ones(len(users), np.float32), (users, items)), shape)
    found.data[:] = 1
    return found
