"""What `tests.benchmarks.ranking` measures ours beside, each tuned on validation within the same time."""

import itertools
import os
import time
from collections.abc import Callable
from typing import Any

import implicit
import numpy as np
from scipy import sparse

from kg.interactions import Interactions
from recommend.baselines import EASE, ItemKNN, Popularity, Scorer
from recommend.collaborative import Tuner
from recommend.topk import Scores
from tests.benchmarks.plain_lightgcn import LightGCN
from tests.benchmarks.published import Known

CHOOSERS = 5000
"""Users whose validation items choose."""
MOST_ITEMS = 20_000
"""Up to so many items EASE takes part: its time is cubic in them."""
EASE_PENALTIES = (100.0, 200.0, 500.0, 1000.0, 2000.0)
KNN = tuple(itertools.product((20, 50, 100, 200, 400), (0.0, 20.0, 100.0)))
FACTORS, REGULARISATION, ALPHA, ITERATIONS = (64, 128, 256), (0.1, 1.0, 3.0, 10.0, 30.0), (1.0, 3.0, 10.0, 30.0), 15

Chosen = tuple[Scores, Any]
"""How a fitted model scores users, and the settings that validation chose."""


def ndcg(scores: Scores, known: Known) -> float:
    """NDCG@10 on validation, training items left out; of more than `CHOOSERS` users a seeded part."""
    return Tuner(known.train, known.valid, CHOOSERS, 0).quality(scores)


def best(known: Known, trials: list[Any], fit: Callable[[Any], Scores], seconds: float) -> Chosen:
    """The trial with the highest NDCG@10 on validation of those, in their order, that begin within `seconds`."""
    started = time.monotonic()
    values, chosen = [], (fit(trials[0]), trials[0])
    values.append(ndcg(chosen[0], known))
    for trial in trials[1:]:
        if time.monotonic() - started > seconds:
            break
        scores = fit(trial)
        values.append(ndcg(scores, known))
        if values[-1] > max(values[:-1]):
            chosen = scores, trial
    return chosen[0], {"settings": chosen[1], "trials": len(values)}


def popularity(known: Known, seconds: float) -> Chosen:
    """The most popular items."""
    return Popularity().fit(known.train).scores, None


def item_knn(known: Known, seconds: float) -> Chosen:
    """Nearest items, neighbours and shrinkage chosen."""
    return best(known, list(KNN), lambda chosen: _scores(ItemKNN(*chosen), known), seconds)


def ease(known: Known, seconds: float) -> Chosen:
    """EASE, its penalty chosen."""
    return best(known, list(EASE_PENALTIES), lambda penalty: _scores(EASE(penalty, MOST_ITEMS), known), seconds)


def ials(known: Known, seconds: float) -> Chosen:
    """Implicit ALS: a random order of the grid, as far as the time goes."""
    order = np.random.default_rng(0).permutation(list(itertools.product(FACTORS, REGULARISATION, ALPHA)))
    return best(
        known, [(int(factors), *rest) for factors, *rest in order.tolist()], lambda c: _ials(known, *c), seconds
    )


def lightgcn(known: Known, seconds: float) -> Chosen:
    """Plain LightGCN, stopped where validation was best."""
    model = LightGCN(_interactions(known.train), 0)

    def validate(vectors: tuple[np.ndarray, np.ndarray]) -> float:
        return ndcg(lambda rows: vectors[0][rows] @ vectors[1].T, known)

    epoch, _ = model.fit(seconds, validate)
    users, items = model.embed(model.train)
    return lambda rows: users[rows] @ items.T, {"epochs": epoch}


def _ials(known: Known, factors: int, regularisation: float, alpha: float) -> Scores:
    users, items = implicit_vectors(known.train, factors, regularisation, alpha)
    return lambda rows: users[rows] @ items.T


def implicit_vectors(
    matrix: sparse.csr_matrix, factors: int, regularisation: float, alpha: float
) -> tuple[np.ndarray, np.ndarray]:
    """`implicit`'s vectors, float32[users, factors] and float32[items, factors]."""
    model = implicit.als.AlternatingLeastSquares(
        factors=factors,
        regularization=regularisation,
        alpha=alpha,
        iterations=ITERATIONS,
        num_threads=len(os.sched_getaffinity(0)),
        random_state=0,
    )
    model.fit(matrix, show_progress=False)
    return model.user_factors, model.item_factors


def _scores(scorer: Scorer, known: Known) -> Scores:
    return scorer.fit(known.train).scores


def _interactions(matrix: sparse.csr_matrix) -> Interactions:
    pairs = matrix.tocoo()
    n = pairs.nnz
    return Interactions(
        pairs.row.astype(np.int64),
        pairs.col.astype(np.int64),
        np.ones(n, np.float32),
        np.zeros(n, np.int64),
        np.ones(n, bool),
        *matrix.shape,
    )
