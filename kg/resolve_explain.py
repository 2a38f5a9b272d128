"""Why records became one, read from the tables alone: who is kept by what rule, and the pairs with their values."""

import json
from collections import deque
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from kg.errors import ConfigError
from kg.project import Graph
from kg.resolution import Matching, Resolution
from kg.tables import Output

Row = dict[str, Any]


@dataclass(frozen=True)
class Pair:
    """Two records that were found the same."""

    left: str
    right: str
    rule: str
    """The expression that brought them together, with its place (``match[0]``, ``block[1]``)."""
    score: float
    fields: list[tuple[str, str | None, str | None, float | None]]
    """Name, left value, right value and similarity of each compared field."""
    merged: bool = True


@dataclass(frozen=True)
class Explanation:
    """A node and the records that became it."""

    label: str
    kept: str
    reason: str
    merged: dict[str, list[Pair]]
    """By record that became the node: the chain of pairs from it to the node."""
    same: list[tuple[str, Pair]]
    """The nodes of other labels that are the same, by label."""


def explain(tables: Output, graph: Graph, entity: str) -> Explanation:
    """Explain one entity, named ``Label:key`` or, where one label alone has it, by its key (its own or a merged one).

    `ConfigError` when the project resolves nothing, or when no node or several have the key.
    """
    if not (graph.resolution or graph.across):
        raise ConfigError("the project has neither `resolution` nor `across`: no records were merged")
    label, key = _find(tables, entity)
    records = {row["key"]: row for row in _rows(tables, f"records/{label}", "kept", _kept(tables, label, key))}
    kept = next((row["kept"] for row in records.values()), key)
    pairs = _pairs(tables, f"matches/{label}", graph.resolution.get(label), records)
    inside = [pair for pair in pairs if pair.merged]
    merged = {other: _chain(inside, other, kept) for other in sorted(records) if other != kept}
    reason = _reason(kept, list(records.values()), graph.resolution.get(label))
    return Explanation(label, kept, reason, merged, _same(tables, graph, label, kept))


def _find(tables: Output, entity: str) -> tuple[str, str]:
    labels = [name.removeprefix("nodes/") for name in tables.tables("nodes/")]
    label, colon, key = entity.partition(":")
    if colon and label in labels:
        if not _holds(tables, label, key):
            raise ConfigError(f"{entity}: no node or merged record of {label} has the key {key!r}")
        return label, key
    found = [label for label in labels if _holds(tables, label, entity)]
    if len(found) == 1:
        return found[0], entity
    if found:
        raise ConfigError(f"{entity}: {', '.join(found)} all have this key; name one, such as {found[0]}:{entity}")
    raise ConfigError(f"{entity}: no node has this key, expected KEY or LABEL:KEY with a label of {labels}")


def _holds(tables: Output, label: str, key: str) -> bool:
    places = [(f"nodes/{label}", "key"), (f"aliases/{label}", "alias")]
    return any(_rows(tables, table, column, key) for table, column in places)


def _kept(tables: Output, label: str, key: str) -> str:
    return next((row["key"] for row in _rows(tables, f"aliases/{label}", "alias", key)), key)


def _rows(tables: Output, table: str, column: str, value: str) -> list[Row]:
    if table not in tables.manifest.tables:
        return []
    found: list[Row] = tables.scan(table).to_table(filter=pc.field(column) == value).to_pylist()
    return found


def _pairs(tables: Output, table: str, config: Matching | None, records: dict[str, Row]) -> list[Pair]:
    """The matches within a group."""
    if config is None or table not in tables.manifest.tables:
        return []
    keys = pa.array(records, pa.string())
    rows = tables.scan(table).to_table(filter=pc.field("left").isin(keys) & pc.field("right").isin(keys)).to_pylist()
    values = {key: _values(row["values"]) for key, row in records.items()}
    return [
        _pair(row, config, values) for row in sorted(rows, key=lambda row: (-row["score"], row["left"], row["right"]))
    ]


def _pair(row: Row, config: Matching, values: dict[str, dict[str, str]]) -> Pair:
    left, right = values.get(row["left"], {}), values.get(row["right"], {})
    kind, _, number = row["rule"].rstrip("]").partition("[")
    text = getattr(config, kind)[int(number)]
    fields = [
        (name, left.get(name), right.get(name), row[f"similarity_{name}"])
        for name in config.compare
        if name in left or name in right or row[f"similarity_{name}"] is not None
    ]
    if kind == "match":
        shown = str(text) if isinstance(text, str) else "agreed key"
        fields.insert(0, (shown, left.get(shown), right.get(shown), 1.0))
    return Pair(row["left"], row["right"], f"{row['rule']} {text}", row["score"], fields, row["merged"])


def _values(text: str | None) -> dict[str, str]:
    found: dict[str, str] = json.loads(text) if text else {}
    return found


def _chain(pairs: list[Pair], start: str, end: str) -> list[Pair]:
    """The shortest chain of pairs from one record to another."""
    came: dict[str, Pair | None] = {start: None}
    waiting = deque([start])
    while waiting and end not in came:
        here = waiting.popleft()
        for pair in pairs:
            if here in (pair.left, pair.right):
                other = pair.right if here == pair.left else pair.left
                if other not in came:
                    came[other] = pair
                    waiting.append(other)
    chain: list[Pair] = []
    while end != start and (pair_ := came.get(end)) is not None:
        chain.append(pair_)
        end = pair_.left if pair_.right == end else pair_.right
    return chain[::-1]


def _reason(kept: str, records: list[Row], resolution: Resolution | None) -> str:
    """By which of the stated rules the node is the one that is kept."""
    if len(records) < 2 or resolution is None:
        return "no other record was found to be the same"
    (own,) = [row for row in records if row["key"] == kept]
    if resolution.prefer and any(row["prefer"] != own["prefer"] for row in records):
        as_good = [row for row in records if row["prefer"] == own["prefer"]]
        if len(as_good) == 1:
            return f"`prefer` {resolution.prefer} is highest: {own['prefer']}"
        records = as_good
    if len([row for row in records if row["filled"] == own["filled"]]) == 1:
        return f"it has the most values: {own['filled']}"
    return f"its key is the smallest of those with the most values ({own['filled']})"


def _same(tables: Output, graph: Graph, label: str, key: str) -> list[tuple[str, Pair]]:
    """The matches of a node with nodes of other labels."""
    found = []
    for across in graph.across:
        if label in across.between:
            first, second = across.between
            side, other = ("left", second) if label == first else ("right", first)
            edge = f"{first}-{across.type}-{second}"
            for row in _rows(tables, f"matches/{edge}", side, key):
                ends = {row["left"]: f"{first}:{row['left']}", row["right"]: f"{second}:{row['right']}"}
                read = {end: _rows(tables, f"records/{edge}", "key", named) for end, named in ends.items()}
                values = {end: _values(rows[0]["values"]) if rows else {} for end, rows in read.items()}
                found += [(other, _pair(row, across, values))] if row["merged"] else []
    return found
