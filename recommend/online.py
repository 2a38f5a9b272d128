"""The small ranker that answers from Neo4j alone: plain numbers, a numpy forward pass, no torch.

It reads z_u * z_i and three signals that a Cypher query can fetch (`SIGNALS`); its formula is the ranker's.
"""

import json
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float

SIGNALS = ("z", "paths", "popular")
"""Cosine in z; log(1 + paths from the user's latest positives); log(1 + positives of the item)."""


@dataclass(frozen=True)
class OnlineRanker:
    """Weights as lists of floats, so that a node's properties can hold them."""

    linear: list[float]
    """3 weights of `SIGNALS`"""
    inner: list[float]
    """The hidden layer's weights [hidden, d + 3], row by row"""
    inner_bias: list[float]
    outer: list[float]
    outer_bias: float
    latest: int
    """Latest positives of the user from which paths are counted"""

    def to_json(self) -> str:
        """One JSON object."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "OnlineRanker":
        """Inverse of `to_json`."""
        return cls(**json.loads(text))

    def probabilities(
        self, user: Float[np.ndarray, " d"], items: Float[np.ndarray, "m d"], signals: Float[np.ndarray, "m 3"]
    ) -> Float[np.ndarray, " m"]:
        """Softmax over one user's candidates; signals as in `SIGNALS`, not yet standardised."""
        deviation = signals.std(0)
        centred = signals - signals.mean(0)
        s = np.where(deviation > 1e-6, centred / np.maximum(deviation, 1e-6), 0)
        x = np.concatenate([user * items * len(user), s], axis=1)
        inner = np.array(self.inner).reshape(len(self.inner_bias), -1)
        hidden = np.maximum(x @ inner.T + np.array(self.inner_bias), 0)
        logit = s @ np.array(self.linear) + hidden @ np.array(self.outer) + self.outer_bias
        found = np.exp(logit - logit.max(initial=-np.inf))
        return np.asarray(found / max(found.sum(), 1e-30), np.float32)
