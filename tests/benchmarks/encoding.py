"""How fast texts and pictures are encoded, as ratios within one run: `python -m tests.benchmarks.encoding --json F`.

Each rate of ours stands beside another way to the same vectors, in turns, on the plots and posters of ML-1M under
`CROSSGRAPH_DATA`. Models are loaded and warm before anything is timed.
"""

import argparse
import copy
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import flows  # noqa: F401 - it tells OpenMP's threads how to wait, before anything loads torch

# ruff: isort: split
import numpy as np
import torch

from embed.cache import VectorCache, _Run, _text_chunks
from embed.config import ImageModel, TextModel
from embed.image import ImageEncoder, read_bytes
from embed.ops import cpu_has_bfloat16
from embed.text import TextEncoder, packaged_folder
from flows.encoding import TEXTS, text_encoder
from kg.tables import Workspace
from kg.vectors import content_hash
from tests.benchmarks.options import chosen, data_folder

NAMES = ("text_rate", "text_rate_udf", "image_rate", "cache")
WITH_BFLOAT16 = {"text_rate": 2.5, "text_rate_udf": 10.0, "image_rate": 4.0}
"""How many times as fast as the other way, on a processor with bfloat16; on any other: no slower."""
CACHE = 0.02
"""Time of a second run through the cache, by the first's."""
COSINE = 1 - 1e-3
"""At least this between our vectors and the other way's, row by row."""
PLAIN_BATCH = 64


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for, print the table and write the figures; 1 where a bar is missed."""
    options = _parser().parse_args(arguments)
    wanted = chosen(options.only, NAMES)
    folder = data_folder() / "ml1m"
    figures = encoding_figures(folder, wanted, options.texts, options.images, options.rounds)
    print(table(figures["bars"]))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0 if all(bar["met"] for bar in figures["bars"]) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.encoding", description=__doc__)
    parser.add_argument("--json", type=Path, help="where all figures go")
    parser.add_argument("--only", help=f"some of {','.join(NAMES)}")
    parser.add_argument("--texts", type=int, default=384, help="plots; a Spark UDF gets half of them")
    parser.add_argument("--images", type=int, default=192, help="posters")
    parser.add_argument("--rounds", type=int, default=3, help="how often each way is measured; medians count")
    return parser


def encoding_figures(folder: Path, wanted: Sequence[str], texts: int, images: int, rounds: int) -> dict[str, Any]:
    """All figures of `wanted` names by the data of ML-1M in `folder`, and under `bars` what became of them."""
    plots, posters = read_plots(folder, texts), read_posters(folder, images)
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "text_rate": lambda: text_rate(plots, rounds),
        "text_rate_udf": lambda: text_rate_udf(plots[::2], rounds),
        "image_rate": lambda: image_rate(posters, rounds),
        "cache": lambda: cache(plots, posters),
    }
    figures: dict[str, Any] = {name: parts[name]() for name in NAMES if name in wanted}
    bars = [bar(name, found) for name, found in figures.items()]
    return {"bars": bars, "bfloat16": cpu_has_bfloat16(), "threads": torch.get_num_threads(), **figures}


def read_plots(folder: Path, count: int) -> list[str]:
    """Plots of films spread evenly over the catalogue."""
    lines = (folder / "omdb_metadata.jsonl").read_text("utf-8").splitlines()
    plots = [plot for line in lines if (plot := json.loads(line).get("Plot")) and plot != "N/A"]
    return plots[:: max(1, len(plots) // count)][:count]


def read_posters(folder: Path, count: int) -> list[str]:
    """Paths of posters spread evenly over the catalogue."""
    paths = sorted(map(str, (folder / "posters").glob("*.jpg")))
    return paths[:: max(1, len(paths) // count)][:count]


def text_rate(texts: list[str], rounds: int) -> dict[str, Any]:
    """Beside sentence-transformers' `encode` at its defaults."""
    from sentence_transformers import SentenceTransformer

    encoder, other = TextEncoder(TextModel(), "cpu"), SentenceTransformer(str(packaged_folder()), device="cpu")
    return in_turns(
        {
            "ours": lambda: encoder.encode(texts),
            "other": lambda: _unit(other.encode(texts, show_progress_bar=False)),
        },
        rounds,
    )


def text_rate_udf(texts: list[str], rounds: int) -> dict[str, Any]:
    """On local Spark with two tasks at once: beside a UDF that sentence-transformers encodes one row at a time for."""
    from pyspark.sql import DataFrame
    from pyspark.sql import functions as F

    def by_row(text: str) -> list[float]:
        vector: list[float] = _sentence_transformer().encode(text, show_progress_bar=False).tolist()
        return vector

    def vectors(frame: DataFrame) -> np.ndarray:
        found = {row.text: row.vector for row in frame.collect()}
        return _unit(np.array([found[text] for text in texts], np.float32))

    with _spark() as spark:
        frame = spark.createDataFrame([(text,) for text in texts], "text string").repartition(2).cache()
        udf = F.udf(by_row, "array<float>")
        return in_turns(
            {
                "ours": lambda: vectors(frame.mapInArrow(text_encoder(TextModel(), "cpu"), TEXTS)),
                "other": lambda: vectors(frame.select("text", udf("text").alias("vector"))),
            },
            rounds,
        )


