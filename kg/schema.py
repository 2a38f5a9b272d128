"""Arrow schemas of the tables between stages: every column and type is written here, once.

A node table's columns are `NODE` around the label's own properties, a relationship table's are
`RELATIONSHIP` (or `INTERACTION`) around the type's own. Spark's schemas are derived from these.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import pyarrow as pa

from kg.errors import ContractError

INSTANT = pa.timestamp("us", "UTC")
VECTOR = pa.list_(pa.float32())


@dataclass(frozen=True, order=True)
class EdgeType:
    """A relationship type between two labels: DGL's canonical edge type."""

    source: str
    type: str
    target: str

    @property
    def name(self) -> str:
        """The name of its table: ``User-RATED-Movie``."""
        return f"{self.source}-{self.type}-{self.target}"

    @classmethod
    def parse(cls, name: str) -> Self:
        """Inverse of `name`; labels and types hold no hyphen (the project file sees to it)."""
        return cls(*name.split("-"))


KEY = pa.field("key", pa.string(), nullable=False)
TEXT = pa.field("text", pa.string())
IMAGE = pa.field("image", pa.string())
ENDS = (pa.field("from_key", pa.string(), nullable=False), pa.field("to_key", pa.string(), nullable=False))
INDICES = (pa.field("src", pa.int64(), nullable=False), pa.field("dst", pa.int64(), nullable=False))
ROW_ID = pa.field("row_id", pa.string(), nullable=False)

# One row an event that was accepted; what a cut is made from.
EVENT = pa.schema(
    [ROW_ID, *ENDS, pa.field("time", INSTANT), pa.field("weight", pa.float64()), pa.field("positive", pa.bool_())]
)

# One row a pair of ends: its events aggregated. `weight` is the last event's, `positive` whether any event was.
INTERACTION_COLUMNS = (
    pa.field("count", pa.int64(), nullable=False),
    pa.field("first", INSTANT),
    pa.field("last", INSTANT),
    pa.field("weight", pa.float64()),
    pa.field("positive", pa.bool_()),
)

# `row` is the line of a text file (the header is line 1), the row number elsewhere, the path for an image.
QUARANTINE = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("file", pa.string()),
        pa.field("row", pa.string()),
        pa.field("raw", pa.string()),  # the values as read, as a JSON object
        pa.field("table", pa.string(), nullable=False),  # the table it would have gone to, or "" for the reader
        pa.field("reason", pa.string(), nullable=False),  # null_key, bad_type:<column>, rule:<name>, unique:<column>, …
    ]
)

# What became of each correction of a source: corrected, dropped, or stale (its row is gone or has other values by now).
CORRECTION = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("file", pa.string(), nullable=False),
        pa.field("row", pa.string(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
    ]
)

# Which record became which: keys that were merged into another one of the same label.
ALIAS = pa.schema([pa.field("alias", pa.string(), nullable=False), pa.field("key", pa.string(), nullable=False)])

# What resolution read of every node in a group: `kept` is the key that stands for the group, `prefer` and `filled`
# (columns that are not null) are what chose it, `values` a JSON object of what was compared.
RECORD = pa.schema(
    [
        KEY,
        pa.field("kept", pa.string(), nullable=False),
        pa.field("prefer", pa.string()),
        pa.field("filled", pa.int64()),
        pa.field("values", pa.string()),
    ]
)

# Nodes of two labels that are the same.
SAME = [pa.field("score", pa.float64())]

# Graph features of all rows: node properties in Neo4j, never in a snapshot. A table has those that the project wants.
FEATURE = pa.schema(
    [
        KEY,
        pa.field("degree", pa.int64()),
        pa.field("in_degree", pa.int64()),
        pa.field("out_degree", pa.int64()),
        pa.field("pagerank", pa.float64()),
        pa.field("community", pa.string()),
        pa.field("triangles", pa.int64()),
        pa.field("core", pa.int64()),
    ]
)

# What a model saw of a node, as digests: its own row, and its edges along attributes and along interactions.
SEEN = pa.schema([KEY, *(pa.field(part, pa.binary(16)) for part in ("own", "attributes", "interactions"))])

# The matrix that turns a model's vectors into the space in which they are published, a row a row.
ROTATION = pa.schema([pa.field("row", VECTOR)])

# What a motif's relationships have: how many nodes both ends share, and its ratio to how many either has (Jaccard).
MOTIF_COLUMNS = (pa.field("shared", pa.int64(), nullable=False), pa.field("jaccard", pa.float64(), nullable=False))

# The evaluation cut: one row an event, and the side of the cut it lies on (train, valid, test or none).
CUT = pa.schema([pa.field("edge", pa.string(), nullable=False), *EVENT, pa.field("split", pa.string(), nullable=False)])

RECOMMENDATION = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("domain", pa.string(), nullable=False),
        pa.field("rank", pa.int32(), nullable=False),  # from 1
        pa.field("score", pa.float64(), nullable=False),  # softmax over the user's candidates in that domain
        pa.field("reason", pa.string(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
    ]
)


def node_schema(properties: Iterable[pa.Field]) -> pa.Schema:
    """Key, the label's own properties, text and image (a path or URI); one row a node."""
    return pa.schema([KEY, *properties, TEXT, IMAGE])


def relationship_schema(properties: Iterable[pa.Field], *, interaction: bool) -> pa.Schema:
    """Ends, identity, what interactions aggregate to, and the type's own properties; one row a relationship.

    `row_id` is the relationship's identity: a digest of its ends and of what else its `key` names.
    """
    return pa.schema([ROW_ID, *ENDS, *(INTERACTION_COLUMNS if interaction else ()), *properties])


def edge_schema(properties: Iterable[pa.Field], *, interaction: bool) -> pa.Schema:
    """A relationship table in a snapshot: as `relationship_schema`, but its ends are row numbers of the node tables."""
    wanted = relationship_schema(properties, interaction=interaction)
    return pa.schema([*INDICES, *(field for field in wanted if field not in ENDS)])


def feature_schema(columns: Iterable[str]) -> pa.Schema:
    """Key and the columns of `FEATURE` that are named; one row a node."""
    return pa.schema([KEY, *(FEATURE.field(name) for name in columns)])


def embedding_schema(views: Iterable[str]) -> pa.Schema:
    """Key and one vector a view (``h``, ``v``, ``c``, ``z``); null where a node lacks the view."""
    return pa.schema([KEY, *(pa.field(view, VECTOR) for view in views)])


def check(name: str, found: pa.Schema, wanted: pa.Schema) -> None:
    """Raise `ContractError` unless `found` has the columns and types of `wanted`, in any order."""
    if missing := [field.name for field in wanted if field.name not in found.names]:
        raise ContractError(name, f"missing columns {missing}", f"found {found.names}")
    if extra := [column for column in found.names if column not in wanted.names]:
        raise ContractError(name, f"unknown columns {extra}", f"wanted {wanted.names}")
    for field in wanted:
        if (type_ := found.field(field.name).type) != field.type:
            raise ContractError(name, f"column {field.name} must be {field.type}", f"found {type_}")
