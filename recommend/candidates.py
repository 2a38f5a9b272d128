"""Candidates of a user in a domain: the union of what several sources propose, and which proposed what."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse

from recommend.config import Sources
from recommend.filters import exclude
from recommend.topk import top_k

SIGNALS: dict[str, tuple[str, ...]] = {
    "vector": ("z",),
    "graph": ("walk",),
    "neighbours": ("ease",),
    "shared": ("shared",),
    "content": ("text", "image"),
    "popular": ("popular",),
}
"""Signals that each source ranks by; a source's place here is its bit in `Candidates.sources`."""


@dataclass(frozen=True)
class Candidates:
    """Proposed items by user, padded to the longest list."""

    users: Int[np.ndarray, " b"]
    items: Int[np.ndarray, "b m"]
    """Ascending; -1 is padding, at the end."""
    sources: Int[np.ndarray, "b m"]
    """uint8: bit s is set when the s-th of `SIGNALS` proposed the item."""

    @property
    def mask(self) -> Bool[np.ndarray, "b m"]:
        """Which places hold an item."""
        return self.items >= 0


def propose(
    signals: dict[str, Float[np.ndarray, "b n"]],
    users: Int[np.ndarray, " b"],
    mask: Bool[np.ndarray, " n"],
    seen: sparse.csr_matrix | None,
    sizes: Sources,
) -> Candidates:
    """The union over all sources of their best items inside `mask` and outside `seen`.

    A source proposes nothing where its signal is not positive: an empty history walks nowhere.
    """
    bits = np.zeros((len(users), len(mask)), np.uint8)
    for place, (source, names) in enumerate(SIGNALS.items()):
        for name in names:
            if (size := getattr(sizes, source)) and name in signals:
                scores = exclude(signals[name], users, mask, seen)
                if name != "popular":
                    scores[scores <= 0] = -np.inf
                items, _ = top_k(scores, size)
                row, column = np.nonzero(items >= 0)
                bits[row, items[row, column]] |= np.uint8(1 << place)
    return _pad(users, bits)


def _pad(users: np.ndarray, bits: np.ndarray) -> Candidates:
    """Lists as wide as the longest one from one byte a user and item."""
    row, column = np.nonzero(bits)
    sizes = np.bincount(row, minlength=len(users))
    place = np.arange(len(row)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    items = np.full((len(users), max(1, sizes.max(initial=0))), -1, np.int64)
    sources = np.zeros(items.shape, np.uint8)
    items[row, place] = column
    sources[row, place] = bits[row, column]
    return Candidates(users, items, sources)
