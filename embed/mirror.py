"""A snapshot as one DGL heterograph, faithful to every node, edge and property."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import dgl
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from embed.snapshot import Snapshot
from kg.schema import EdgeType


@dataclass(frozen=True)
class Mirror:
    """A snapshot as one DGL heterograph, node for node, edge for edge and property for property.

    Numbers and truth values are tensors, timestamps microseconds; everything else is a code into `vocabularies`.
    A null is False in the tensor ``<property>__present``, which exists where a column has nulls.
    """

    graph: dgl.DGLHeteroGraph
    vocabularies: dict[tuple[str, str], pa.Array]
    """Distinct values by (label or edge name, property)."""
    fields: dict[tuple[str, str], pa.Field]

    def node_table(self, label: str) -> pa.Table:
        """The label's properties, read back from the tensors, in node order."""
        return self._table(label, dict(self.graph.nodes[label].data), {})

    def edge_table(self, edge: EdgeType) -> pa.Table:
        """`src`, `dst` and the type's properties, read back from the tensors, in edge order."""
        canonical = (edge.source, edge.type, edge.target)
        src, dst = self.graph.edges(etype=canonical)
        return self._table(edge.name, dict(self.graph.edges[canonical].data), {"src": src, "dst": dst})

    def _table(self, owner: str, data: dict[str, Tensor], ends: dict[str, Tensor]) -> pa.Table:
        columns = [pa.array(values.numpy()) for values in ends.values()]
        fields = [field for (of, _), field in self.fields.items() if of == owner]
        for (of, name), wanted in self.fields.items():
            if of != owner:
                continue
            present = data.get(f"{name}__present")
            mask = None if present is None else ~present.numpy()
            values = pa.array(data[name].numpy(), mask=mask)
            if (of, name) in self.vocabularies:
                values = self.vocabularies[of, name].take(values)
            columns.append(values.cast(wanted.type))
        schema = pa.schema([*(pa.field(name, pa.int64()) for name in ends), *fields])
        return pa.table(columns, schema=schema)


def heterograph(snapshot: Snapshot) -> Mirror:
    """The snapshot itself as a heterograph: nothing replaced, reversed, merged or left out."""
    ends = {
        (e.source, e.type, e.target): (_tensor(t["src"].to_numpy()), _tensor(t["dst"].to_numpy()))
        for e, t in snapshot.edges.items()
    }
    graph = dgl.heterograph(ends, {label: snapshot.count(label) for label in snapshot.nodes})
    mirror = Mirror(graph, {}, {})
    for label, table in snapshot.nodes.items():
        _fill(mirror, label, table, table.column_names, graph.nodes[label].data)
    for edge, table in snapshot.edges.items():
        names = [n for n in table.column_names if n not in {"src", "dst"}]
        _fill(mirror, edge.name, table, names, graph.edges[edge.source, edge.type, edge.target].data)
    return mirror


def _fill(mirror: Mirror, owner: str, table: pa.Table, names: Iterable[str], data: Any) -> None:
    for name in names:
        column = table[name].combine_chunks()
        mirror.fields[owner, name] = table.schema.field(name)
        if column.null_count:
            data[f"{name}__present"] = _tensor(column.is_valid().to_numpy(zero_copy_only=False))
        if pa.types.is_timestamp(column.type):
            values, fill = column.cast(pa.int64()), 0
        elif pa.types.is_boolean(column.type) or pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
            values, fill = column, 0
        else:
            mirror.vocabularies[owner, name], values = _codes(column)
            fill = 0
        data[name] = _tensor(
            pc.fill_null(values, False if pa.types.is_boolean(values.type) else fill).to_numpy(zero_copy_only=False)
        )


def _codes(column: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Distinct values and each row's position among them; lists are told apart by their Python value."""
    if not pa.types.is_nested(column.type):
        encoded = column.dictionary_encode()
        return encoded.dictionary, encoded.indices.cast(pa.int64())
    seen: dict[str, int] = {}
    first: list[int] = []
    codes: list[int | None] = []
    for row, value in enumerate(column.to_pylist()):
        if value is None:
            codes.append(None)
            continue
        if (text := repr(value)) not in seen:
            seen[text] = len(seen)
            first.append(row)
        codes.append(seen[text])
    return column.take(pa.array(first, pa.int64())), pa.array(codes, pa.int64())


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values).copy())
