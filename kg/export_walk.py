"""What lies around some nodes: a walk over the selected relationships, a hop at a time, whichever way these point."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from kg import cypher_read
from kg.ahead import in_order
from kg.cypher_read import Bound, Relations
from kg.errors import ContractError
from kg.export_pages import READERS, Ends
from kg.store import Store

PAGE_KEYS = 2_000
Rows = Mapping[str, np.ndarray]


def around(
    store: Store,
    nodes: Mapping[str, Ends],
    seeds: Mapping[str, Sequence[str]],
    hops: int,
    walked: Sequence[tuple[Relations, Sequence[Bound]]],
    until: int | None,
) -> dict[str, Ends]:
    """The nodes that are up to `hops` relationships away from the seeds; `ContractError` for a seed that is none.

    `walked` has the relations to follow, each with the values that their properties must have.
    """
    for ends in nodes.values():
        ends.prepare()
    reached = {label: np.zeros(len(ends), bool) for label, ends in nodes.items()}
    fresh: dict[str, np.ndarray] = {label: _seeds(nodes[label], keys) for label, keys in seeds.items()}
    for label, rows in fresh.items():
        reached[label][rows] = True
    for _ in range(hops):
        found: dict[str, list[np.ndarray]] = {}
        for relations, bounds in walked:
            for backward in (False, True):
                near, far = relations.source, relations.target
                near, far = (far, near) if backward else (near, far)
                rows = fresh.get(near, np.zeros(0, np.int64))
                statement = cypher_read.neighbours(relations, backward=backward, until=until is not None, bounds=bounds)
                found.setdefault(far, []).extend(
                    _others(store, statement, nodes[near], rows, nodes[far], until, bounds)
                )
        fresh = {}
        for label, parts in found.items():
            rows = np.unique(np.concatenate([np.zeros(0, np.int64), *parts]))
            fresh[label] = rows[(rows >= 0) & ~reached[label][rows]]
            reached[label][fresh[label]] = True
    return {label: ends.only(reached[label]) for label, ends in nodes.items()}


def _others(
    store: Store, statement: str, near: Ends, rows: np.ndarray, far: Ends, until: int | None, bounds: Sequence[Bound]
) -> Iterator[np.ndarray]:
    pages = [rows[start : start + PAGE_KEYS] for start in range(0, len(rows), PAGE_KEYS)]

    def read(page: np.ndarray) -> np.ndarray:
        keys = near.keys.take(page).to_pylist()
        [found] = store.lists(statement, {"keys": keys, "until": until, "bounds": [bound.values for bound in bounds]})
        return far.rows(found)

    yield from in_order(read, pages, READERS)


def _seeds(ends: Ends, keys: Sequence[str]) -> np.ndarray:
    asked = list(dict.fromkeys(keys))
    known = set(ends.keys.to_pylist())
    if unknown := [key for key in asked if key not in known]:
        raise ContractError(
            f"selection.around.seeds.{ends.label}",
            "keys of selected nodes in the graph",
            f"{len(unknown)} others, first {unknown[0]!r}",
        )
    return ends.rows(asked)
