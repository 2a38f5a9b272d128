"""A sparse graph that changes: a long row of small circles, each with users, films, a book and what films are about.

Its nodes are dictionaries by external id, so that a test can add and remove them; row numbers shift then.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa

from embed.inputs import View, Views
from embed.snapshot import Snapshot, own_interactions
from kg.ids import IdMap
from kg.interactions import Catalogue, Interactions
from kg.schema import EdgeType, node_schema

CIRCLES = 40
WIDTH = 12
LABELS = {
    "User": {"side": "user", "domain": None},
    "Film": {"side": "item", "domain": "films"},
    "Book": {"side": "item", "domain": "books"},
    "Topic": {"side": "entity", "domain": None},
    "Maker": {"side": "entity", "domain": None},
}
LIKES, READS = EdgeType("User", "LIKES", "Film"), EdgeType("User", "READS", "Book")
ABOUT, MADE_BY = EdgeType("Film", "ABOUT", "Topic"), EdgeType("Film", "MADE_BY", "Maker")
DOMAINS = {LIKES: "films", READS: "books"}


@dataclass
class Data:
    """What a model is given of a world."""

    snapshot: Snapshot
    views: Views
    catalogue: Catalogue
    events: Interactions


@dataclass
class World:
    """Nodes with what they bring, and edges by the keys of their ends."""

    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By label and key: a number, null for none"""
    texts: dict[str, str] = field(default_factory=dict)
    """By an item's key"""
    edges: dict[EdgeType, dict[tuple[str, str], float]] = field(default_factory=dict)
    """Weights by ends"""

    def copy(self) -> "World":
        return copy.deepcopy(self)

    def remove(self, label: str, key: str) -> None:
        """A node with its edges."""
        del self.nodes[label][key]
        self.texts.pop(key, None)
        for edge, ends in self.edges.items():
            self.edges[edge] = {
                (src, dst): weight
                for (src, dst), weight in ends.items()
                if (edge.source, src) != (label, key) and (edge.target, dst) != (label, key)
            }

    def data(self) -> Data:
        keys = {label: sorted(found) for label, found in self.nodes.items()}
        row = {label: {key: i for i, key in enumerate(found)} for label, found in keys.items()}
        edges = {}
        for edge, ends in self.edges.items():
            weights = pa.array(list(ends.values()), pa.float64())
            columns = {
                "src": pa.array([row[edge.source][src] for src, _ in ends], pa.int64()),
                "dst": pa.array([row[edge.target][dst] for _, dst in ends], pa.int64()),
            }
            if edge in DOMAINS:
                # The moment of an event is its own, whatever else there is.
                moments = pa.array([crc32(f"{ends}".encode()) * 10_000 for ends in ends], pa.int64())
                columns |= {"weight": weights, "last": moments.cast(pa.timestamp("us", "UTC"))}
            edges[edge] = pa.table(columns)
        meta = {edge: {"interaction": edge in DOMAINS, "target": True, "domain": DOMAINS.get(edge)} for edge in edges}
        snapshot = Snapshot({label: self._table(label, found) for label, found in keys.items()}, edges, LABELS, meta)
        ids = {label: IdMap(label, snapshot.keys(label)) for label in ("Book", "Film")}
        catalogue = Catalogue(IdMap("User", snapshot.keys("User")), ids, {"Book": "books", "Film": "films"})
        views = Views({"v": {label: self._view(keys[label]) for label in ("Film", "Book")}})
        return Data(snapshot, views, catalogue, own_interactions(snapshot, catalogue))

    def _table(self, label: str, keys: list[str]) -> pa.Table:
        numbers = pa.array([self.nodes[label][key] for key in keys], pa.float64())
        own = {"number": numbers} if label in ("User", "Maker") else {}
        schema = node_schema([pa.field("number", pa.float64())] if own else [])
        nulls = pa.nulls(len(keys), pa.string())
        return pa.table({"key": keys, "text": nulls, "image": nulls} | own, schema=schema)

    def _view(self, keys: list[str]) -> View:
        vectors = np.zeros((len(keys), WIDTH), np.float32)
        for i, key in enumerate(keys):
            if text := self.texts.get(key):
                row = np.random.default_rng(crc32(text.encode())).standard_normal(WIDTH)
                vectors[i] = row / np.linalg.norm(row)
        return View(vectors, vectors.any(1))


