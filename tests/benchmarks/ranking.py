"""Ours beside its rivals on a data set that others split, trained on its `train.txt` alone.

    python -m tests.benchmarks.ranking ../shared/data/ml1m-splits/lightgcnpp --json ranking.json

The folder holds `train.txt`, `valid.txt` and `test.txt` with "user item item …" a line. All items are ranked, training
items alone are left out, and metrics are means over users with test items, NDCG's ideal cut at min(k, test items): the
protocol of LightGCN's code. Each model has a process of its own, which never sees the test part: it answers with each
user's first 40 items. A rival may take as long as ours did.
"""

import argparse
import json
import multiprocessing
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import sparse

from recommend import collaborative, metrics
from recommend.topk import top_items
from tests.benchmarks import options, rivals
from tests.benchmarks.published import Known, published, read

CUTOFFS = (10, 20, 40)
OURS = "ours"


def ours(known: Known, seconds: float) -> rivals.Chosen:
    """The project's own, its default configuration."""
    scorer, chosen = collaborative.fit(known.train, known.valid)
    return scorer.scores, chosen


MODELS: dict[str, Callable[[Known, float], rivals.Chosen]] = {
    OURS: ours,
    "popularity": rivals.popularity,
    "item_knn": rivals.item_knn,
    "ease": rivals.ease,
    "ials": rivals.ials,
    "lightgcn": rivals.lightgcn,
}
LONGEST = 600.0
"""Seconds that a rival may take at most where ours took longer: all of them together stay within an hour."""
SMALL = {"recall_at_10": 0.1750, "ndcg_at_10": 0.3400, "minutes": 30.0, "gigabytes": 8.0}
"""Bars for ours, on two cores, on the split of ML-1M."""
LARGE = {"minutes": 60.0, "gigabytes": 16.0}
"""Bars on any other, up to 30 thousand users, 41 thousand items and 0.7 million interactions."""
Figures = dict[str, Any]


def measure(items: np.ndarray, test: sparse.csr_matrix) -> dict[str, float]:
    """Recall and NDCG at `CUTOFFS`, means over the users that have test items; `items` is int64[users, 40]."""
    users = np.flatnonzero(np.diff(test.indptr))
    n, y = np.diff(test.indptr)[users], metrics.hits(items[users], users, test)
    by_user = {f"recall@{k}": metrics.recall(y[:, :k], n) for k in CUTOFFS}
    by_user |= {f"ndcg@{k}": metrics.ndcg(y[:, :k], n) for k in CUTOFFS}
    return {name: float(values.mean()) for name, values in by_user.items()}


def answer(name: str, known: Known, seconds: float) -> tuple[np.ndarray, Figures]:
    """Fit a model in this process: each user's items, and what was chosen, minutes and the peak of memory."""
    started = time.monotonic()
    scores, chosen = MODELS[name](known, seconds)
    users = np.arange(known.train.shape[0])
    items = top_items(scores, users, max(CUTOFFS), np.ones(known.train.shape[1], bool), known.train)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return items, {"chosen": chosen, "minutes": (time.monotonic() - started) / 60, "gigabytes": peak}


def run(folder: Path, names: list[str]) -> Figures:
    """Figures by model, ours first: its minutes are what the others get."""
    known, test = read(folder)
    seconds, models = LONGEST, {}
    for name in names:
        if name == "ease" and known.train.shape[1] > rivals.MOST_ITEMS:
            continue
        with multiprocessing.get_context("spawn").Pool(1) as process:
            items, figures = process.apply(answer, (name, known, seconds))
        models[name] = measure(items, test) | figures
        print(name, models[name], flush=True)
        if name == OURS:
            seconds = min(LONGEST, 60 * figures["minutes"])
    sizes = dict(zip(("users", "items"), known.train.shape, strict=True))
    rows = dict(zip(("train", "valid", "test"), (part.nnz for part in (known.train, known.valid, test)), strict=True))
    others = published(known.train)
    bars = bars_of(models[OURS], SMALL if others else LARGE) if OURS in models else []
    return {"bars": bars, "data": sizes | rows, "models": models, "published": others}


def bars_of(found: Figures, wanted: dict[str, float]) -> list[Figures]:
    """Ours beside what is wanted of it."""
    values = {name: found[name.replace("_at_", "@")] for name in wanted}
    met = {name: value >= wanted[name] if "_at_" in name else value <= wanted[name] for name, value in values.items()}
    return [{"name": name, "value": value, "bar": wanted[name], "met": met[name]} for name, value in values.items()]


def table(found: Figures) -> Table:
    """The figures as people read them."""
    shown = Table("model", *(f"{name}@{k}" for k in CUTOFFS for name in ("recall", "ndcg")), "minutes", "GB")
    for name, of in found["models"].items():
        figures = [f"{of[f'{metric}@{k}']:.4f}" for k in CUTOFFS for metric in ("recall", "ndcg")]
        shown.add_row(name, *figures, f"{of['minutes']:.1f}", f"{of['gigabytes']:.1f}")
    for name, (recall, ndcg) in found["published"].items():
        shown.add_row(name, f"{recall:.4f}", f"{ndcg:.4f}")
    return shown


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", help="comma-separated models (default: all)")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found = run(arguments.folder, options.chosen(arguments.only, MODELS))
    Console(width=120).print(table(found))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0 if all(bar["met"] for bar in found["bars"]) else 1


if __name__ == "__main__":
    raise SystemExit(main())
