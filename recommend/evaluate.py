"""Ours beside the baselines on one cut: means by slice and domain, and paired confidence intervals."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from jaxtyping import Float
from rich.table import Table

from kg.errors import QualityError
from kg.split import Catalogue, Cut, Interactions
from recommend.attributes import Attributes
from recommend.baselines import EASE, ItemKNN, Popularity
from recommend.config import RecommendConfig
from recommend.measure import Measured, Top, exhaustive, measure, target_domains, validation, z_scores
from recommend.metrics import CUTOFFS
from recommend.model import Recommender, fit_ranker
from recommend.signals import Chosen

if TYPE_CHECKING:
    from embed.infer import Embeddings

OURS = "ours"
BASELINES = ("popularity", "item_knn", "ease", "z")
OVERALL = "overall"
METRICS = tuple(f"{name}@{k}" for k in CUTOFFS for name in ("recall", "ndcg", "mrr"))
REQUIRED = "ndcg@10"


class Model(Protocol):
    """A trained embedding model."""

    def embed(self, interactions: Interactions) -> "Embeddings":
        """The vectors of all users and items when the graph holds these interactions."""
        ...


FitEmbeddings = Callable[[Interactions, Callable[["Embeddings"], float]], Model]
"""Trains on interactions; the second argument is the validation metric to stop by (larger is better)."""


@dataclass(frozen=True)
class Report:
    """An evaluation's figures, ready for JSON."""

    cut: str
    slices: dict[str, dict[str, dict[str, Any]]]
    """By slice (`all`, and `warm` and `cold` where there are cold users) and domain (or `overall`): `users`,
    `models` (means by model and metric), `compared` (by baseline: mean difference of NDCG@10 and its 95% interval)."""
    chosen: dict[str, Any]
    """The baselines' hyperparameters."""
    conventions: str = (
        "users with held-out positives only; seen items excluded; overall is the mean over each user's domains; "
        "intervals are paired bootstrap percentiles over users"
    )

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Report":
        """Inverse of `to_dict`."""
        return cls(**values)

    def value(self, model: str, metric: str = REQUIRED, domain: str = OVERALL, part: str = "all") -> float:
        """One mean."""
        return float(self.slices[part][domain]["models"][model][metric])


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


def baselines(
    catalogue: Catalogue, embeddings: "Embeddings", known: Interactions, chosen: Chosen, config: RecommendConfig
) -> dict[str, Top]:
    """What ours is compared with, fitted on `known`: popularity, item-kNN, EASE, and z alone."""
    matrix = known.matrix()
    scorers = {
        "popularity": Popularity().fit(matrix).scores,
        "item_knn": ItemKNN(*chosen.item_knn).fit(matrix).scores,
        "ease": EASE(chosen.ease, config.max_item_model).fit(matrix).scores,
        "z": z_scores(embeddings),
    }
    return {name: exhaustive(scores, catalogue, known) for name, scores in scorers.items()}


def evaluate(recommender: Recommender, cut: Cut, *, seed: int = 0) -> Report:
    """Measure a recommender whose data are `train` and `valid` of the cut on its `test`."""
    signals, catalogue = recommender.signals, recommender.catalogue
    known = signals.interactions
    tops: dict[str, Top] = {OURS: recommender.top}
    tops |= baselines(catalogue, signals.embeddings, known, signals.chosen, recommender.config)
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


def require(report: Report, names: Iterable[str]) -> None:
    """Raise `QualityError` unless ours beats the named baselines on NDCG@10 over all users and domains.

    `ValueError` for a name that is no baseline.
    """
    wanted = list(names)
    if unknown := [name for name in wanted if name not in BASELINES]:
        raise ValueError(f"unknown baselines {unknown}, expected some of {list(BASELINES)}")
    ours = report.value(OURS)
    if better := [name for name in wanted if report.value(name) >= ours]:
        found = ", ".join(f"{name} {report.value(name):.4f}" for name in better)
        raise QualityError(f"NDCG@10 on {report.cut}: ours {ours:.4f} does not beat {found}")


COLUMNS = ("ndcg@10", "recall@10", "mrr@10", "coverage@10", "ndcg@20", "recall@20", "mrr@20", "coverage@20")


def rows(report: Report) -> list[list[str]]:
    """The report as cells: slice, domain, users, model, `COLUMNS`, and ours minus the model with its interval."""
    found = []
    for part, domains in report.slices.items():
        for domain, figures in domains.items():
            if domain != OVERALL and len(domains) == 2:
                continue
            for model, metrics in figures["models"].items():
                c = figures["compared"].get(model)
                gain = f"{c['difference']:+.4f} [{c['low']:+.4f}, {c['high']:+.4f}]" if c else ""
                cells = [part, domain, str(figures["users"]), model]
                found.append([*cells, *(f"{metrics[column]:.4f}" for column in COLUMNS), gain])
    return found


HEADER = ("users are", "domain", "users", "model", *COLUMNS, "ours minus it, NDCG@10 [95%]")


def table(report: Report) -> Table:
    """The report for a terminal."""
    found = Table(*HEADER, title=f"cut {report.cut}")
    for cells in rows(report):
        found.add_row(*cells, style="bold" if cells[3] == OURS else None)
    return found


def markdown(report: Report) -> str:
    """The report as a Markdown table."""
    lines = [HEADER, ["---"] * len(HEADER), *rows(report)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
