"""Entity resolution's quality on sets with known truth, and its cost at three sizes.

    python -m tests.benchmarks.resolution --json F [--sizes 10000,100000,1000000] [--records 20000]

The settings below were chosen on seed 1; all figures are of other seeds, and of a second mix of noise. Precision and
recall are pairwise: of all pairs of records that were merged, or that are one in truth. Their bars hold for every set
(the mean of its seeds) and for every size, the skewed set too. `cost` is the largest ratio of the growth of compared
pairs, or of seconds, to the growth of records, from each size to the next.
"""

import argparse
import json
import time
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from kg.jars import default_cache, find_jars
from kg.java import find_java
from kg.resolution import Resolution
from kg.resolve import resolve
from kg.spark import kept, session
from tests.benchmarks.persons import Noise, persons
from tests.benchmarks.products import products

EMAIL = "regexp_replace(lower(trim(email)), '[+][^@]*@', '@')"
DIGITS = "regexp_replace(phone, '[^0-9]', '')"
BORN = "coalesce(to_date(born), to_date(born, 'dd.MM.yyyy'))"
NAME = "concat_ws(' ', first, last)"
SOUND = f"array_join(array_sort(transform(split(lower({NAME}), ' '), x -> soundex(x))), ' ')"
INITIALS = "array_join(array_sort(array(left(lower(first), 1), left(lower(last), 1))), '')"
MODEL = "'[A-Z]{2}[- ]?[0-9]{3,}'"
CODE = f"regexp_replace(regexp_extract(title, {MODEL}, 0), '[- ]', '')"
FILLERS = "array('', 'new', 'original', 'genuine', 'premium', 'set', 'pack', 'free', 'shipping', 'sale')"
WORDS = f"array_sort(array_except(split(lower(regexp_replace(title, {MODEL}, '')), ' '), {FILLERS}))"
PERSONS = Resolution.model_validate(
    {
        # What one expression names must stay few however many persons there are. A birthday with one initial did
        # not: from 100 thousand to a million records its pairs grew 32 times, with both initials 13 times. A block of
        # name and city found no match that these do not, for the two alone are no match; and where a tenth of all
        # persons share a last name and a city, it made a third of the pairs, 15 times more with 10 times the records.
        "block": [
            EMAIL,
            f"right({DIGITS}, 7)",
            f"concat({BORN}, {INITIALS})",
            f"concat({SOUND}, year({BORN}))",
        ],
        "compare": {
            "name": {"value": NAME, "by": "edit", "weight": 2},
            "email": {"value": EMAIL, "by": "equal", "weight": 2, "against": 0.5, "common": 50},
            "phone": {"value": f"right({DIGITS}, 9)", "by": "equal", "weight": 2, "against": 0.5, "common": 50},
            # Two dates of one century have more than half of their signs in common: three edits are no typo.
            "born": {"value": BORN, "by": "edit", "tolerance": 0.3, "weight": 3},
            "city": {"value": "city", "by": "edit", "weight": 0.5, "against": 0.25},
        },
    }
)
PRODUCTS = Resolution.model_validate(
    {
        # Offers of one thing differ in a word at most places: the first two in order, the last two, or one of both.
        "block": [
            CODE,
            f"array_join(slice({WORDS}, 1, 2), ' ')",
            f"array_join(slice(reverse({WORDS}), 1, 2), ' ')",
            f"concat_ws(' ', array_min({WORDS}), array_max({WORDS}))",
        ],
        "compare": {
            "title": {"value": WORDS, "by": "edit", "tolerance": 0.7, "weight": 2},
            "code": {"value": f"nullif({CODE}, '')", "by": "equal", "weight": 4},
            "price": {"value": "ln(price)", "by": "number", "tolerance": 0.2, "weight": 2},
            "brand": {"value": "brand", "by": "edit", "weight": 0.5},
        },
    }
)
OTHER_MIX = Noise(typo=0.2, swapped=0.1, nickname=0.03, missing=0.1, changed=0.12, moved=0.2, reformatted=0.7)
SEEDS = (2, 3, 4)
PRECISION, RECALL, COST = 0.98, 0.90, 1.3


@dataclass(frozen=True)
class Measured:
    """One run of resolution over a set with known truth."""

    records: int
    seconds: float
    compared: int
    windowed: int
    split: int
    precision: float
    recall: float


