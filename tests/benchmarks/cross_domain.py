"""One domain's items for users known from another too, beside simpler ways: `python -m tests.benchmarks.cross_domain`.

    python -m tests.benchmarks.cross_domain ../shared/data/cross-domain/{sport_cloth,cloth_sport} --json F

Both directions by DisenCDR's protocol: each held-out item among 999 that its user never touched, HR@10 and NDCG@10 in
percent, means of five draws. Every model is tabled as published, and on the rows whose product the user does not have
under another id in the other domain's training rows. Rivals are tuned on one item a user of the training rows; ours
runs with its defaults.
"""

import argparse
import itertools
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from rich.console import Console
from rich.table import Table
from scipy import sparse

from recommend.baselines import ItemKNN, Popularity
from recommend.cross_domain import CrossDomainRanker
from recommend.topk import Scores, blocks
from tests.benchmarks.cross_domain_data import Domain, has_twin, held_out, negatives, read_domains, sampled_metrics
from tests.benchmarks.rivals import implicit_vectors

DRAWS, BAR = 5, 1.15
OURS, ALONE = "ours", "ours, target domain alone"
FACTORS, REGULARISATION, ALPHA = (8, 16, 32, 64), (1.0, 5.0, 20.0), (3.0, 10.0)
NEIGHBOURS = ((50, 0.0), (50, 10.0), (200, 0.0), (200, 10.0))
CELLS = 4_000_000
Figures = dict[str, Any]
Logits = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Users int64[b] and items int64[b, m] to scores float32[b, m]."""


def listed(scores: Scores, n_items: int) -> Logits:
    """The scores of some items from those of all."""

    def found(users: np.ndarray, items: np.ndarray) -> np.ndarray:
        rows = blocks(np.arange(len(users)), n_items, CELLS)
        return np.concatenate([np.take_along_axis(scores(users[at]), items[at], 1) for at in rows])

    return found


def measured(
    model: Logits, test: Int[np.ndarray, "n 2"], drawn: Sequence[Int[np.ndarray, "n 999"]]
) -> Float[np.ndarray, "n 2"]:
    """HR@10 and NDCG@10 by held-out row, means over the draws."""
    found = model(test[:, 0], np.concatenate([test[:, 1:], *drawn], axis=1))
    sizes = np.cumsum([0, *(part.shape[1] for part in drawn)]) + 1
    by_draw = [
        np.stack(sampled_metrics(found[:, 0], found[:, a:b]), axis=1) for a, b in itertools.pairwise(sizes.tolist())
    ]
    return np.mean(by_draw, axis=0)


def ials(matrix: sparse.csr_matrix, items: int, factors: int, regularisation: float, alpha: float) -> Logits:
    """`implicit`'s, whose leading items are asked for."""
    vectors, others = implicit_vectors(matrix, factors, regularisation, alpha)
    return listed(lambda users: vectors[users] @ others[:items].T, items)


def knn(matrix: sparse.csr_matrix, items: int, neighbours: int, shrinkage: float) -> Logits:
    """Item-kNN, whose leading items are asked for."""
    model = ItemKNN(neighbours, shrinkage).fit(matrix)
    return listed(lambda users: model.scores(users)[:, :items], items)


def best(
    fit: Callable[..., Logits], grid: Sequence[tuple[Any, ...]], target: Domain, source: sparse.csr_matrix | None
) -> tuple[Logits, Any]:
    """Tuned on one held-out item a user of the target's training rows, then fitted on all of them."""
    part, rows = held_out(target.train, 0)
    chosen = replace(target, test=rows)
    drawn = [negatives(chosen, 0)]

    def of(train: sparse.csr_matrix) -> sparse.csr_matrix:
        return train if source is None else sparse.csr_matrix(sparse.hstack([train, source]), dtype=np.float32)

    items = target.train.shape[1]
    ndcg = {setting: measured(fit(of(part), items, *setting), rows, drawn)[:, 1].mean() for setting in grid}
    setting = max(grid, key=ndcg.__getitem__)
    return fit(of(target.train), items, *setting), setting


def models(target: Domain, source: Domain) -> dict[str, Callable[[], tuple[Logits, Any]]]:
    """Ways to score, fitted when called; each says which settings it chose."""
    grid = list(itertools.product(FACTORS, REGULARISATION, ALPHA))
    items, nothing = target.train.shape[1], sparse.csr_matrix(source.train.shape, dtype=np.float32)
    return {
        OURS: lambda: (CrossDomainRanker().fit(target.train, source.train).logits, None),
        ALONE: lambda: (CrossDomainRanker().fit(target.train, nothing).logits, None),
        "popularity": lambda: (listed(Popularity().fit(target.train).scores, items), None),
        "iALS, target domain alone": lambda: best(ials, grid, target, None),
        "iALS, both domains": lambda: best(ials, grid, target, source.train),
        "item-kNN, both domains": lambda: best(knn, NEIGHBOURS, target, source.train),
    }


def direction(target: Domain, source: Domain) -> Figures:
    """All models on one domain given another."""
    drawn, twin = [negatives(target, seed) for seed in range(DRAWS)], has_twin(target, source)
    found: Figures = {"rows": len(twin), "twins": int(twin.sum()), "models": {}}
    for name, fit in models(target, source).items():
        started = time.monotonic()
        model, chosen = fit()
        values = measured(model, target.test, drawn)
        means = {"all": values.mean(0).tolist(), "without_twins": values[~twin].mean(0).tolist()}
        found["models"][name] = means | {"chosen": chosen, "seconds": time.monotonic() - started}
        print(f"{target.name} given {source.name}, {name}: {json.dumps(found['models'][name])}", flush=True)
    return found


def bar(name: str, found: Figures) -> Figures:
    """Ours by the best rival on rows without twins; it must beat our own model of the target alone too."""
    ndcg = {model: of["without_twins"][1] for model, of in found["models"].items()}
    ours, alone = ndcg.pop(OURS), ndcg.pop(ALONE)
    ratio = ours / max(ndcg.values())
    return {"name": name, "value": ratio, "bar": BAR, "met": ratio >= BAR and ours > alone}


def table(name: str, found: Figures) -> Table:
    """The figures as people read them."""
    title = f"{name}: {found['rows']} rows, {found['twins']} of them with a twin"
    shown = Table("model", "HR@10", "NDCG@10", "HR@10, no twins", "NDCG@10, no twins", "seconds", title=title)
    for model, of in found["models"].items():
        shown.add_row(model, *(f"{value:.2f}" for value in (*of["all"], *of["without_twins"])), f"{of['seconds']:.0f}")
    return shown


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure both directions, print, write; 1 where a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.cross_domain", description=__doc__)
    parser.add_argument("folders", type=Path, nargs=2, metavar="DIR", help="<domain>_<other> and <other>_<domain>")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    first, second = read_domains(*given.folders)
    pairs = {f"{a.name}_given_{b.name}": (a, b) for a, b in ((first, second), (second, first))}
    found = {name: direction(*pair) for name, pair in pairs.items()}
    bars = [bar(name, of) for name, of in found.items()]
    for name, of in found.items():
        Console(width=120).print(table(name, of))
    for one in bars:
        print(f"{one['name']}: {one['value']:.3f} of the best rival, wanted {one['bar']}, met: {one['met']}")
    if given.json:
        given.json.write_text(json.dumps({"bars": bars, **found}, indent=1) + "\n")
    return 0 if all(one["met"] for one in bars) else 1


if __name__ == "__main__":
    raise SystemExit(main())
