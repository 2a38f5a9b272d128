"""The small ranker that answers from Neo4j alone: plain numbers, a numpy forward pass, no torch.

It reads z_u * z_i and three signals that a Cypher query can fetch (`SIGNALS`); its formula is the ranker's.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from jaxtyping import Float

SIGNALS = ("z", "paths", "popular")
"""Cosine in z; log(1 + paths from the user's latest positives); log(1 + positives of the item)."""


@dataclass(frozen=True)
class OnlineRanker:
    """Weights as lists of floats, so that a node's properties can hold them."""

    linear: list[float]
    """3 weights of `SIGNALS` for users with a history, then 3 for those without"""
    gate: list[float]
    """How much the hidden layer counts for users with a history, and without"""
    inner: list[float]
    """The hidden layer's weights [hidden, d + 3], row by row"""
    inner_bias: list[float]
    outer: list[float]
    outer_bias: float
    latest: int
    """Latest positives of the user from which paths are counted"""

    @classmethod
    def of(cls, state: Mapping[str, Any], latest: int) -> Self:
        """From the state of a `recommend.ranker.Network` over `SIGNALS` without context."""
        plain = {name: values.detach().cpu().double().numpy().ravel().tolist() for name, values in state.items()}
        return cls(
            plain["linear"],
            plain["gate"],
            plain["inner.weight"],
            plain["inner.bias"],
            plain["outer.weight"],
            plain["outer.bias"][0],
            latest,
        )

    @property
    def width(self) -> int:
        """The dimension of z."""
        return len(self.inner) // len(self.inner_bias) - len(SIGNALS)

    def to_json(self) -> str:
        """One JSON object."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Inverse of `to_json`."""
        return cls(**json.loads(text))

    def probabilities(
        self,
        user: Float[np.ndarray, " d"],
        items: Float[np.ndarray, "m d"],
        signals: Float[np.ndarray, "m 3"],
        cold: bool,
    ) -> Float[np.ndarray, " m"]:
        """Softmax over one user's candidates; signals as in `SIGNALS`, not yet standardised."""
        deviation = signals.std(0)
        centred = signals - signals.mean(0)
        s = np.where(deviation > 1e-6, centred / np.maximum(deviation, 1e-6), 0)
        x = np.concatenate([user * items * len(user), s], axis=1)
        inner = np.array(self.inner).reshape(len(self.inner_bias), -1)
        hidden = np.maximum(x @ inner.T + np.array(self.inner_bias), 0)
        linear = np.array(self.linear).reshape(2, -1)[int(cold)]
        logit = s @ linear + self.gate[int(cold)] * (hidden @ np.array(self.outer) + self.outer_bias)
        found = np.exp(logit - logit.max(initial=-np.inf))
        return np.asarray(found / max(found.sum(), 1e-30), np.float32)
