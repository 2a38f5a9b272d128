"""Whether embeddings are fit to be published: a look at the numbers before anyone reads them."""

from dataclasses import asdict, dataclass

import numpy as np

from embed.infer import Embeddings
from kg.errors import QualityError

MIN_RANK = 2.0
"""Below this effective rank all nodes lie on a line: training collapsed."""
MAX_COSINE = 0.99
"""Above this mean cosine all nodes are one point."""
SAMPLE = 2000


@dataclass(frozen=True)
class Health:
    """Figures of one view of one side."""

    rows: int
    covered: float
    """Share of rows that have the view."""
    effective_rank: float
    """exp of the entropy of the normalised singular values (Roy and Vetterli, 2007); at most the width."""
    mean_cosine: float
    """Between random pairs; near 1 when all vectors point one way."""


def examine(embeddings: Embeddings) -> dict[str, dict[str, float]]:
    """Figures by side and view (``items.z``); `QualityError` when the vectors must not be published.

    Refused are NaN or infinite values, rows of length 0 that are not masked, rows that are not of length 1, and a `z`
    that is all but one point or one line.
    """
    report = {}
    for side, vectors, masks in (
        ("users", embeddings.users, embeddings.user_masks),
        ("items", embeddings.items, embeddings.item_masks),
    ):
        for view, rows in vectors.items():
            name = f"{side}.{view}"
            _check_rows(name, rows, masks[view])
            found = _figures(rows[masks[view]], len(rows))
            report[name] = asdict(found)
            if view == "z" and found.rows > 2 and rows.shape[1] > 2:
                _check_spread(name, found)
    return report


def _check_rows(name: str, rows: np.ndarray, mask: np.ndarray) -> None:
    if not np.isfinite(rows).all():
        raise QualityError(f"{name}: {int((~np.isfinite(rows).all(1)).sum())} vectors are not finite; train again")
    lengths = np.linalg.norm(rows[mask], axis=1)
    if (wrong := np.abs(lengths - 1) > 1e-3).any():
        raise QualityError(f"{name}: {int(wrong.sum())} vectors are not of length 1; train again")


def _check_spread(name: str, found: Health) -> None:
    if found.effective_rank < MIN_RANK or found.mean_cosine > MAX_COSINE:
        raise QualityError(
            f"{name}: the vectors collapsed (effective rank {found.effective_rank:.1f}, mean cosine "
            f"{found.mean_cosine:.3f}); raise embed.temperature or lower embed.learning_rate"
        )


def _figures(rows: np.ndarray, total: int) -> Health:
    if not len(rows):
        return Health(total, 0.0, 0.0, 0.0)
    generator = np.random.default_rng(0)
    chosen = rows[generator.choice(len(rows), min(SAMPLE, len(rows)), replace=False)].astype(np.float64)
    values = np.linalg.svd(chosen, compute_uv=False)
    share = values / max(values.sum(), 1e-12)
    rank = float(np.exp(-(share[share > 0] * np.log(share[share > 0])).sum()))
    pairs = (chosen * chosen[generator.permutation(len(chosen))]).sum(1)
    return Health(total, len(rows) / total, rank, float(pairs.mean()))
