"""How often one side of a pair finds the other."""

from collections.abc import Sequence

import numpy as np

CUTS = (1, 5, 10)


def recall(queries: np.ndarray, targets: np.ndarray, cuts: Sequence[int] = CUTS) -> dict[str, float]:
    """Share of rows of `queries` (float[n, d]) whose own row of `targets` is among the k most alike by dot product.

    By ``str(k)``. A target as near as the own one counts as nearer, so vectors that are all alike find nothing.
    """
    scores = queries @ targets.T
    ranks = (scores >= np.diagonal(scores)[:, None]).sum(1)
    return {str(k): float((ranks <= k).mean()) if len(ranks) else 0.0 for k in cuts}


def chance(count: int, cuts: Sequence[int] = CUTS) -> dict[str, float]:
    """What `recall` comes to for an order at random."""
    return {str(k): min(k / count, 1.0) if count else 0.0 for k in cuts}
