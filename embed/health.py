"""Whether the vectors of one version are fit to be published: a look at the numbers before anyone reads them."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

from embed.config import Health
from embed.infer import Embeddings
from kg.errors import QualityError
from kg.interactions import Interactions

SAMPLE = 2000
"""Rows whose rank is taken, and whose near-duplicates are looked for."""
NEAR, BLOCK = 0.9999, 5
"""From this cosine on two rows are near-duplicates; so many of them are a block."""
POOL = 20_000
"""Rows among which near-duplicates are looked for; in a sample, a block has as much smaller a part of the rows."""
STEP = 256
"""Rows compared with the pool at a time: 20 MB."""


@dataclass(frozen=True)
class Figures:
    """Figures of one view of one side."""

    rows: int
    covered: float
    """Share of rows that have the view."""
    effective_rank: float
    """exp of the entropy of the normalised singular values (Roy and Vetterli, 2007); at most the width."""
    mean_cosine: float
    """Over all pairs of rows; near 1 when all vectors point one way, 0 where there is no pair."""
    informed: int = 0
    """`z` only: rows with an event or with a view besides the graph's."""
    blocked: float = 0.0
    """`z` only: the share of informed rows that lie in a block of near-duplicates."""


@dataclass(frozen=True)
class Problem:
    """Why vectors are held back."""

    setting: str
    """The field of `embed.config.Health` that says so."""
    text: str
    """What was found, and what was wanted."""


def require_sound(embeddings: Embeddings) -> None:
    """`QualityError` for vectors that are no vectors: not finite, or not of length 1 where they are not masked."""
    for side, vectors, masks in _sides(embeddings):
        for view, rows in vectors.items():
            name = f"{side}.{view}"
            if bad := int((~np.isfinite(rows).all(1)).sum()):
                raise QualityError(f"{name}: {bad} vectors are not finite; lower embed.learning_rate and run again")
            lengths = np.linalg.norm(rows[masks[view]], axis=1)
            if bad := int((np.abs(lengths - 1) > 1e-3).sum()):
                raise QualityError(f"{name}: {bad} vectors are not of length 1; run again")


def examine(embeddings: Embeddings, events: Interactions) -> dict[str, dict[str, float]]:
    """`Figures` by side and view (``items.z``), of sound vectors; `events` are those that the vectors tell of."""
    report = {}
    for (side, vectors, masks), ends in zip(_sides(embeddings), (events.user, events.item), strict=True):
        informed = np.isin(np.arange(len(vectors["z"])), ends)
        for view in vectors.keys() - {"h", "z"}:
            informed |= masks[view]
        for view, rows in vectors.items():
            present = rows[masks[view]]
            found = Figures(len(rows), len(present) / max(len(rows), 1), effective_rank(present), mean_cosine(present))
            report[f"{side}.{view}"] = asdict(found)
        told = vectors["z"][informed]
        report[f"{side}.z"] |= {"informed": len(told), "blocked": in_blocks(told)}
    return report


def problems(report: dict[str, dict[str, float]], width: int, limits: Health) -> list[Problem]:
    """What in the figures of `examine` speaks against publishing a `z` of this width."""
    found = []
    for side in ("users", "items"):
        z = report[f"{side}.z"]
        wanted = min(limits.min_rank, width / 2, z["rows"] / 2)
        if z["effective_rank"] < wanted:
            told = f"{side} have an effective rank of {z['effective_rank']:.2f}"
            found.append(Problem("min_rank", f"{told}, at least {wanted:g} is wanted"))
        if z["mean_cosine"] > limits.max_cosine:
            told = f"{side} have a mean cosine of {z['mean_cosine']:.4f}"
            found.append(Problem("max_cosine", f"{told}, at most {limits.max_cosine:g} is wanted"))
        if z["blocked"] > limits.max_blocks:
            told = f"{z['blocked']:.1%} of the {side} lie in blocks of near-duplicates"
            found.append(Problem("max_blocks", f"{told}, at most {limits.max_blocks:.1%} are wanted"))
    return found


def effective_rank(rows: np.ndarray) -> float:
    """Of a seeded sample of the rows; 0 without any."""
    values = np.linalg.svd(sample(rows, SAMPLE).astype(np.float64), compute_uv=False)
    share = values[values > 0] / max(values.sum(), 1e-12)
    return float(np.exp(-(share * np.log(share)).sum())) if len(share) else 0.0


def mean_cosine(rows: np.ndarray) -> float:
    r"""Over all pairs of rows of length 1, by the length of their sum.

    .. math:: (\lVert \sum_i z_i \rVert^2 - n) / (n (n - 1))
    """
    n = len(rows)
    return float((np.square(rows.sum(0, dtype=np.float64)).sum() - n) / (n * (n - 1))) if n > 1 else 0.0


def in_blocks(rows: np.ndarray) -> float:
    """Share of rows of length 1 that have at least `BLOCK` - 1 near-duplicates."""
    pool = sample(rows, POOL)
    asked = sample(pool, SAMPLE)
    found = sum(int((((part @ pool.T) >= NEAR).sum(1) >= BLOCK).sum()) for part in parts(asked))
    return found / len(asked) if len(asked) else 0.0


def parts(rows: np.ndarray) -> Iterator[np.ndarray]:
    """The rows in steps small enough to be compared with `POOL` others."""
    for start in range(0, len(rows), STEP):
        yield rows[start : start + STEP]


def sample(rows: np.ndarray, count: int) -> np.ndarray:
    """At most `count` rows, the same ones each time, in random order where there are more."""
    if len(rows) <= count:
        return rows
    return rows[np.random.default_rng(0).choice(len(rows), count, replace=False)]


def _sides(embeddings: Embeddings) -> list[tuple[str, dict[str, np.ndarray], dict[str, np.ndarray]]]:
    return [
        ("users", embeddings.users, embeddings.user_masks),
        ("items", embeddings.items, embeddings.item_masks),
    ]
