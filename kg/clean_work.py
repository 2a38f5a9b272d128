"""What an ingest has made so far: what its steps hand one another."""

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame

from kg.forgotten import NOTHING, Forgotten
from kg.mapping import Mapped
from kg.motifs import MotifAccount
from kg.project import Graph, Node, Relationship
from kg.resolve_records import Encode
from kg.schema import EdgeType
from kg.source_rows import Rows
from kg.spark import conform, kept, write, write_split
from kg.stored import drop_stored, stored
from kg.tables import Draft


@dataclass
class Work:
    """What one ingest has made so far; tables are registered as they are written."""

    graph: Graph
    draft: Draft
    encode: Encode | None = None
    forgotten: Forgotten = NOTHING
    rows: dict[str, Rows] = field(default_factory=dict)
    mapped: list[Mapped] = field(default_factory=list)
    lookups: dict[str, DataFrame] = field(default_factory=dict)
    """By label: ``raw`` (a key or an alias of it) and ``key``."""
    left_out: dict[str, str] = field(default_factory=dict)
    keys: dict[str, DataFrame] = field(default_factory=dict)
    """The nodes' keys by label."""
    edges: dict[EdgeType, str] = field(default_factory=dict)
    """The relationship part that each edge type comes from."""
    existing: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What the next stages must know of labels that exist in Neo4j already."""
    resolved: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What resolution did, by label or edge type."""
    motifs: dict[EdgeType, MotifAccount] = field(default_factory=dict)

    def keep(self, frame: DataFrame, part: Node | Relationship, *together: str) -> DataFrame:
        """What a part maps to, computed once; rows with equal columns `together` lie in one place, if in memory."""
        if any(self.rows[name].large for name in self.graph.sources_of(part) if name in self.rows):
            return self.store(frame)
        return kept(frame.repartition(*together) if together else frame)

    def store(self, frame: DataFrame) -> DataFrame:
        """A frame of many rows, computed once and kept on disk until `drop_rows`."""
        return stored(frame, self.draft)

    def drop_rows(self) -> None:
        """Let go of the rows and what they map to: all that comes after the accounts reads what is written."""
        for done in (self.rows, self.mapped, self.lookups):
            done.clear()
        drop_stored(self.draft)

    def write(self, table: str, frame: DataFrame, schema: pa.Schema) -> None:
        """Write a table, checked against its schema."""
        write(self.draft, table, conform(frame, schema))
        self.draft.adopt(table, schema)

    def write_split(self, frame: DataFrame, column: str, schema: pa.Schema) -> None:
        """Write the tables that a column names, checked against their schema."""
        for table in write_split(self.draft, frame, column):
            self.draft.adopt(table, schema)
