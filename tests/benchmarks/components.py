"""Seconds of connected components by GraphX and by GraphFrames' own algorithm, on groups as resolution finds them.

    python -m tests.benchmarks.components --pairs 1000,100000,1000000 --json components.json

A group is a chain of two to four records, one in a thousand a chain of twelve. `kg.resolve_groups` chooses by size.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, SparkSession

from kg.jars import default_cache, find_jars
from kg.java import find_java
from kg.resolve_groups import components
from kg.spark import session

ALGORITHMS = ("graphx", "graphframes")


def chains(spark: SparkSession, pairs: int) -> tuple[DataFrame, int]:
    """So many pairs (``left``, ``right``) in any order, and how many groups they make."""
    rng = np.random.default_rng(0)
    lengths = rng.choice([1, 2, 3, 11], pairs, p=[0.7, 0.2, 0.099, 0.001])
    lengths = lengths[: int(np.searchsorted(np.cumsum(lengths), pairs)) + 1]
    group = np.repeat(np.arange(len(lengths)), lengths)[:pairs]
    left = np.arange(pairs) + group
    names = rng.permutation(int(left[-1]) + 2)
    table = pd.DataFrame({"left": names[left], "right": names[left + 1]}).sample(frac=1, random_state=0)
    return spark.createDataFrame(table).localCheckpoint(), int(group[-1]) + 1


def measure(spark: SparkSession, pairs: int, algorithm: str) -> float:
    """Seconds, with the number of groups checked."""
    frame, groups = chains(spark, pairs)
    started = time.perf_counter()
    found = components(frame, algorithm).select("component").distinct().count()
    seconds = time.perf_counter() - started
    if found != groups:
        raise ValueError(f"{algorithm} found {found} groups of {groups}")
    return round(seconds, 2)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", default="1000,100000,1000000")
    parser.add_argument("--memory", default="3g")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found: dict[str, dict[str, float]] = {}
    with session(find_java(), find_jars(default_cache(None)).spark, memory=given.memory) as spark:
        measure(spark, 1000, "graphx")  # the first run of a session compiles
        for pairs in map(int, given.pairs.split(",")):
            found[str(pairs)] = {name: measure(spark, pairs, name) for name in ALGORITHMS}
            print(f"{pairs:>10} pairs: {found[str(pairs)]}", flush=True)
    if given.json:
        given.json.write_text(json.dumps({"seconds": found}, indent=1))


if __name__ == "__main__":
    main()