def world() -> World:
    """Circles of three users, three films, a book, a topic and a maker; a user of each knows a film of the next."""
    made = World({label: {} for label in LABELS}, {}, {edge: {} for edge in (LIKES, READS, ABOUT, MADE_BY)})
    for c in range(CIRCLES):
        topic, maker, book = f"t{c:02}", f"m{c:02}", f"b{c:02}"
        made.nodes["Topic"][topic], made.nodes["Maker"][maker], made.nodes["Book"][book] = None, c % 7, None
        made.texts[book] = f"a book about {topic}"
        for i in range(3):
            user, film = f"u{c:02}{i}", f"f{c:02}{i}"
            made.nodes["User"][user], made.nodes["Film"][film] = 20 + (c * 3 + i) % 11, None
            made.edges[LIKES][user, film] = made.edges[LIKES][user, f"f{c:02}{(i + 1) % 3}"] = 1.0 + i
            made.edges[ABOUT][film, topic] = 1.0
            if i:
                made.texts[film] = f"film {film} on {topic}"
        made.edges[MADE_BY][f"f{c:02}0", maker] = made.edges[MADE_BY][f"f{c:02}1", maker] = 1.0
        made.edges[READS][f"u{c:02}0", book] = made.edges[READS][f"u{c:02}1", book] = 1.0
        if c + 1 < CIRCLES:
            made.edges[LIKES][f"u{c:02}2", f"f{c + 1:02}0"] = 1.0
    return made


def _new_user(of: World, c: int) -> None:
    of.nodes["User"][f"new{c}"] = 33
    of.edges[LIKES][f"new{c}", f"f{c:02}1"] = 2.0
    of.edges[READS][f"new{c}", f"b{c:02}"] = 1.0


def _new_item(of: World, c: int) -> None:
    of.nodes["Film"][f"a{c}"] = None
    of.texts[f"a{c}"] = "nobody has seen this"
    of.edges[ABOUT][f"a{c}", f"t{c:02}"] = 1.0


def _new_item_alone(of: World, c: int) -> None:
    of.nodes["Book"][f"alone{c}"] = None
    of.texts[f"alone{c}"] = "nobody has read this"


def _age(of: World, c: int) -> None:
    of.nodes["User"][f"u{c:02}0"] = 77


def _fame(of: World, c: int) -> None:
    of.nodes["Maker"][f"m{c:02}"] = 5.5


def _text(of: World, c: int) -> None:
    of.texts[f"f{c:02}0"] = "at last there is a text"
    of.texts[f"b{c:02}"] = "another text"


def _no_event(of: World, c: int) -> None:
    del of.edges[LIKES][f"u{c:02}0", f"f{c:02}1"]


def _weight(of: World, c: int) -> None:
    of.edges[LIKES][f"u{c:02}1", f"f{c:02}1"] = 4.5


def _no_film(of: World, c: int) -> None:
    of.remove("Film", f"f{c:02}1")


def _no_user(of: World, c: int) -> None:
    of.remove("User", f"u{c:02}1")


def _no_topic(of: World, c: int) -> None:
    of.remove("Topic", f"t{c:02}")


def _link(of: World, c: int) -> None:
    of.edges[ABOUT][f"f{c:02}0", f"t{(c + 9) % CIRCLES:02}"] = 1.0


def _leaf(of: World, c: int) -> None:
    """The topic keeps one neighbour, so that it says nothing any more."""
    for i in range(2):
        del of.edges[ABOUT][f"f{c:02}{i}", f"t{c:02}"]


CHANGES: list[Callable[[World, int], None]] = [
    _new_user,
    _new_item,
    _new_item_alone,
    _age,
    _fame,
    _text,
    _no_event,
    _weight,
    _no_film,
    _no_user,
    _no_topic,
    _link,
    _leaf,
]
"""Each changes something in the circle of that number."""
