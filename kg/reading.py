"""All sources of a graph read: corrected, checked against their contracts, and without who is forgotten."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import MappingProxyType

from pyspark.sql import DataFrame, SparkSession

from kg.contract import check_rows
from kg.contract_config import reading_order
from kg.correct import correct
from kg.corrections import Correction
from kg.forgotten import Forgotten
from kg.forgotten_rows import withhold_unreadable
from kg.landing import Landing
from kg.naming import namings
from kg.project import Graph
from kg.source_rows import Rows
from kg.sources import read
from kg.spark import kept

Corrections = Mapping[str, Sequence[Correction]]
NO_CORRECTIONS: Corrections = MappingProxyType({})
# Two cores are kept busy by jobs that each have a few small tasks and wait for planning in between.
THREADS = 4


def in_threads(function: Callable[[str], None], names: Iterable[str], meanwhile: Iterable[str] = ()) -> None:
    """Call a function for each name in a few threads, and for those of `meanwhile` in this one; errors are raised.

    GraphFrames finds its jar in the main thread only.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        waiting = [pool.submit(function, name) for name in names]
        for name in meanwhile:
            function(name)
        for each in waiting:
            each.result()


def read_sources(
    graph: Graph,
    spark: SparkSession,
    landing: Landing,
    corrections: Corrections,
    forgotten: Forgotten,
    store: Callable[[DataFrame], DataFrame] = kept,
) -> tuple[dict[str, Rows], dict[str, str]]:
    """The rows of every source that is there, and what is left out and why.

    Rows are kept, those of large sources by `store`. A source is read after those that it refers to. Errors are those
    of `kg.sources.read` and `kg.contract.check_rows`.
    """
    present = {name: source for name, source in graph.sources.items() if source.place is not None}
    left_out = {f"sources.{name}": "its path or url is null" for name in graph.sources if name not in present}
    found: dict[str, Rows] = {}

    def load(name: str) -> None:
        source = present[name]
        rows = correct(read(spark, name, source, landing), source, corrections.get(name, ()))
        if contract := source.contract:
            if absent := {other for other, _ in contract.references.values()} - set(present):
                left_out[f"sources.{name}.contract.references"] = f"without {', '.join(sorted(absent))}"
            rows = check_rows(rows, contract, found)
        if forgotten:
            labels = {naming.label for naming in namings(graph, name)}
            rows = replace(rows, frame=withhold_unreadable(rows, labels, forgotten))
        found[name] = replace(rows, frame=store(rows.frame) if rows.large else kept(rows.frame))

    for names in reading_order({name: source.contract for name, source in present.items()}):
        in_threads(load, names)
    return found, left_out