_LOADED: list[Any] = []


def _sentence_transformer() -> Any:
    """The model of a worker process, loaded once."""
    if not _LOADED:
        from sentence_transformers import SentenceTransformer

        _LOADED.append(SentenceTransformer(str(packaged_folder()), device="cpu"))
    return _LOADED[0]


def _spark() -> Any:
    from kg.jars import default_cache, install_jars
    from kg.java import find_java
    from kg.spark import session

    java, options = find_java(), os.environ.get("CROSSGRAPH_JAVA_OPTIONS", "")
    own = os.environ.get("CROSSGRAPH_CACHE")
    folder = Path(own) if own else default_cache(os.environ.get("XDG_CACHE_HOME"))
    jars = install_jars(folder, java, options)
    return session(java, jars.spark, master="local[2]", memory="1g", java_options=options)


def image_rate(paths: list[str], rounds: int) -> dict[str, Any]:
    """Beside a plain float32 loop of the same tower over batches of 64 that are decoded already; ours has to decode.

    `ours_decoded` is ours over decoded batches too, `other_from_files` the loop with its decoding.
    """
    encoder = ImageEncoder(ImageModel(), "cpu")
    plain = copy.deepcopy(encoder.tower).to(memory_format=torch.contiguous_format)

    def decoded(size: int) -> Iterator[torch.Tensor]:
        for start in range(0, len(paths), size):
            yield torch.stack([p for p in map(encoder._decode, paths[start : start + size]) if p is not None])

    def loop(batches: Iterator[torch.Tensor] | list[torch.Tensor]) -> np.ndarray:
        with torch.no_grad():
            return _unit(torch.cat([plain(batch) for batch in batches]).numpy())

    large, small = list(decoded(PLAIN_BATCH)), list(decoded(encoder.config.batch_size))
    return in_turns(
        {
            "ours": lambda: encoder.encode(paths)[0],
            "other": lambda: loop(large),
            "ours_decoded": lambda: torch.cat([encoder._batch(batch) for batch in small]).numpy(),
            "other_from_files": lambda: loop(decoded(PLAIN_BATCH)),
        },
        rounds,
    )


def cache(texts: list[str], paths: list[str]) -> dict[str, Any]:
    """Two runs through one cache, each hashing contents, looking up, encoding what is new; models are loaded before,
    and their weights hashed (0.4 s)."""
    encoder, looker = TextEncoder(TextModel(), "cpu"), ImageEncoder(ImageModel(), "cpu")
    models = {"text": encoder.fingerprint, "image": looker.fingerprint}
    runs: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(prefix="crossgraph-benchmark-") as folder:
        for _ in range(2):
            started, encoded = time.perf_counter(), 0
            for fingerprint, encode, values, content in (
                (models["text"], _text_chunks(encoder), texts, str.encode),
                (models["image"], looker.encode, paths, read_bytes),
            ):
                run = _Run(VectorCache(Workspace(folder), fingerprint), encode, "", None)
                run.encode([content_hash(content(value)) for value in values], list(values))
                encoded += run.figures.encoded
            runs.append({"seconds": time.perf_counter() - started, "encoded": encoded})
    return {"runs": runs, "ratio": runs[1]["seconds"] / runs[0]["seconds"], "encoded": runs[1]["encoded"]}


def in_turns(ways: dict[str, Callable[[], np.ndarray]], rounds: int) -> dict[str, Any]:
    """Seconds of each way, wall clock and this process's, and how near the others' vectors are to `ours`.

    `ratio` is the median time of `other` by that of `ours`.
    """
    first = {name: way() for name, way in ways.items()}
    cosine = min(float((first["ours"] * vectors).sum(1).min()) for vectors in first.values())
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    processor: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds):
        for name in list(ways)[:: 1 if turn % 2 else -1]:
            wall, own = time.perf_counter(), time.process_time()
            ways[name]()
            seconds[name].append(time.perf_counter() - wall)
            processor[name].append(time.process_time() - own)
    median = {name: statistics.median(found) for name, found in seconds.items()}
    return {
        "rows": len(first["ours"]),
        "ratio": median["other"] / median["ours"],
        "minimum_cosine": cosine,
        "per_second": {name: len(first["ours"]) / taken for name, taken in median.items()},
        "seconds": seconds,
        "processor_seconds": processor,
    }


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def bar(name: str, figures: dict[str, Any]) -> dict[str, Any]:
    """A figure beside its bar; a rate also needs equal vectors, the cache nothing encoded."""
    value = figures["ratio"]
    if name == "cache":
        return {"name": name, "value": value, "bar": CACHE, "met": value < CACHE and figures["encoded"] == 0}
    wanted = WITH_BFLOAT16[name] if cpu_has_bfloat16() else 1.0
    return {"name": name, "value": value, "bar": wanted, "met": value >= wanted and figures["minimum_cosine"] >= COSINE}


def table(bars: list[dict[str, Any]]) -> str:
    """The bars for the terminal."""
    lines = [f"{'name':<18}{'value':>10}{'bar':>10}  met"]
    for found in bars:
        sign = "<" if found["name"] == "cache" else "≥"
        lines.append(
            f"{found['name']:<18}{found['value']:>10.3f}{sign + format(found['bar'], 'g'):>10}  {found['met']}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
