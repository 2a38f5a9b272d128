"""Vectors for the small graph, two provenances, and how they are published."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from kg.schema import embedding_schema
from kg.write_back import Provenance

FIRST = Provenance("v1", "graphsage", "w1", "in1", "run1", "2026-01-01T00:00:00+00:00")
SECOND = replace(FIRST, version="v2", run="run2")
KEYS = {"User": ["ann", "bob", "ćeda"], "Film": ["f2", "f1", "f10"], "Book": ["b1", "f1"], "Genre": ["Drama", "Sci-Fi"]}
Figures = dict[str, Any]
Publish = Callable[..., Figures]


def unit(rng: np.random.Generator, width: int) -> list[float]:
    vector = rng.normal(size=width)
    return list((vector / np.linalg.norm(vector)).astype(np.float32))


def vectors(width: int = 8, seed: int = 0, **changed: dict[str, list[Any]]) -> dict[str, pa.Table]:
    """Vectors of all nodes; genres have a graph view only, and the first of each label has no picture."""
    rng = np.random.default_rng(seed)
    found = {}
    for label, keys in KEYS.items():
        columns: dict[str, Any] = {"key": keys, "h": [unit(rng, 4) for _ in keys]}
        if label != "Genre":
            columns["c"] = [None, *(unit(rng, 5) for _ in keys[1:])]
            columns["z"] = [unit(rng, width) for _ in keys]
        columns |= changed.get(label, {})
        found[label] = pa.table(columns, embedding_schema([name for name in columns if name != "key"]))
    return found
