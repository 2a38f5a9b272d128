"""Versions of the vectors in the graph: which one readers see, what it holds, and the way back to the one before."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from kg import cypher_vectors
from kg.errors import StoreError
from kg.schema import embedding_schema
from kg.store import Store

ROWS = 2_000


@dataclass(frozen=True)
class Rollback:
    """What a rollback did."""

    version: str
    """What readers see now."""
    left: str
    """What they saw before."""
    without: int
    """Users and items that have come since, and so have no vector in this version."""


def current_version(store: Store) -> dict[str, Any] | None:
    """The properties of the pointer node, or None before the first version.

    `instead_of` names the version that this one was brought back for, until another is published.
    """
    found = store.rows(cypher_vectors.CURRENT)
    return dict(found[0][0]) if found else None


def rollback(store: Store) -> Rollback:
    """Make the version before the current one again, in one transaction; done twice, all is as it was.

    The version that comes back is marked with the one that was left (`instead_of`).

    `StoreError` when there is none, or when it is not whole any more: nothing has changed then.
    """
    found = store.rows(cypher_vectors.FORMER)
    if not found:
        raise StoreError("there is no earlier version of the embeddings in this graph to go back to")
    former, missing, held = found[0]
    indexes = [former["user_index"], former["item_index"]]
    if not held or not online(store, indexes):
        raise StoreError(
            f"the earlier version {former['version']} is not whole any more: {held} vectors, indexes {indexes} "
            "(see SHOW INDEXES); the current one stays"
        )
    [[version, left]] = store.rows(cypher_vectors.SWAP)
    return Rollback(version, left, missing)


def online(store: Store, indexes: Sequence[str]) -> bool:
    """Whether all these vector indexes are there and complete."""
    return bool(store.value(cypher_vectors.COUNT_ONLINE, {"names": list(indexes)}) == len(indexes))


def read_current(store: Store, label: str, keys: pa.Array) -> pa.Table:
    """`key` and `z` of the nodes of a label, among these, that have a `z` in the current version; rows in any order."""
    schema = embedding_schema(["z"])
    batches = (
        store.read(cypher_vectors.current_vectors(label), {"keys": part.to_pylist()}, schema) for part in _parts(keys)
    )
    return pa.concat_tables([schema.empty_table(), *(batch.cast(schema) for batch in batches)])


def _parts(keys: pa.Array) -> Iterator[pa.Array]:
    for start in range(0, len(keys), ROWS):
        yield keys[start : start + ROWS]
