"""Everything that scores items for a user, fitted on one set of interactions: inputs of candidates and ranker.

A signal is float32[b, items], larger is better, comparable within a user only. All of them come from the
interactions, embeddings and attributes given, so fitting on a cut's `train` leaks nothing of the rest.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

from kg.interactions import Interactions
from recommend.attributes import Attributes
from recommend.baselines import EASE, ItemKNN, Popularity, Walk

if TYPE_CHECKING:
    from embed.infer import Embeddings

NAMES = (
    "ease", "ease_all", "ease_recent", "item_knn", "walk", "popular", "recent", "z", "graph", "text", "image",
    "shared", "paths",
)  # fmt: skip
HALF_LIFE = 5.0
"""Positives after which an item of the history counts half in `ease_recent`."""
LATEST = 20
"""The latest positives from which `paths` are counted; a Cypher query counts the same."""


@dataclass(frozen=True)
class Chosen:
    """Hyperparameters that validation chose."""

    ease: float = 200.0
    item_knn: tuple[int, float] = (100, 0.0)


def ages(interactions: Interactions) -> tuple[Interactions, np.ndarray]:
    """The positives, and how many later positives the user has for each (0: the latest)."""
    rows = interactions.positives()
    order = np.lexsort((rows.item, rows.time, rows.user))
    rows = rows.take(order)
    ends = np.cumsum(np.bincount(rows.user, minlength=rows.n_users))
    return rows, ends[rows.user] - 1 - np.arange(len(rows))


def _matrix(rows: Interactions, values: np.ndarray) -> sparse.csr_matrix:
    """CSR[users, items]; of a repeated pair the largest value (its latest event) stays."""
    order = np.argsort(values, kind="stable")
    pair = rows.user[order] * rows.n_items + rows.item[order]
    last = len(pair) - 1 - np.unique(pair[::-1], return_index=True)[1]
    kept = order[last]
    shape = (rows.n_users, rows.n_items)
    return sparse.csr_matrix((values[kept].astype(np.float32), (rows.user[kept], rows.item[kept])), shape=shape)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


@dataclass
class Signals:
    """All scorers over one set of interactions."""

    interactions: Interactions
    embeddings: "Embeddings"
    attributes: Attributes | None
    chosen: Chosen
    max_items: int
    recent_share: float

    def fit(self) -> Self:
        """Fit every scorer; returns itself."""
        self.matrix = self.interactions.matrix()
        self.seen = self.interactions.seen()
        self.history = np.diff(self.matrix.indptr)
        rows, age = ages(self.interactions)
        self.decayed = _matrix(rows, 0.5 ** (age / HALF_LIFE))
        self.latest = sparse.csr_matrix(_matrix(rows, (age < LATEST).astype(np.float32)))
        self.latest.eliminate_zeros()
        self.popularity = Popularity().fit(self.matrix).counts
        start = np.quantile(rows.time, 1 - self.recent_share) if len(rows) else 0
        self.recent = np.bincount(rows.item[rows.time >= start], minlength=rows.n_items).astype(np.float32)
        self.knn = ItemKNN(*self.chosen.item_knn).fit(self.matrix)
        self.walk = Walk().fit(self.matrix)
        self.ease = EASE(self.chosen.ease, self.max_items).fit(self.matrix)
        # Rated low is still sought out: what a user watches says more than what was liked alone.
        self.ease_all = (
            EASE(self.chosen.ease, self.max_items).fit(self.seen) if self.seen.nnz > self.matrix.nnz else None
        )
        self.facets = self.attributes.weighted() if self.attributes and self.attributes.matrix.nnz else None
        self.items = {view: _unit(vectors) for view, vectors in self.embeddings.items.items()}
        return self

    def block(self, users: Int[np.ndarray, " b"]) -> dict[str, Float[np.ndarray, "b items"]]:
        """All signals for some users. One that cannot be had (no view, no attributes) is left out."""
        found = {
            "ease": self.ease.scores(users),
            "item_knn": self.knn.scores(users),
            "walk": self.walk.scores(users),
            "popular": np.tile(np.log1p(self.popularity), (len(users), 1)),
            "recent": np.tile(np.log1p(self.recent), (len(users), 1)),
            "paths": np.log1p(((self.latest[users] @ self.matrix.T) @ self.matrix).toarray()),
            "ease_recent": self._recent(users),
        }
        if self.ease_all:
            found["ease_all"] = self.ease_all.scores(users)
        found |= self._vectors(users)
        if self.facets is not None:
            profile = self.matrix[users] @ self.facets
            found["shared"] = (profile @ self.facets.T).toarray() / np.maximum(self.history[users], 1)[:, None]
        return {name: scores.astype(np.float32, copy=False) for name, scores in found.items()}

    def _recent(self, users: np.ndarray) -> np.ndarray:
        found = np.zeros((len(users), self.matrix.shape[1]), np.float32)
        found[:, self.ease.items] = self.decayed[users][:, self.ease.items] @ self.ease.weights
        return found

    def _vectors(self, users: np.ndarray) -> dict[str, np.ndarray]:
        """Cosines in z and h; in text and image between the item and the mean of the user's history."""
        found = {}
        for name, view in (("z", "z"), ("graph", "h")):
            if view in self.items and view in self.embeddings.users:
                cosine = _unit(self.embeddings.users[view][users]) @ self.items[view].T
                found[name] = cosine * self._mask(view) * self.embeddings.user_masks[view][users, None]
        for name, view in (("text", "v"), ("image", "c")):
            if view in self.items:
                profile = self.matrix[users] @ (self.items[view] * self._mask(view)[:, None])
                found[name] = (_unit(profile) @ self.items[view].T) * self._mask(view)
        return found

    def _mask(self, view: str) -> np.ndarray:
        return self.embeddings.item_masks[view].astype(np.float32)
