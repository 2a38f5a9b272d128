"""Recommendations from nothing but who had what: scorers tuned on validation, then fused.

What each brings is in the scorers' own modules, and what fusing them brings in `tests.benchmarks.ranking`.
"""

import logging
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from pydantic import Field
from scipy import sparse

from kg.section import Section
from recommend import metrics
from recommend.autoencoder import Autoencoder
from recommend.baselines import ItemKNN, Popularity, Scorer
from recommend.ials import IALS
from recommend.linear import LinearAutoencoder, LocalAutoencoder
from recommend.neighbours import UserKNN
from recommend.stacking import Stack, Stacking
from recommend.topk import Scores, top_items

log = logging.getLogger(__name__)
Make = Callable[[], Scorer]


class Collaborative(Section):
    """What validation chooses from, the same for every data set."""

    penalties: tuple[float, ...] = Field((1.0, 3.0, 9.0), min_length=1)
    """Linear autoencoders' penalty, in mean users an item."""
    discounts: tuple[float, ...] = Field((0.2, 0.4), min_length=1)
    """How much user-kNN makes popular items smaller."""
    regularisations: tuple[float, ...] = Field((0.003, 0.01), min_length=1)
    """IALS's lambda."""
    dropouts: tuple[float, ...] = Field((0.5,), min_length=1)
    """Share of a row hidden from the autoencoder."""
    max_dense: int = Field(12_000, ge=1)
    """Up to so many items one dense inverse gives the linear autoencoder; beyond, each item has its own neighbours."""
    choosers: int = Field(5000, ge=1)
    """At most so many users' validation items choose, drawn by the seed."""
    stacking: Stacking = Stacking()


def fit(
    train: sparse.csr_matrix, valid: sparse.csr_matrix, config: Collaborative | None = None, seed: int = 0
) -> tuple[Scorer, dict[str, float]]:
    """A fusion of scorers fitted on `train` alone, and the settings by signal that `valid` chose (CSR of ones)."""
    config = config or Collaborative()
    tuner = Tuner(train, valid, config.choosers, seed)
    chosen = {name: tuner.best(name, grid) for name, grid in grids(train.shape[1], config, seed).items()}
    makers = {name: make for name, (_, make) in chosen.items()}
    makers |= {"items": partial(ItemKNN, 200, 10.0), "popular": Popularity}
    if train.shape[1] <= config.max_dense:
        makers["denoising"] = partial(LinearAutoencoder, chosen["linear"][0], 0.0, 0.4, 0.33)
    return Stack(makers, config.stacking, seed).fit(train), {name: value for name, (value, _) in chosen.items()}


def grids(n_items: int, config: Collaborative, seed: int) -> dict[str, dict[float, Make]]:
    """By signal, the strongest first, and by the value to be chosen: how to make it."""
    dense = n_items <= config.max_dense
    linear: type[LinearAutoencoder | LocalAutoencoder] = LinearAutoencoder if dense else LocalAutoencoder
    return {
        "linear": {value: partial(linear, penalty=value) for value in config.penalties},
        "users": {value: partial(UserKNN, discount=value) for value in config.discounts},
        "factors": {value: partial(IALS, regularisation=value, seed=seed) for value in config.regularisations},
        "deep": {value: partial(Autoencoder, dropout=value, seed=seed) for value in config.dropouts},
    }


class Tuner:
    """NDCG@10 on validation of scorers fitted on train, training items left out."""

    def __init__(self, train: sparse.csr_matrix, valid: sparse.csr_matrix, choosers: int, seed: int) -> None:
        self.train, self.valid = train, valid
        users = np.random.default_rng(seed).permutation(np.flatnonzero(np.diff(valid.indptr)))
        self.users = np.sort(users[:choosers])

    def quality(self, scores: Scores) -> float:
        """The mean over the users that choose."""
        items = top_items(scores, self.users, 10, np.ones(self.train.shape[1], bool), self.train)
        y, n = metrics.hits(items, self.users, self.valid), np.diff(self.valid.indptr)[self.users]
        return float(metrics.ndcg(y, n).mean())

    def best(self, name: str, grid: Mapping[float, Make]) -> tuple[float, Make]:
        """The first of the best values; one alone is not measured."""
        if len(grid) == 1:
            return next(iter(grid.items()))
        found = {value: self.quality(make().fit(self.train).scores) for value, make in grid.items()}
        log.info("%s on validation: %s", name, found)
        value = max(found, key=found.__getitem__)
        return value, grid[value]
