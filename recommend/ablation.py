"""What each view and each fusion brings: models trained with the same settings, measured on the same split.

A single view is that of the project's own model, which learned with all of them; each fusion, and the model without an
encoder's view, is trained for itself. Loads no torch.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from scipy.stats import t

from embed.config import EmbedConfig
from kg.interactions import Catalogue, Interactions
from recommend.measure import Top, exhaustive, measure, z_scores
from recommend.topk import Scores

if TYPE_CHECKING:
    from embed.infer import Embeddings
    from embed.inputs import Views

METRICS = ("ndcg@10", "ndcg@20", "recall@20")
NAMES = {"h": "graph", "v": "text", "c": "image"}
FUSIONS: tuple[str, ...] = get_args(EmbedConfig.model_fields["fusion"].annotation)


@dataclass(frozen=True)
class Variant:
    """A model to be trained."""

    name: str
    config: EmbedConfig
    views: "Views"


Fit = Callable[[Variant], "Embeddings"]
"""Trains a variant; returns its vectors when the graph holds the training interactions."""


def variants(config: EmbedConfig, views: "Views") -> list[Variant]:
    """The project's own model first, the other fusions, and its own without each view that an encoder gives."""
    own = Variant(_all(config.fusion), config, views)
    others = [fusion for fusion in FUSIONS if fusion != config.fusion]
    fused = [Variant(_all(f), config.model_copy(update={"fusion": f}), views) for f in others]
    left = [Variant(f"without {NAMES[view]}", config, _without(views, view)) for view in views.widths]
    return [own, *fused, *left]


def _all(fusion: str) -> str:
    return f"all views, {fusion}"


def _without(views: "Views", view: str) -> "Views":
    return replace(views, by_view={name: found for name, found in views.by_view.items() if name != view})


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    own: bool
    """Whether this is the model that the project file describes."""
    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """By slice and metric, a mean over users for each seed."""


@dataclass(frozen=True)
class Ablation:
    """The whole table, ready for JSON."""

    users: dict[str, int]
    """By slice: `all`, and `cold` where validation has items that no training positive is with."""
    rows: list[Row]
    conventions: str = (
        "validation positives of the cut, seen items excluded, mean over each user's domains; cold items are ranked "
        "among themselves; of several seeds the mean and half of its 95% interval (Student's t)"
    )

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Ablation":
        """Inverse of `to_dict`."""
        return cls(**values | {"rows": [Row(**row) for row in values["rows"]]})


def ablate(
    config: EmbedConfig,
    views: "Views",
    fit: Fit,
    catalogue: Catalogue,
    train: Interactions,
    valid: Interactions,
    *,
    seeds: int = 1,
) -> Ablation:
    """Measure every view and fusion of models that `fit` trains, by `seeds` seeds from the configuration's on.

    What is ranked is what training itself is stopped by (`recommend.measure.validation`): the row of the project's own
    fusion has that figure as NDCG@10.
    """
    slices = _Slices(catalogue, train, valid)
    rows: dict[str, Row] = {}
    for seed in range(config.seed, config.seed + seeds):
        for number, variant in enumerate(variants(config.model_copy(update={"seed": seed}), views)):
            found = fit(variant)
            tables = {variant.name: z_scores(found)} if number else _of_own(variant.name, found)
            for name, scores in tables.items():
                slices.add(rows.setdefault(name, Row(name, name == _all(config.fusion))), scores)
    return Ablation(slices.users, list(rows.values()))


def _of_own(name: str, found: "Embeddings") -> dict[str, Scores]:
    """The single views of the project's own model, its encoders' views together, and its fusion."""
    single = [view for view in found.views if view != "z"]
    encoded = [view for view in single if view != "h"]
    tables = {f"{NAMES[view]} alone ({view})": _cosines(found, [view]) for view in single}
    if len(encoded) > 1:
        tables[f"without graph (mean of {' and '.join(encoded)})"] = _cosines(found, encoded)
    return tables | {name: z_scores(found)}


def _cosines(found: "Embeddings", views: Sequence[str]) -> Scores:
    """Cosine in the mean of some views; a node that has none of them is like nothing."""
    users, items = (
        total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)
        for total in (sum(side[view] for view in views) for side in (found.users, found.items))
    )
    return lambda rows: users[rows] @ items.T


class _Slices:
    """The parts of validation, and what recommends from each."""

    def __init__(self, catalogue: Catalogue, train: Interactions, valid: Interactions) -> None:
        self.catalogue, self.train = catalogue, train
        cold = np.ones(catalogue.n_items, bool)
        cold[train.positives().item] = False
        self.parts: dict[str, tuple[Interactions, np.ndarray]] = {"all": (valid, np.ones(catalogue.n_items, bool))}
        if cold[valid.positives().item].any():
            self.parts["cold"] = valid.take(cold[valid.item]), cold
        self.users = {name: len(np.unique(labels.positives().user)) for name, (labels, _) in self.parts.items()}

    def add(self, row: Row, scores: Scores) -> None:
        """What these scores are worth, as one more seed of a row."""
        for name, (labels, among) in self.parts.items():
            top: Top = exhaustive(scores, self.catalogue, self.train, among)
            measured = measure(top, self.catalogue, labels)
            for metric in METRICS:
                values = measured.of(None, metric)[1]
                mean = float(values.mean()) if len(values) else 0.0
                row.values.setdefault(name, {}).setdefault(metric, []).append(mean)


def header(found: Ablation) -> list[str]:
    """The columns of `cells`."""
    shown = {"all": "", "cold": "cold: "}
    return ["vectors", *(shown[part] + _title(metric) for part in found.users for metric in METRICS)]


def _title(metric: str) -> str:
    name, _, k = metric.partition("@")
    return f"{name.upper() if name == 'ndcg' else name.capitalize()}@{k}"


def cells(found: Ablation) -> list[list[str]]:
    """The table's rows as text."""
    return [
        [
            row.name + (" (the project's)" if row.own else ""),
            *(_cell(row.values[part][metric]) for part in found.users for metric in METRICS),
        ]
        for row in found.rows
    ]


def _cell(values: list[float]) -> str:
    n, mean = len(values), float(np.mean(values))
    if n == 1:
        return f"{mean:.4f}"
    return f"{mean:.4f} ± {t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n):.4f}"


def markdown(found: Ablation) -> str:
    """The table, and under it what it was measured on."""
    head = header(found)
    lines = [head, ["---"] * len(head), *cells(found)]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    users = ", ".join(f"{part} {count}" for part, count in found.users.items())
    return f"{table}\n\nUsers: {users}. {found.conventions[0].upper()}{found.conventions[1:]}.\n"
