"""What a node brings with it: its properties as numbers, fitted on one snapshot and applied to any."""

import zlib
from typing import Annotated, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from embed.snapshot import Snapshot

ONE_HOT = 64
"""Up to so many distinct values have a column each; more are hashed into as many."""
CLIP = 4.0
"""Standardised numbers are cut off here: one wrong year must not outweigh all others."""


class _Column(BaseModel):
    model_config = ConfigDict(frozen=True)
    name: str


class Number(_Column):
    """Standardised by median and quartiles, so that outliers move nothing; null is 0 with a flag."""

    kind: Literal["number"] = "number"
    centre: float
    scale: float

    @property
    def width(self) -> int:
        """The value and whether it is missing."""
        return 2

    def encode(self, column: pa.Array) -> np.ndarray:
        """Of shape float32[n, 2]."""
        values = _numbers(column)
        missing = ~np.isfinite(values)
        scaled = np.clip((np.where(missing, self.centre, values) - self.centre) / self.scale, -CLIP, CLIP)
        return np.stack([scaled, missing], axis=1).astype(np.float32)


class Category(_Column):
    """One-hot, or for a list many-hot with length 1; values that fitting has not seen are all zero."""

    kind: Literal["category"] = "category"
    values: list[str]

    @property
    def width(self) -> int:
        """A column a value."""
        return len(self.values)

    def encode(self, column: pa.Array) -> np.ndarray:
        """Of shape float32[n, values]."""
        position = {value: i for i, value in enumerate(self.values)}
        return _many_hot(column, [position.get(v, -1) for v in _flat(column)], self.width)


class Hashed(_Column):
    """Values hashed into a fixed number of columns."""

    kind: Literal["hashed"] = "hashed"

    @property
    def width(self) -> int:
        """Always `ONE_HOT`."""
        return ONE_HOT

    def encode(self, column: pa.Array) -> np.ndarray:
        """Of shape float32[n, ONE_HOT]."""
        return _many_hot(column, [zlib.crc32(v.encode()) % ONE_HOT for v in _flat(column)], ONE_HOT)


Column = Annotated[Number | Category | Hashed, Field(discriminator="kind")]


class Features(BaseModel):
    """How the properties of each label become a matrix."""

    model_config = ConfigDict(frozen=True)
    columns: dict[str, list[Column]]

    @classmethod
    def fit(cls, snapshot: Snapshot) -> Self:
        """Look at a snapshot's properties; columns that hold one value, or a new one in most rows, are left out."""
        return cls(
            columns={
                label: [
                    column
                    for name in snapshot.properties(label)
                    if (column := _describe(name, snapshot.nodes[label][name].combine_chunks()))
                ]
                for label in snapshot.nodes
            }
        )

    def width(self, label: str) -> int:
        """Columns of a label's matrix."""
        return sum(column.width for column in self.columns.get(label, []))

    def encode(self, snapshot: Snapshot, label: str) -> Tensor:
        """float32[nodes, width]; a property that this snapshot lacks counts as null."""
        n, table = snapshot.count(label), snapshot.nodes[label]
        parts = [
            c.encode(table[c.name].combine_chunks() if c.name in table.column_names else pa.nulls(n))
            for c in self.columns.get(label, [])
        ]
        return torch.from_numpy(np.concatenate([np.zeros((n, 0), np.float32), *parts], axis=1))


def _describe(name: str, column: pa.Array) -> Number | Category | Hashed | None:
    type_ = column.type.value_type if pa.types.is_list(column.type) else column.type
    if pa.types.is_string(type_) or pa.types.is_boolean(type_):
        values = _flat(column)
        distinct = sorted(set(values))
        if len(distinct) < 2 or (len(distinct) > ONE_HOT and len(distinct) > len(values) / 2):
            return None
        return Category(name=name, values=distinct) if len(distinct) <= ONE_HOT else Hashed(name=name)
    if pa.types.is_list(column.type) or not _is_number(type_):
        return None
    numbers = _numbers(column)
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers) or numbers.min() == numbers.max():
        return None
    low, centre, high = np.percentile(numbers, [25, 50, 75])
    # 1.349 quartile distances are one standard deviation of a normal distribution.
    return Number(name=name, centre=float(centre), scale=float((high - low) / 1.349 or numbers.std()))


def _is_number(type_: pa.DataType) -> bool:
    return pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_temporal(type_)


def _numbers(column: pa.Array) -> np.ndarray:
    if pa.types.is_date32(column.type):
        column = column.cast(pa.int32())
    elif pa.types.is_temporal(column.type):
        column = column.cast(pa.int64())
    return column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False).astype(np.float64)


def _flat(column: pa.Array) -> list[str]:
    """All values of a column or of the lists in it, nulls left out, as strings."""
    values = column.flatten() if pa.types.is_list(column.type) else column
    return values.drop_null().cast(pa.string()).to_pylist()


def _many_hot(column: pa.Array, positions: list[int], width: int) -> np.ndarray:
    """`positions` holds one entry a value of `_flat`, -1 where it has no column."""
    rows = pc.list_parent_indices(column) if pa.types.is_list(column.type) else pa.array(range(len(column)))
    values = column.flatten() if pa.types.is_list(column.type) else column
    row = rows.filter(values.is_valid()).to_numpy(zero_copy_only=False).astype(np.int64)
    at = np.array(positions, np.int64)
    result = np.zeros((len(column), width), np.float32)
    np.add.at(result, (row[at >= 0], at[at >= 0]), 1.0)
    return result / np.maximum(np.linalg.norm(result, axis=1, keepdims=True), 1.0)
