"""How fast the graph side is, as ratios within one run: `python -m tests.benchmarks.graph --json F`.

Each figure of ours stands beside another way to the same end, in turns on servers of the benchmark's own.
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks import graph_growth
from tests.benchmarks.graph_servers import server
from tests.benchmarks.options import chosen

NAMES = ("online_load", "first_load", "unchanged_reload", "export", "growth")
MEANING = {
    "online_load": "rate of a load into a running server, by that of Neo4j's Spark connector",
    "first_load": "time of a first load, by that of a bare import of prepared files",
    "unchanged_reload": "time of a load of the same rows delivered anew, by the first load's",
    "export": "rate of an export to Parquet, by that of reading row by row",
    "growth": "growth of an ingest's time or memory, whichever is worse, by its data's",
}
AT_LEAST = {"online_load": 3.0, "export": 4.0}
AT_MOST = {"first_load": 1.5, "unchanged_reload": 0.05, "growth": 1.2}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for, print the table and write the figures; 1 where a bar is missed."""
    options = _parser().parse_args(arguments)
    wanted = chosen(options.only, NAMES)
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="crossgraph-benchmark-", dir=options.folder) as folder:
        for names, run in PARTS:
            if set(names) & set(wanted):
                figures |= run(Path(folder) / names[0], options)
    bars = [bar for name, value in _values(figures).items() if name in wanted for bar in [_bar(name, value, figures)]]
    print(table(bars))
    if options.json:
        options.json.write_text(json.dumps({"bars": bars, **figures}, indent=1, default=str) + "\n")
    growth = figures.get("growth")
    if options.markdown:
        options.markdown.write_text(markdown(bars) + (f"\n{graph_growth.markdown(growth)}" if growth else ""))
    if options.plot and growth:
        graph_growth.plot(growth, options.plot)
    return 0 if all(bar["met"] for bar in bars) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.graph", description=__doc__)
    parser.add_argument("--json", type=Path, help="where all figures go")
    parser.add_argument("--only", help=f"some of {','.join(NAMES)}")
    parser.add_argument("--rounds", type=int, default=3, help="how often each way is measured; medians count")
    parser.add_argument("--online", type=int, default=1_000_000, help="relationships of online_load and export")
    parser.add_argument("--first", type=int, default=5_000_000, help="relationships of first_load and its reloads")
    parser.add_argument("--nodes", type=int, default=100_000, help="nodes of all these")
    parser.add_argument("--growth", default="100000,1000000,5000000", help="numbers of interactions")
    parser.add_argument(
        "--mode", default="Append", choices=["Append", "Overwrite"], help="the connector's: CREATE, MERGE"
    )
    parser.add_argument("--plot", type=Path, help="where the growth's plot goes, as SVG")
    parser.add_argument("--markdown", type=Path, help="where the tables go, as Markdown")
    parser.add_argument("--folder", type=Path, help="where the temporary folder lies")
    return parser


def _online(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    from tests.benchmarks.graph_load import online_load

    sizes = {"relationships": options.online, "nodes": options.nodes}
    with server(folder / "neo4j") as local:
        return {"online_load": online_load(local, folder, sizes, options.rounds, options.mode)}


def _first(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    from tests.benchmarks.graph_load import first_load

    sizes = {"relationships": options.first, "nodes": options.nodes}
    with server(folder / "neo4j") as local:
        return {"first_load": first_load(local, folder, sizes, options.rounds)}


def _export(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    from tests.benchmarks.graph_data import write_tables
    from tests.benchmarks.graph_export import export_figures
    from tests.benchmarks.graph_load import imported

    tables = write_tables(folder, options.online, options.nodes)
    with server(folder / "neo4j") as local:
        imported(local, tables, folder)
        return {"export": export_figures(local.connection(), folder, rounds=options.rounds)}


def _growth(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    return {"growth": graph_growth.growth(folder, [int(size) for size in options.growth.split(",")])}


Part = Callable[[Path, argparse.Namespace], dict[str, Any]]
PARTS: tuple[tuple[tuple[str, ...], Part], ...] = (
    (("online_load",), _online),
    (("first_load", "unchanged_reload"), _first),
    (("export",), _export),
    (("growth",), _growth),
)


def _values(figures: dict[str, Any]) -> dict[str, float]:
    """The ratio of each bar."""
    found = {}
    if online := figures.get("online_load"):
        found["online_load"] = _median(online, "connector_seconds") / _median(online, "ours_seconds")
    if first := figures.get("first_load"):
        ours = _median(first, "ours_seconds")
        found["first_load"] = ours / _median(first, "bare_seconds")
        found["unchanged_reload"] = _median(first["nothing_changed"], "new_tables_seconds") / ours
    if export := figures.get("export"):
        found["export"] = export["ratio"]
    if growth := figures.get("growth"):
        found["growth"] = graph_growth.steepest(growth)
    return found


def _median(figures: dict[str, Any], name: str) -> float:
    return statistics.median(figures[name])


def _bar(name: str, value: float, figures: dict[str, Any]) -> dict[str, Any]:
    bar = AT_LEAST.get(name, AT_MOST.get(name))
    met = value >= AT_LEAST[name] if name in AT_LEAST else value <= AT_MOST[name]
    if name == "unchanged_reload":
        met = met and figures["first_load"]["nothing_changed"]["written"] == 0
    return {"name": name, "value": value, "bar": bar, "met": met}


def markdown(bars: list[dict[str, Any]]) -> str:
    """The bars for a page."""
    lines = ["| measured | ratio | wanted |", "| --- | ---: | ---: |"]
    for bar in bars:
        sign = "≥" if bar["name"] in AT_LEAST else "≤"
        lines.append(f"| {MEANING[bar['name']]} | {bar['value']:.3g} | {sign} {bar['bar']:g} |")
    return "\n".join(lines) + "\n"


def table(bars: list[dict[str, Any]]) -> str:
    """The bars for the terminal."""
    lines = [f"{'name':<18}{'value':>10}{'bar':>10}  met"]
    for bar in bars:
        sign = "≥" if bar["name"] in AT_LEAST else "≤"
        lines.append(f"{bar['name']:<18}{bar['value']:>10.3f}{sign + format(bar['bar'], 'g'):>10}  {bar['met']}")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
