"""What a snapshot's relationships say of its items, in words; interactions are left out."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import pyarrow as pa

from embed.snapshot import Snapshot
from kg.schema import EdgeType

NAMES = ("name", "title", "label")
"""Properties that name a node; without one its text's first line does, and without a text its key."""


@dataclass(frozen=True)
class Item:
    """An item that has both a text and neighbours."""

    text: str
    facts: tuple[str, ...]
    """What its relationships say without naming it: "directed by Michael Mann"."""
    triples: tuple[str, ...]
    """The same with its name: "Heat — directed by — Michael Mann"."""


@dataclass(frozen=True)
class Corpus:
    """A catalogue in words."""

    items: tuple[Item, ...]
    texts: tuple[str, ...]
    """The texts of all nodes but users, each once."""


def verbalise(snapshot: Snapshot, relations: Collection[str] | None = None) -> Corpus:
    """Items with text and neighbours, in the order of labels and rows.

    Relationships are those of the types `relations`, by default all; never interactions, never what was computed from
    them, never those of users.
    """
    said: dict[str, list[dict[str, str]]] = {
        label: [{} for _ in range(snapshot.count(label))]
        for label, of in sorted(snapshot.labels.items())
        if of["side"] == "item"
    }
    names = {label: _names(table) for label, table in snapshot.nodes.items()}
    for edge in _spoken(snapshot, relations):
        words = edge.type.lower().replace("_", " ")
        for src, dst in zip(*(snapshot.edges[edge][end].to_pylist() for end in ("src", "dst")), strict=True):
            subject, object_ = names[edge.source][src], names[edge.target][dst]
            triple = f"{subject} — {words} — {object_}"
            if edge.source in said:
                said[edge.source][src][triple] = f"{words} {object_}"
            if edge.target in said:
                said[edge.target][dst][triple] = f"{subject} {words}"
    items = [
        Item(text, tuple(facts.values()), tuple(facts))
        for label, of in said.items()
        for text, facts in zip(_texts(snapshot.nodes[label]), of, strict=True)
        if text and facts
    ]
    return Corpus(tuple(items), tuple(dict.fromkeys(_all_texts(snapshot))))


def _spoken(snapshot: Snapshot, relations: Collection[str] | None) -> list[EdgeType]:
    users = {label for label, of in snapshot.labels.items() if of["side"] == "user"}
    return [
        edge
        for edge, meta in sorted(snapshot.edge_meta.items())
        if edge in snapshot.edges
        and not (meta["interaction"] or meta.get("derived") or users & {edge.source, edge.target})
        and (relations is None or edge.type in relations)
    ]


def _names(table: pa.Table) -> list[str]:
    columns = [
        table[name].to_pylist()
        for name in NAMES
        if name in table.column_names and pa.types.is_string(table.schema.field(name).type)
    ]
    titles = [text.split("\n", 1)[0] if text else None for text in _texts(table)]
    return [next(filter(None, row)) for row in zip(*columns, titles, table["key"].to_pylist(), strict=True)]


def _texts(table: pa.Table) -> list[str | None]:
    found: list[str | None] = table["text"].to_pylist() if "text" in table.column_names else [None] * len(table)
    return found


def _all_texts(snapshot: Snapshot) -> Iterator[str]:
    for label, table in sorted(snapshot.nodes.items()):
        if snapshot.labels[label]["side"] != "user":
            yield from filter(None, _texts(table))
