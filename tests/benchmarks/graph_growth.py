"""Ingest of more and more interactions, from Parquet sources to the loaded graph: time and memory of each."""

import json
import os
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

from tests.benchmarks.graph_data import write_sources

EVERY = 0.2
"""Seconds between two looks at the memory."""


def growth(folder: Path, sizes: list[int]) -> list[dict[str, Any]]:
    """For each number of interactions: seconds, peak MiB of all processes together, and what was made of them."""
    found = []
    for size in sizes:
        project = write_sources(folder / str(size), size)
        found.append({"interactions": size, **_measured(project, folder / str(size))})
    return found


def _measured(project: Path, folder: Path) -> dict[str, Any]:
    """Ingest in a process of its own, which starts Spark and a Neo4j."""
    environment = os.environ | {
        "CROSSGRAPH_HOME": str(folder / "home"),
        "CROSSGRAPH_RUNS": str(folder / "runs"),
        "CROSSGRAPH_PREFECT": "false",
    }
    begun = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-m", __name__, str(project)], env=environment)
    process, peak = psutil.Process(child.pid), 0
    while child.poll() is None:
        peak = max(peak, _memory(process))
        time.sleep(EVERY)
    seconds = time.perf_counter() - begun
    subprocess.run([sys.executable, "-m", "flows.cli", "neo4j", "stop", str(project)], env=environment, check=True)
    if child.returncode:
        raise SystemExit(f"the ingest of {project} failed")
    [report] = (folder / "runs" / "growth").glob("run.json")
    run = json.loads(report.read_text())
    return {"seconds": seconds, "peak_mib": peak / 2**20, "by_stage": run.get("seconds"), "run": run.get("stages")}


def _memory(process: psutil.Process) -> int:
    """Bytes that a process and all below it hold; what they share is counted once for each."""
    total = 0
    for each in [process, *_below(process)]:
        try:
            total += each.memory_info().rss
        except psutil.Error:
            continue
    return total


def _below(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def steepest(found: list[dict[str, Any]]) -> float:
    """The largest ratio of time's or memory's growth to the data's between neighbouring sizes."""
    ratios = [
        (after[what] / before[what]) / (after["interactions"] / before["interactions"])
        for before, after in pairwise(found)
        for what in ("seconds", "peak_mib")
    ]
    return max(ratios)


def plot(found: list[dict[str, Any]], path: Path) -> None:
    """Seconds and memory over interactions, both axes logarithmic; the same figures give the same file."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.hashsalt": "crossgraph", "svg.fonttype": "none"}
    from matplotlib import pyplot

    counts = [each["interactions"] for each in found]
    figure, axes = pyplot.subplots(figsize=(5, 3), layout="constrained")
    beside = axes.twinx()
    lines = axes.plot(counts, [each["seconds"] for each in found], "o-", color="C0", label="seconds")
    lines += beside.plot(counts, [each["peak_mib"] / 1024 for each in found], "s--", color="C1", label="peak GiB")
    axes.set(xscale="log", yscale="log", xlabel="interactions", ylabel="seconds")
    beside.set(ylabel="GiB", ylim=(0, None))
    axes.legend(handles=lines)
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)


def markdown(found: list[dict[str, Any]]) -> str:
    """The figures as a table."""
    lines = ["| interactions | seconds | interactions/s | peak memory, GiB |", "| ---: | ---: | ---: | ---: |"]
    for each in found:
        count, seconds = each["interactions"], each["seconds"]
        lines.append(f"| {count:,} | {seconds:.0f} | {count / seconds:,.0f} | {each['peak_mib'] / 1024:.1f} |")
    return "\n".join(lines) + "\n"


def ingest(project: str) -> None:
    """Sources to the loaded graph, as `crossgraph ingest` begins."""
    from flows.ingest import load_graph, make_tables
    from flows.tasks import opened

    with opened(project, [], "ingest") as run:
        load_graph(run, make_tables(run))


if __name__ == "__main__":
    ingest(sys.argv[1])
