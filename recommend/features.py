"""What the ranker sees of a (user, candidate): signals compared within the list, and facts about the user."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from recommend.candidates import SIGNALS, Candidates

FACTS = 1
"""History size (log)."""


@dataclass(frozen=True)
class Lists:
    """Candidate lists with their features; the products z_u * z_i are made from `users` and `items` when needed."""

    users: Int[np.ndarray, " b"]
    items: Int[np.ndarray, "b m"]
    signals: Float[np.ndarray, "b m s"]
    """Standardised within the list."""
    context: Float[np.ndarray, "b m c"]
    """Which sources proposed the item, then the user's facts."""
    cold: Bool[np.ndarray, " b"]
    """Whether the user has no history."""

    @property
    def mask(self) -> Bool[np.ndarray, "b m"]:
        """Which places hold an item."""
        return self.items >= 0

    def take(self, rows: np.ndarray) -> "Lists":
        """Some of the lists."""
        return Lists(self.users[rows], self.items[rows], self.signals[rows], self.context[rows], self.cold[rows])


def standardise(values: Float[np.ndarray, "b m"], mask: Bool[np.ndarray, "b m"]) -> Float[np.ndarray, "b m"]:
    """Mean 0 and deviation 1 within each list; 0 where all are equal and in padding."""
    n = np.maximum(mask.sum(1, keepdims=True), 1)
    centred = np.where(mask, values - np.where(mask, values, 0).sum(1, keepdims=True) / n, 0)
    deviation = np.sqrt((centred**2).sum(1, keepdims=True) / n)
    return np.where(deviation > 1e-6, centred / np.maximum(deviation, 1e-6), 0).astype(np.float32)


def build(
    candidates: Candidates, signals: dict[str, Float[np.ndarray, "b n"]], names: tuple[str, ...], history: np.ndarray
) -> Lists:
    """Features of the candidates under the signals `names` (one that is absent is 0); `history` is int64[b] sizes."""
    mask, places = candidates.mask, np.maximum(candidates.items, 0)
    found = np.zeros((*mask.shape, len(names)), np.float32)
    for column, name in enumerate(names):
        if name in signals:
            found[:, :, column] = standardise(np.take_along_axis(signals[name], places, axis=1), mask)
    context = np.zeros((*mask.shape, len(SIGNALS) + FACTS), np.float32)
    for place in range(len(SIGNALS)):
        context[:, :, place] = (candidates.sources >> place) & 1
    context[:, :, -1] = np.log1p(history)[:, None] / 5
    return Lists(candidates.users, candidates.items, found, context, history == 0)
