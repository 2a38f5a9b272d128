"""Vectors between numpy, where they are rows of a matrix, and Arrow, where they are a column of lists."""

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def vector_array(vectors: np.ndarray, mask: np.ndarray | None = None) -> pa.ListArray:
    """Rows of a float32 matrix as a list column; null where `mask` (bool[rows]) is false."""
    offsets = pa.array(np.arange(len(vectors) + 1, dtype=np.int32) * vectors.shape[1])
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).ravel())
    return pa.ListArray.from_arrays(offsets, flat, mask=None if mask is None else pa.array(~mask))


def matrix(column: pa.ChunkedArray) -> np.ndarray:
    """Inverse of `vector_array` for a column without nulls, all of one width: float32[rows, width]."""
    flat = pc.list_flatten(column)
    return flat.to_numpy().reshape(len(column), -1).astype(np.float32)


def content_hash(content: bytes) -> str:
    """The digest of a text or picture under which its vector is cached."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()
