"""Where the tables of a workspace name nodes: which column holds keys of which label, and which rows name some."""

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from kg.forgotten import tokens
from kg.naming import namings
from kg.project import Graph
from kg.schema import EdgeType

# What tables with a label's name call its keys: nodes, aliases, what resolution compared and what it kept.
KEYS = ("key", "alias", "kept", "left", "right")
# The same for those with a relationship's name, by its ends.
ENDS = (("from_key", "left"), ("to_key", "right"))
Record = dict[str, Any]
Evaluate = Callable[[str, Sequence[Record]], list[list[str]]]
"""The values of a Spark SQL expression over records: a list each, for `explode(…)` gives several."""


class Ids(Protocol):
    """A set of (label, key)."""

    def holds(self, label: str, key: str) -> bool:
        """Whether a node is in it."""

    def mask(self, label: str, keys: pa.Array | pa.ChunkedArray) -> pa.BooleanArray:
        """Bool[keys]: which keys of a label are in it."""


@dataclass(frozen=True)
class Person:
    """A node by all the external ids that it has had."""

    label: str
    keys: tuple[str, ...]

    def holds(self, label: str, key: str) -> bool:
        """Whether this is the node."""
        return label == self.label and key in self.keys

    def mask(self, label: str, keys: pa.Array | pa.ChunkedArray) -> pa.BooleanArray:
        """Bool[keys]: which of these are the node."""
        wanted = pa.array(self.keys if label == self.label else (), pa.string())
        found = pc.is_in(pc.cast(keys, pa.string()), value_set=wanted)
        return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found


@dataclass(frozen=True)
class Names:
    """Finds the rows that name one of `ids`; `evaluate` is called for keys that are more than a column."""

    graph: Graph
    ids: Ids
    evaluate: Evaluate

    def rows(self, table: str, batch: pa.RecordBatch) -> pa.BooleanArray:
        """Bool[rows]: the rows of a table (under its name in a manifest) that name one of the ids."""
        kind, _, name = table.partition("/")
        if kind == "quarantine":
            return pa.array(
                self.records(name, [json.loads(raw or "{}") for raw in batch["raw"].to_pylist()]), pa.bool_()
            )
        if "edge" in batch.schema.names:
            return self._by_edge(batch)
        none = pa.array([False] * batch.num_rows, pa.bool_())
        masks = [self.ids.mask(label, batch[column]) for column, label in self.columns(table, batch.schema)]
        masks += [self._communities(batch)] if kind == "features" and "community" in batch.schema.names else []
        return reduce(pc.or_, masks, none)

    def columns(self, table: str, schema: pa.Schema) -> list[tuple[str, str]]:
        """(column, label) for each column of keys."""
        kind, _, _ = table.partition("/")
        name = table.rpartition("/")[2]
        if kind == "recommendations":
            items = sorted(label for label, node in self.graph.nodes.items() if node.domain)
            return [("user_id", self.graph.user_label), *(("item_id", label) for label in items)]
        if name.count("-") == 2:
            edge = EdgeType.parse(name)
            ends = [
                (column, label)
                for columns, label in zip(ENDS, (edge.source, edge.target), strict=True)
                for column in columns
            ]
            return [(column, label) for column, label in ends if column in schema.names]
        return [(column, name) for column in KEYS if column in schema.names]

    def _communities(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        """A community is called ``Label:key`` after one of its members."""
        values = [value for value in pc.unique(batch["community"]).to_pylist() if value]
        named = [value for value in values if self.ids.holds(*value.split(":", 1))] if values else []
        return pc.is_in(batch["community"], value_set=pa.array(named, pa.string()))

    @property
    def labels(self) -> list[str]:
        """All labels that the project file makes nodes of."""
        others = {part.triples.node for part in self.graph.relationships.values() if part.triples}
        return sorted({*self.graph.nodes, *others})

    def records(self, source: str, records: Sequence[Record]) -> list[bool]:
        """Which raw rows of a source name one of the ids; one that could not be read does by any field or word."""
        found = [self.line(source, str(record["line"])) if set(record) == {"line"} else False for record in records]
        for naming in namings(self.graph, source):
            if naming.column:
                values = [[text] if (text := as_text(record.get(naming.column))) else [] for record in records]
            else:
                values = self.evaluate(naming.expression, records)
            for number, keys in enumerate(values):
                found[number] = found[number] or any(self.ids.holds(naming.label, key) for key in keys)
        return found

    def line(self, source: str, line: str) -> bool:
        """Whether a field or word of a line is a key of a label that the source names."""
        labels = {naming.label for naming in namings(self.graph, source)}
        return any(self.ids.holds(label, token) for token in tokens(line) for label in labels)

    def _by_edge(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        found = pa.array([False] * batch.num_rows, pa.bool_())
        for name in pc.unique(batch["edge"]).to_pylist():
            edge = EdgeType.parse(name)
            ends = pc.or_(self.ids.mask(edge.source, batch["from_key"]), self.ids.mask(edge.target, batch["to_key"]))
            found = pc.or_(found, pc.and_(pc.equal(batch["edge"], name), ends))
        return found


def as_text(value: Any) -> str | None:
    """A raw value as Spark casts it to a string; None for what is no scalar."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int | float) else None


def records_in(document: Any) -> Iterator[Record]:
    """All objects of a JSON document, at any depth, and those of texts in it that are JSON themselves."""
    if isinstance(document, str) and document.startswith("{"):
        with contextlib.suppress(ValueError):
            document = json.loads(document)
    if isinstance(document, dict):
        yield document
    for inner in document.values() if isinstance(document, dict) else document if isinstance(document, list) else ():
        yield from records_in(inner)
