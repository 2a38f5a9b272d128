"""How good embeddings are on real data, beside simpler ways in the same run: `python -m tests.benchmarks.embeddings`.

`warm_…`: NDCG@20 over all items, by that of plain LightGCN trained for as long. `cold_…`: Recall@20 among items that
lost all their interactions, by that of nearest neighbours in raw text vectors; it must beat each single view too.
`new_domain`: NDCG@20 on Book-Crossing with a tenth of its events, by that of the same model without films before.
Everything is chosen on validation rows; mean over seeds with Student's 95% interval. `CROSSGRAPH_DATA` says where the
data is.
"""

import argparse
import json
import multiprocessing
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from embed.config import EmbedConfig
from tests.benchmarks.embedding_quality import Figures, figures_of
from tests.benchmarks.options import chosen, data_folder

PARTS = {
    "warm_ml1m": ("warm", "ml1m"),
    "warm_ml100k": ("warm", "ml100k"),
    "cold_ml1m": ("cold", "ml1m"),
    "cold_ml100k": ("cold", "ml100k"),
    "new_domain": ("new_domain", "book_crossing"),
}
COLD_BAR = 1.5
MINUTES, GIB = 15, 6
STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}
"""97.5% quantiles of Student's t by the number of seeds."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for, print the table and write the figures; 1 where a bar is missed."""
    options = _parser().parse_args(arguments)
    wanted = chosen(options.only, PARTS)
    root, config = data_folder(), EmbedConfig.model_validate_json(options.config)
    with tempfile.TemporaryDirectory(prefix="crossgraph-benchmark-") as cache:
        figures = {name: _seeds(name, root, Path(cache), options.seeds, config) for name in wanted}
    bars = [bar for name, runs in figures.items() for bar in bars_of(name, runs)]
    print(table(bars))
    if options.json:
        options.json.write_text(json.dumps({"bars": bars, **figures}, indent=1) + "\n")
    return 0 if all(bar["met"] for bar in bars) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.embeddings", description=__doc__)
    parser.add_argument("--json", type=Path, help="where all figures go")
    parser.add_argument("--only", help=f"some of {','.join(PARTS)}")
    parser.add_argument("--seeds", type=int, default=3, choices=range(1, 6))
    parser.add_argument("--config", default="{}", help="the section `embed` as JSON, where it is not the default")
    return parser


def _seeds(name: str, root: Path, cache: Path, seeds: int, config: EmbedConfig) -> list[Figures]:
    """One run a seed, each in a process of its own, so that its peak of memory is its own."""
    part, data = PARTS[name]
    runs = []
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for seed in range(seeds):
            runs.append(pool.apply(figures_of, (part, data, root, cache, seed, config)))
            print(f"{name} seed {seed}: {json.dumps(runs[-1])}", flush=True)
    return runs


def bars_of(name: str, runs: list[Figures]) -> list[dict[str, Any]]:
    """The bar of a part, and from ML-1M's warm one that of the training's time and memory."""
    if PARTS[name][0] == "new_domain":
        found, alone = ([run[way]["z"] for run in runs] for way in ("transferred", "alone"))
        ratio = statistics.mean(found) / statistics.mean(alone)
        return [{"name": name, "value": ratio, "bar": 1.0, "met": ratio > 1, "z": interval(found)}]
    ours = [run["ours"]["z"] for run in runs]
    if PARTS[name][0] == "cold":
        ratio = statistics.mean(ours) / statistics.mean(run["neighbours"]["v"] for run in runs)
        views = {view: statistics.mean(run["ours"][view] for run in runs) for view in runs[0]["ours"] if view != "z"}
        met = ratio >= COLD_BAR and statistics.mean(ours) > max(views.values())
        return [{"name": name, "value": ratio, "bar": COLD_BAR, "met": met, "z": interval(ours), "views": views}]
    ratio = statistics.mean(ours) / statistics.mean(run["lightgcn"] for run in runs)
    bars = [{"name": name, "value": ratio, "bar": 1.0, "met": ratio > 1, "z": interval(ours)}]
    if name == "warm_ml1m":
        minutes, memory = max(run["seconds"] for run in runs) / 60, max(run["peak_gib"] for run in runs)
        met = minutes < MINUTES and memory < GIB
        bars.append({"name": "training_ml1m", "value": minutes, "bar": MINUTES, "met": met, "peak_gib": memory})
    return bars


def interval(values: list[float]) -> tuple[float, float]:
    """Mean and half the width of Student's 95% interval (0 for a single value)."""
    spread = STUDENT[len(values)] * statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return statistics.mean(values), spread


def table(bars: list[dict[str, Any]]) -> str:
    """The bars as a table of fixed width."""
    lines = [f"{'name':<16} {'value':>8} {'bar':>6}  {'met':<5} more"]
    for bar in bars:
        more = []
        if "z" in bar:
            more.append(f"z {bar['z'][0]:.4f} ± {bar['z'][1]:.4f}")
        more += [f"{view} {value:.4f}" for view, value in bar.get("views", {}).items()]
        more += [f"{bar['peak_gib']:.1f} GiB"] if "peak_gib" in bar else []
        lines.append(f"{bar['name']:<16} {bar['value']:>8.3f} {bar['bar']:>6.1f}  {bar['met']!s:<5} {', '.join(more)}")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
