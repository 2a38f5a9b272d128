"""Two small domains with planted tastes: users and items have a taste, and users like items of their own."""

from dataclasses import dataclass

import numpy as np

from embed.infer import Embeddings
from kg.ids import IdMap
from kg.interactions import Catalogue, Interactions
from kg.split import Cut

USERS, FILMS, BOOKS, TASTES = 160, 80, 60, 8
WIDTH = 16
COLD = np.arange(150, USERS)
"""Users whose events all lie in the test part."""


def catalogue() -> Catalogue:
    return Catalogue(
        IdMap("User", [f"u{n}" for n in range(USERS)]),
        {
            "Book": IdMap("Book", [f"b{n}" for n in range(BOOKS)]),
            "Film": IdMap("Film", [f"f{n}" for n in range(FILMS)]),
        },
        {"Book": "books", "Film": "films"},
    )


def tastes(n: int) -> np.ndarray:
    return np.arange(n) % TASTES


def _events(rng: np.random.Generator) -> Interactions:
    """13 events a user, most within the own taste; popularity falls with the index; every sixth is no positive."""
    items = np.concatenate([tastes(BOOKS), tastes(FILMS)])
    popular = 1 / np.sqrt(1 + np.concatenate([np.arange(BOOKS), np.arange(FILMS)]))
    user, item = [], []
    for u in range(USERS):
        p = popular * np.where(items == u % TASTES, 12.0, 1.0)
        chosen = rng.choice(len(items), 13, replace=False, p=p / p.sum())
        user += [u] * len(chosen)
        item += chosen.tolist()
    n = len(user)
    positive = np.arange(n) % 6 != 0
    return Interactions(
        np.array(user), np.array(item), np.ones(n, np.float32), np.arange(n) * 1_000_000, positive, USERS, len(items)
    )


@dataclass(frozen=True)
class Model:
    """Vectors that know the tastes, blurred: of users through their events, as a trained model would."""

    truth: np.ndarray
    """float32[items, d]"""

    def embed(self, interactions: Interactions) -> Embeddings:
        users = interactions.matrix() @ self.truth
        users += 1e-3 * np.ones_like(users)
        users /= np.linalg.norm(users, axis=1, keepdims=True)
        views = ("h", "v", "z")
        return Embeddings(
            dict.fromkeys(views, users.astype(np.float32)),
            dict.fromkeys(views, self.truth),
            dict.fromkeys(views, np.ones(USERS, bool)),
            dict.fromkeys(views, np.ones(len(self.truth), bool)),
        )


def model(seed: int = 3) -> Model:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(TASTES, WIDTH))
    found = centres[np.concatenate([tastes(BOOKS), tastes(FILMS)])] + 0.8 * rng.normal(size=(BOOKS + FILMS, WIDTH))
    return Model((found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32))


def cut(seed: int = 1) -> Cut:
    """Per user 8 events to learn from, 2 for validation, 3 for the test; of cold users all are test."""
    events = _events(np.random.default_rng(seed))
    place = np.arange(len(events)) % 13
    cold = np.isin(events.user, COLD)
    return Cut(
        "global_time",
        events.take((place < 8) & ~cold),
        events.take((place >= 8) & (place < 10) & ~cold & events.positive),
        events.take(((place >= 10) | cold) & events.positive),
    )
