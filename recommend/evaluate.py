"""Ours beside the baselines on one cut: means by slice and domain, and paired confidence intervals."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from jaxtyping import Float

from kg.interactions import Catalogue, Interactions
from kg.split import Cut
from recommend.attributes import Attributes
from recommend.baselines import Popularity
from recommend.config import RecommendConfig
from recommend.measure import Measured, Top, exhaustive, measure, target_domains, validation, z_scores
from recommend.metrics import CUTOFFS
from recommend.model import Recommender, fit_ranker
from recommend.report import BASELINES, OURS, OVERALL, REQUIRED, Report
from recommend.signals import Signals

if TYPE_CHECKING:
    from embed.infer import Embeddings

METRICS = tuple(f"{name}@{k}" for k in CUTOFFS for name in ("recall", "ndcg", "mrr"))


class Model(Protocol):
    """A trained embedding model."""

    def embed(self, interactions: Interactions) -> "Embeddings":
        """The vectors of all users and items when the graph holds these interactions."""
        ...


FitEmbeddings = Callable[[Interactions, Callable[["Embeddings"], float]], Model]
"""Trains on interactions; the second argument is the validation metric to stop by (larger is better)."""


def interval(differences: Float[np.ndarray, " u"], resamples: int, seed: int) -> tuple[float, float]:
    """The central 95% of the mean over bootstrap resamples of users (Efron's percentile interval)."""
    n = len(differences)
    rng = np.random.default_rng(seed)
    means, step = [], max(1, 4_000_000 // n)
    for start in range(0, resamples, step):
        drawn = rng.integers(0, n, (min(step, resamples - start), n))
        means.append(differences[drawn].mean(1))
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return float(low), float(high)


def baselines(catalogue: Catalogue, signals: Signals) -> dict[str, Top]:
    """What ours is compared with: popularity, item-kNN and EASE, fitted on the signals' interactions, and z alone."""
    scorers = {
        "popularity": Popularity().fit(signals.matrix).scores,
        "item_knn": signals.knn.scores,
        "ease": signals.ease.scores,
        "z": z_scores(signals.embeddings),
    }
    return {name: exhaustive(scores, catalogue, signals.interactions) for name, scores in scorers.items()}


def evaluate(recommender: Recommender, cut: Cut, *, seed: int = 0) -> Report:
    """Measure a recommender whose data are `train` and `valid` of the cut on its `test`."""
    signals, catalogue = recommender.signals, recommender.catalogue
    known = signals.interactions
    tops: dict[str, Top] = {OURS: recommender.top}
    tops |= baselines(catalogue, signals)
    measured = {name: measure(top, catalogue, cut.test) for name, top in tops.items()}
    warm = np.bincount(known.user, minlength=catalogue.n_users) > 0
    everyone = np.ones(catalogue.n_users, bool)
    slices = {"all": everyone}
    if not warm[measured[OURS].of(None, REQUIRED)[0]].all():
        slices |= {"warm": warm, "cold": ~warm}
    domains = [*target_domains(catalogue), None]
    figures = {
        part: {
            domain or OVERALL: _figures(measured, domain, among, recommender.config.resamples, seed)
            for domain in domains
        }
        for part, among in slices.items()
    }
    chosen = {"ease": signals.chosen.ease, "item_knn": list(signals.chosen.item_knn)}
    return Report(cut.name, figures, chosen)


def _figures(
    measured: dict[str, Measured], domain: str | None, among: np.ndarray, resamples: int, seed: int
) -> dict[str, Any]:
    """The part of a report for one slice and domain."""
    models: dict[str, dict[str, float]] = {}
    values: dict[str, np.ndarray] = {}
    n = 0
    for name, found in measured.items():
        models[name] = {}
        for metric in METRICS:
            users, by_user = found.of(domain, metric)
            kept = by_user[among[users]]
            models[name][metric] = float(kept.mean()) if len(kept) else 0.0
            if metric == REQUIRED:
                values[name], n = kept, len(kept)
        models[name] |= {f"coverage@{k}": found.covered(domain, k, among) for k in CUTOFFS}
    compared = {}
    for name in BASELINES if n else ():
        difference = values[OURS] - values[name]
        low, high = interval(difference, resamples, seed)
        compared[name] = {"difference": float(difference.mean()), "low": low, "high": high}
    return {"users": n, "models": models, "compared": compared}


def evaluate_cut(
    cut: Cut,
    catalogue: Catalogue,
    fit_embeddings: FitEmbeddings,
    config: RecommendConfig,
    *,
    attributes: Attributes | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> tuple[Report, Recommender]:
    """Fit on `train` with choices made on `valid`, take in `valid` as data, measure on `test`.

    Returns the report and the recommender that was measured. The network and the rankers are not trained again
    on `valid`: only the graph, the baselines and the other signals take it in.
    """
    model = fit_embeddings(cut.train, validation(catalogue, cut.train, cut.valid))
    fitted = fit_ranker(
        catalogue, model.embed, cut.train, cut.valid, config, attributes=attributes, seed=seed, device=device
    )
    known = Interactions.concat([cut.train, cut.valid])
    recommender = fitted.with_data(model.embed(known), known)
    return evaluate(recommender, cut, seed=seed), recommender
