"""How far a version of the vectors is from the one before: what its readers would notice."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from embed.config import Health
from embed.health import POOL, Problem, parts, sample

NEIGHBOURS = 10
ASKED = 1000
"""Items whose neighbours are compared, among up to `POOL`."""


@dataclass(frozen=True)
class Drift:
    """A new version beside the last one."""

    since: str
    """The last version."""
    compared: int
    """Items that are in both, or as many of them as were looked at."""
    overlap: float | None
    """Mean share of an item's nearest items in `z` that were so in the last version; None below two items."""
    validation: float
    """Of the evaluated model, higher is better."""
    validation_before: float | None
    """None where the last version does not tell."""
    drop: float | None
    """What was lost of the last version's, as a share of it; negative for a gain."""

    def to_dict(self) -> dict[str, Any]:
        """For run.json."""
        return asdict(self)


def measure(since: str, old: np.ndarray, new: np.ndarray, validation: float, before: float | None) -> Drift:
    """Both matrices hold `z` of the same items, row by row, of length 1; they may be of different widths."""
    drop = None if before is None or before <= 0 else 1 - validation / before
    return Drift(since, len(old), overlap(old, new), validation, before, drop)


def problems(drift: Drift, limits: Health) -> list[Problem]:
    """What speaks against publishing."""
    found = []
    if drift.overlap is not None and drift.overlap < limits.min_overlap:
        told = f"of an item's nearest items {drift.overlap:.1%} were so in the last version"
        found.append(Problem("min_overlap", f"{told}, at least {limits.min_overlap:.1%} are wanted"))
    if drift.drop is not None and drift.drop > limits.max_drop:
        told = f"validation gave {drift.validation:.4f} after {drift.validation_before:.4f}, {drift.drop:.1%} less"
        found.append(Problem("max_drop", f"{told}, at most {limits.max_drop:.1%} are allowed"))
    return found


def overlap(
    old: np.ndarray, new: np.ndarray, *, neighbours: int = NEIGHBOURS, asked: int = ASKED, pool: int = POOL
) -> float | None:
    r"""Of up to `asked` items, the neighbours among up to `pool`; both samples are seeded.

    .. math:: \frac{1}{n} \sum_i |N^{old}_k(i) \cap N^{new}_k(i)| / k, \quad k = \min(neighbours, items - 1)

    Unrelated vectors have k / (items - 1). `ValueError` for matrices of different items.
    """
    if len(old) != len(new):
        raise ValueError(f"rows of the same items, found {len(old)} and {len(new)}")
    kept = sample(np.arange(len(old)), pool)
    k = min(neighbours, len(kept) - 1)
    if k < 1:
        return None
    old, new, chosen = old[kept], new[kept], sample(np.arange(len(kept)), asked)
    shared = [
        (_nearest(old, part, k)[:, :, None] == _nearest(new, part, k)[:, None, :]).sum() for part in parts(chosen)
    ]
    return float(sum(shared)) / (k * len(chosen))


def _nearest(rows: np.ndarray, asked: np.ndarray, k: int) -> np.ndarray:
    """int[asked, k]: the rows nearest to some of them, themselves left out, in no order."""
    cosines = rows[asked] @ rows.T
    cosines[np.arange(len(asked)), asked] = -np.inf
    return np.argpartition(-cosines, k - 1, axis=1)[:, :k]
