"""External ids at the edges, contiguous indices inside."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kg.errors import UnknownIdError


class IdMap:
    """A bijection between the external ids of one kind of node and ``0 … n-1``, in the order given."""

    def __init__(self, name: str, keys: pa.Array | pa.ChunkedArray | Sequence[str]) -> None:
        """Raise `ValueError` for a repeated id."""
        array = keys.combine_chunks() if isinstance(keys, pa.ChunkedArray) else pa.array(keys, pa.string())
        if len(array.unique()) != len(array):
            raise ValueError(f"{name}: repeated ids")
        self.name, self.keys = name, array

    def __len__(self) -> int:
        """How many ids there are."""
        return len(self.keys)

    def encode(self, keys: pa.Array | pa.ChunkedArray | Sequence[str]) -> np.ndarray:
        """Indices (int64) of external ids; `UnknownIdError` names the first that is unknown."""
        array = keys if isinstance(keys, pa.Array | pa.ChunkedArray) else pa.array(keys, pa.string())
        found = pc.index_in(array, self.keys)
        if found.null_count:
            unknown = array.filter(pc.is_null(found))
            raise UnknownIdError(self.name, "known ids", f"{found.null_count} unknown, first {unknown[0].as_py()!r}")
        return found.to_numpy(zero_copy_only=False).astype(np.int64)

    def decode(self, indices: np.ndarray) -> pa.Array:
        """External ids of indices; `IndexError` outside ``0 … n-1``."""
        if len(indices) and (indices.min() < 0 or indices.max() >= len(self)):
            raise IndexError(f"{self.name}: indices must lie in 0 … {len(self) - 1}")
        return self.keys.take(pa.array(indices))