def measure(spark: SparkSession, table: pa.Table, resolution: Resolution) -> Measured:
    """Resolve a set whose column ``truth`` says who is who; the seconds are those of resolution alone."""
    with TemporaryDirectory() as folder:
        pq.write_table(table, f"{folder}/set.parquet", row_group_size=50_000)
        filled = sum((F.col(n).isNotNull().cast("int") for n in table.column_names if n != "id"), F.lit(0))
        read = spark.read.parquet(folder).withColumnRenamed("id", "key").withColumn("_values", filled)
        nodes = kept(read.repartition(spark.sparkContext.defaultParallelism))
        nodes.count()
        started = time.perf_counter()
        found = resolve("Set", nodes.drop("truth"), resolution)
        assert found.groups is not None
        aliases = kept(found.groups.aliases)
        aliases.count()
        found.groups.matches.write.format("noop").mode("overwrite").save()
        seconds = time.perf_counter() - started
        named = nodes.join(aliases.select(F.col("alias").alias("key"), F.col("key").alias("of")), on="key", how="left")
        groups = named.select("truth", F.coalesce("of", "key").alias("group"))
        sizes = [groups.groupBy(*columns).count() for columns in (["group"], ["truth"], ["group", "truth"])]
        said, true, both = (s.agg(F.sum(F.expr("count * (count - 1) / 2"))).collect()[0][0] for s in sizes)
    figures = found.figures
    counts = {name: figures[name] for name in ("records", "compared", "windowed", "split")}
    measured = Measured(seconds=seconds, precision=both / said, recall=both / true, **counts)
    shown = (
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in asdict(measured).items()
    )
    print(", ".join(shown), flush=True)
    return measured


def quality(spark: SparkSession, records: int) -> dict[str, list[Measured]]:
    """By set: one measurement a seed."""
    made = {
        "persons": [(persons(records, seed), PERSONS) for seed in SEEDS],
        "persons, another mix of noise": [(persons(records, seed, OTHER_MIX), PERSONS) for seed in SEEDS],
        "products": [(products(records, seed), PRODUCTS) for seed in SEEDS],
    }
    found = {}
    for name, sets in made.items():
        print(name, flush=True)
        found[name] = [measure(spark, table, config) for table, config in sets]
    return found


def cost(spark: SparkSession, sizes: list[int]) -> dict[str, list[Measured]]:
    """By set: one measurement a size; of the skewed one a tenth has one name and one city."""
    measure(spark, persons(sizes[0] // 4, 9), PERSONS)  # the first run of a session compiles
    found = {}
    for name, skew in (("even", 0.0), ("skewed", 0.1)):
        print(f"persons, {name}", flush=True)
        found[name] = [measure(spark, persons(size, 5, skew=skew), PERSONS) for size in sizes]
    return found


def growth(measured: list[Measured]) -> float:
    """The worst growth of pairs or seconds over that of records, from a size to the next."""
    ratios = [
        max(after.seconds / before.seconds, after.compared / before.compared) / (after.records / before.records)
        for before, after in pairwise(measured)
    ]
    return max(ratios, default=0.0)


def report(found: dict[str, dict[str, list[Measured]]]) -> dict[str, Any]:
    """All figures, and the bars."""
    sets = [*found["quality"].values(), *([m] for by_size in found["cost"].values() for m in by_size)]
    bars = [
        ("precision", min(mean(m.precision for m in s) for s in sets), PRECISION, False),
        ("recall", min(mean(m.recall for m in s) for s in sets), RECALL, False),
        ("cost", max(growth(measured) for measured in found["cost"].values()), COST, True),
    ]
    return {
        "figures": {part: {n: [asdict(m) for m in ms] for n, ms in by.items()} for part, by in found.items()},
        "bars": [
            {"name": name, "value": value, "bar": bar, "met": value <= bar if below else value >= bar}
            for name, value, bar, below in bars
        ],
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--sizes", default="10000,100000,1000000")
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--memory", default="3g")
    options = parser.parse_args()
    sizes = [int(size) for size in options.sizes.split(",")]
    with session(find_java(), find_jars(default_cache(None)).spark, memory=options.memory) as spark:
        found = {"quality": quality(spark, options.records), "cost": cost(spark, sizes)}
    figures = report(found)
    for bar in figures["bars"]:
        print(f"{bar['name']}: {bar['value']:.4f} (bar {bar['bar']}) {'met' if bar['met'] else 'MISSED'}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
