"""How well embeddings rank, for items that users know and for new ones, beside what is simpler."""

import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from embed.cache import encode_views, read_views
from embed.config import EmbedConfig
from embed.infer import Embeddings
from embed.inputs import Views
from embed.train import fit
from kg.interactions import Catalogue, Interactions
from kg.tables import Workspace
from recommend.measure import mean, measure
from recommend.topk import Scores, top_items
from tests.benchmarks import learning_data
from tests.benchmarks.learning_data import VALIDATION, Data
from tests.benchmarks.plain_lightgcn import LightGCN

DEPTH = 20
COLD, COLD_VALIDATION = 0.2, 0.1
"""Shares of the items that lose their interactions: those that are measured, and those that choose."""
KNOWN, PRETRAINING = 0.1, 300
"""Share of the new domain's events that is known, and seconds of training on the other domain at most."""
Figures = dict[str, Any]


def figures_of(part: str, name: str, root: Path, cache: Path, seed: int, config: EmbedConfig) -> Figures:
    """`part` (warm, cold, new_domain) on one data set and seed; `peak_gib` is of the process, so give each its own."""
    if part == "new_domain":
        films, books = (_read(each, root, cache / each, seed, config) for each in ("ml1m", name))
        found = new_domain(films, books, config, seed)
    else:
        found = {"warm": warm, "cold": cold}[part](*_read(name, root, cache / name, seed, config), config, seed)
    return found | {"peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}


def warm(data: Data, views: Views, config: EmbedConfig, seed: int) -> Figures:
    """NDCG@20 on the test rows over all items, ours beside plain LightGCN with as many seconds to train."""
    known = Interactions.concat([data.train, data.valid])

    def ndcg(users: np.ndarray, items: np.ndarray, labels: Interactions, seen: Interactions) -> float:
        return _mean("ndcg", lambda rows: users[rows] @ items.T, data.catalogue, labels, seen)

    trained = fit(
        data.snapshot,
        views,
        data.catalogue,
        data.train,
        config,
        seed=seed,
        validate=lambda found: ndcg(found.users["z"], found.items["z"], data.valid, data.train),
    )
    ours = trained.embed(known)
    plain = LightGCN(data.train, seed)
    best, chosen = plain.fit(trained.history.seconds, lambda found: ndcg(*found, data.valid, data.train))
    return {
        "ours": {view: ndcg(ours.users[view], ours.items[view], data.test, known) for view in ours.views},
        "lightgcn": ndcg(*plain.embed(known), data.test, known),
        "validation": {"ours": max(trained.history.metrics), "lightgcn": max(chosen)},
        "epochs": {"ours": trained.history.best_epoch, "lightgcn": best, "lightgcn_of": len(chosen)},
        "seconds": trained.history.seconds,
        "stopped": trained.history.stopped,
    }


def cold(data: Data, views: Views, config: EmbedConfig, seed: int) -> Figures:
    """Recall@20 of items without interactions, ranked among themselves, ours beside nearest neighbours of the history.

    A seeded fifth of the items is held out to be measured. Half as many are held out to choose by, and are back in the
    graph (but not in the weights) when the others are measured.
    """
    events = Interactions.concat([data.train, data.valid, data.test])
    drawn = np.random.default_rng([seed, 11]).permutation(np.unique(events.item))
    size, held = round(COLD * len(drawn)), round((COLD + COLD_VALIDATION) * len(drawn))
    tested, choosing = (np.isin(events.item, part) for part in (drawn[:size], drawn[size:held]))
    train, known = events.take(~tested & ~choosing), events.take(~tested)

    def recall(scores: Scores, rows: np.ndarray, seen: Interactions) -> float:
        labels = events.take(rows)
        mask = np.zeros(data.catalogue.n_items, bool)
        mask[np.unique(labels.item)] = True
        return _mean("recall", scores, data.catalogue, labels, seen, mask)

    started = time.monotonic()
    trained = fit(
        data.snapshot,
        views,
        data.catalogue,
        train,
        config,
        seed=seed,
        validate=lambda found: recall(_cosines(found, "z"), choosing, train),
    )
    ours = trained.embed(known)
    return {
        "ours": {view: recall(_cosines(ours, view), tested, known) for view in ours.views},
        "neighbours": {view: recall(_neighbours(data, views, view, known), tested, known) for view in views.widths},
        "items": size,
        "epochs": trained.history.best_epoch,
        "seconds": time.monotonic() - started,
        "stopped": trained.history.stopped,
    }


def new_domain(source: tuple[Data, Views], target: tuple[Data, Views], config: EmbedConfig, seed: int) -> Figures:
    """NDCG@20 in a domain of which a tenth of the events is known, with and without training on another domain before.

    The two share neither users nor items: texts alone carry over. Of what is known a tenth chooses the epochs.
    """
    films, film_views = source
    pretrained = fit(
        films.snapshot,
        _texts(film_views),
        films.catalogue,
        films.train,
        config.model_copy(update={"max_seconds": PRETRAINING}),
        seed=seed,
        validate=lambda found: _mean("ndcg", _cosines(found, "z"), films.catalogue, films.valid, films.train),
    )
    books, book_views = target
    known = thinned(Interactions.concat([books.train, books.valid]), KNOWN, seed)
    choosing = np.random.default_rng([seed, 13]).random(len(known)) < VALIDATION
    train, valid = known.take(~choosing), known.take(choosing)
    figures: Figures = {}
    for name, start in (("transferred", pretrained), ("alone", None)):
        trained = fit(
            books.snapshot,
            _texts(book_views),
            books.catalogue,
            train,
            config,
            seed=seed,
            pretrained=start,
            validate=lambda found: _mean("ndcg", _cosines(found, "z"), books.catalogue, valid, train),
        )
        ours = trained.embed(known)
        figures[name] = {
            view: _mean("ndcg", _cosines(ours, view), books.catalogue, books.test, known) for view in ours.views
        } | {"epochs": trained.history.best_epoch}
    raw = _neighbours(books, book_views, "v", known)
    return figures | {"neighbours": _mean("ndcg", raw, books.catalogue, books.test, known)}


def thinned(rows: Interactions, share: float, seed: int) -> Interactions:
    """A seeded part of the events."""
    return rows.take(np.sort(np.random.default_rng([seed, 12]).permutation(len(rows))[: round(share * len(rows))]))


def _texts(views: Views) -> Views:
    return Views({"v": views.by_view["v"]})


def _cosines(found: Embeddings, view: str) -> Scores:
    return lambda rows: found.users[view][rows] @ found.items[view].T


def _neighbours(data: Data, views: Views, view: str, known: Interactions) -> Scores:
    """Cosine with the mean of the raw vectors of what a user had."""
    raw = np.zeros((data.catalogue.n_items, views.widths[view]), np.float32)
    for label, found in views.by_view[view].items():
        raw[data.catalogue.span(label)] = found.vectors
    profiles = known.matrix() @ raw
    return lambda rows: profiles[rows] @ raw.T


def _mean(
    metric: str,
    scores: Scores,
    catalogue: Catalogue,
    labels: Interactions,
    known: Interactions,
    among: np.ndarray | None = None,
) -> float:
    """The metric at 20 over users with labels, known items left out."""
    mask, seen = np.ones(catalogue.n_items, bool) if among is None else among, known.seen()
    top: Callable[..., np.ndarray] = lambda users, domain: top_items(scores, users, DEPTH, mask, seen)  # noqa: E731
    return mean(measure(top, catalogue, labels), f"{metric}@{DEPTH}")


def _read(name: str, root: Path, cache: Path, seed: int, config: EmbedConfig) -> tuple[Data, Views]:
    """The data, and the views of its texts and pictures; what an earlier call encoded is in `cache`."""
    with tempfile.TemporaryDirectory() as folder:
        data: Data = getattr(learning_data, name)(root, Workspace(folder), seed)
    workspace = Workspace(cache)
    stage = workspace.stage("encoded")
    with stage.create("benchmark") as draft:
        encode_views(data.snapshot, config, workspace, draft)
    output = stage.current()
    assert output is not None
    return data, read_views(output, data.snapshot)
