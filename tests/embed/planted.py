"""A tiny graph with planted tastes: users and items fall into groups, and users like items of their own group."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from embed.config import EmbedConfig
from embed.inputs import View, Views
from embed.snapshot import Snapshot
from kg.ids import IdMap
from kg.interactions import Catalogue, Interactions
from kg.schema import EdgeType, node_schema
from kg.tables import Output, Workspace

USERS, FILMS, BOOKS, GROUPS = 40, 24, 20, 4
LIKES, READS = EdgeType("User", "LIKES", "Film"), EdgeType("User", "READS", "Book")
ABOUT, KIN = EdgeType("Film", "ABOUT", "Topic"), EdgeType("Book", "KIN", "Topic")
META = {
    "labels": {
        "User": {"side": "user", "domain": None},
        "Film": {"side": "item", "domain": "films"},
        "Book": {"side": "item", "domain": "books"},
        "Topic": {"side": "entity", "domain": None},
    },
    "edges": {
        LIKES.name: {"interaction": True, "target": True, "domain": "films"},
        READS.name: {"interaction": True, "target": True, "domain": "books"},
        ABOUT.name: {"interaction": False, "target": False, "domain": None},
        KIN.name: {"interaction": False, "target": False, "domain": None},
    },
}
SMALL = EmbedConfig.model_validate(
    {
        "graph": {"dim": 16, "dropout": 0.0},
        "epochs": 12,
        "batch_size": 64,
        "hidden": 0.5,
        "learning_rate": 0.02,
        "temperature": 0.2,
    }
)


def _nodes(label: str, count: int, columns: dict[str, pa.Array]) -> pa.Table:
    nulls = pa.nulls(count, pa.string())
    given = {"key": [f"{label[0].lower()}{i:02}" for i in range(count)], "text": nulls, "image": nulls} | columns
    own = [pa.field(name, column.type) for name, column in columns.items() if name not in {"text", "image"}]
    return pa.table(given, schema=node_schema(own))


def _liked(items: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    user, item = np.meshgrid(np.arange(USERS), np.arange(items), indexing="ij")
    likely = np.where(user % GROUPS == item % GROUPS, 0.8, 0.05)
    return np.nonzero(generator.random((USERS, items)) < likely)


def write(folder: Path) -> Output:
    """Stage `graph` of the planted graph."""
    generator = np.random.default_rng(7)
    stage = Workspace(folder).stage("graph")
    with stage.create("planted") as draft:
        tables = {
            "nodes/User": _nodes("User", USERS, {"age": pa.array([20 + i % 7 if i else None for i in range(USERS)])}),
            "nodes/Film": _nodes(
                "Film", FILMS, {"kinds": pa.array([["odd", "x"] if i % 2 else ["even"] for i in range(FILMS)])}
            ),
            "nodes/Book": _nodes("Book", BOOKS, {}),
            "nodes/Topic": _nodes("Topic", GROUPS + 1, {}),
        }
        for edge, count in ((LIKES, FILMS), (READS, BOOKS)):
            src, dst = _liked(count, generator)
            time = pa.array(np.arange(len(src)) * 1_000_000).cast(pa.timestamp("us", "UTC"))
            weight = np.arange(len(src)) % 5 + 1.0
            tables[f"edges/{edge.name}"] = pa.table(
                {"src": src, "dst": dst, "last": time, "weight": weight, "positive": weight > 1}
            )
        tables[f"edges/{ABOUT.name}"] = pa.table({"src": np.arange(FILMS), "dst": np.arange(FILMS) % GROUPS})
        tables[f"edges/{KIN.name}"] = pa.table(
            {"src": np.array([0, 0, 1, 2]), "dst": np.array([0, 0, 1, GROUPS]), "why": ["a", "b", None, "a"]}
        )
        for name, table in tables.items():
            draft.write(name, table, table.schema)
        draft.meta = META
    output = stage.current()
    assert output is not None
    return output


def make_catalogue(snapshot: Snapshot) -> Catalogue:
    """Items in the order Book, Film."""
    items = {label: IdMap(label, snapshot.keys(label)) for label in ("Book", "Film")}
    return Catalogue(IdMap("User", snapshot.keys("User")), items, {"Book": "books", "Film": "films"})


def make_views(snapshot: Snapshot) -> Views:
    """Text vectors that tell the group of all items but the first of each label."""
    labels = {}
    for label, count in (("Film", FILMS), ("Book", BOOKS)):
        vectors = np.eye(GROUPS, 8, dtype=np.float32)[np.arange(count) % GROUPS]
        mask = np.arange(count) > 0
        labels[label] = View(vectors * mask[:, None], mask)
    assert snapshot.count("Film") == FILMS
    return Views({"v": labels})


def hold_out(rows: Interactions, share: float = 0.25) -> tuple[Interactions, Interactions]:
    """A random part of the events held out, from a fixed seed."""
    held = np.random.default_rng(3).random(len(rows)) < share
    return rows.take(~held), rows.take(held)


def hit_rate(scores: np.ndarray, held: Interactions) -> float:
    """Share of held-out events whose item is among the user's eight best of all domains."""
    best = np.argsort(-scores, axis=1)[:, :8]
    return float(np.mean([item in best[user] for user, item in zip(held.user, held.item, strict=True)]))


def without(rows: Interactions, user: int) -> Interactions:
    """All events but one user's."""
    return replace(rows.take(rows.user != user))
