"""Seconds of each graph feature and motif on made interactions, GraphFrames' own algorithms beside ours.

    python -m tests.benchmarks.features --events 130000 --json features.json

130,000 events of 1,225 users with 2,186 films, popular ones many times, are some 120,000 different relationships.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, SparkSession

from kg.communities import communities
from kg.core_numbers import core_numbers
from kg.feature_config import Motif, PageRank
from kg.features import degrees, page_rank
from kg.jars import default_cache, find_jars
from kg.java import find_java
from kg.motifs import find_motif
from kg.network import neighbours, network
from kg.schema import EdgeType
from kg.spark import graph_frame, session
from kg.triangles import triangles

RATED = EdgeType("User", "RATED", "Film")
SIMILAR = EdgeType("User", "SIMILAR", "User")
GENRES = 20


def made(spark: SparkSession, events: int) -> tuple[dict[str, DataFrame], dict[tuple[str, str], DataFrame]]:
    """Nodes by label and relationships by ends, one seed one result."""
    rng = np.random.default_rng(0)
    counts = {"User": events * 943 // 100_000, "Film": events * 1682 // 100_000, "Genre": GENRES}
    user = (counts["User"] * rng.random(events) ** 1.8).astype(int)
    film = (counts["Film"] * rng.random(events) ** 2.2).astype(int)
    genre = rng.integers(0, GENRES, 2 * counts["Film"])

    def pairs(source: np.ndarray, target: np.ndarray) -> DataFrame:
        table = pd.DataFrame({"from_key": source.astype(str), "to_key": target.astype(str)})
        return spark.createDataFrame(table.drop_duplicates()).localCheckpoint()

    nodes = {
        of: spark.createDataFrame(pd.DataFrame({"key": np.arange(n).astype(str)})).localCheckpoint()
        for of, n in counts.items()
    }
    has = pairs(np.repeat(np.arange(counts["Film"]), 2), genre)
    return nodes, {("User", "Film"): pairs(user, film), ("Film", "Genre"): has}


def measure(spark: SparkSession, events: int) -> dict[str, float]:
    """Seconds by what was computed."""
    nodes, edges = made(spark, events)
    vertices, links = network(nodes, edges)
    links, ids, rated = links.localCheckpoint(), vertices.select("id"), edges["User", "Film"]
    pairs = neighbours(links).localCheckpoint()
    print(f"{links.count()} relationships of {vertices.count()} nodes")
    graph = graph_frame(ids, links)

    def similar(top: int) -> DataFrame:
        return find_motif(Motif(between="User", through="RATED", at_least=3, top=top), SIMILAR, [(RATED, rated)])[0]

    def searched() -> DataFrame:
        found = graph_frame(ids, network(nodes, {("User", "Film"): rated})[1]).find("(a)-[]->(x); (b)-[]->(x)")
        return found.where("a.id < b.id").groupBy("a.id", "b.id").count().where("count >= 3")

    work: dict[str, Callable[[], DataFrame]] = {
        "degree": lambda: degrees(links),
        "pagerank, 20 rounds": lambda: page_rank(ids, links, PageRank()),
        "communities, 5 rounds": lambda: communities(vertices, pairs, list(edges), 5),
        "communities by GraphFrames, 5 rounds": lambda: graph.labelPropagation(maxIter=5),
        "triangles": lambda: triangles(pairs),
        "triangles by GraphFrames": graph.triangleCount,
        "core": lambda: core_numbers(pairs),
        "motif, users who share 3 items, ranked": lambda: similar(20),
        "motif by GraphFrames, all pairs, not ranked": searched,
    }
    _seconds(work["degree"])  # the first run of a session compiles
    found = {}
    for name, frame in work.items():
        found[name] = _seconds(frame)
        print(f"{name:<50}{found[name]:>7.1f} s", flush=True)
    return found


def _seconds(frame: Callable[[], DataFrame]) -> float:
    start = perf_counter()
    # A count alone would leave out columns that it needs not.
    frame().write.format("noop").mode("overwrite").save()
    return round(perf_counter() - start, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=130_000)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with session(find_java(), find_jars(default_cache(None)).spark, memory="2g") as spark:
        seconds = measure(spark, given.events)
    if given.json:
        given.json.write_text(json.dumps({"events": given.events, "seconds": seconds}, indent=1))


if __name__ == "__main__":
    main()
