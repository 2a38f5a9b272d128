"""Forgotten nodes of an existing label that are no part of the project, for a rule refused them: they have no marks."""

from collections.abc import Iterator, Sequence
from functools import partial

import pyarrow as pa

from kg import cypher_existing
from kg.forget import Holding
from kg.id_columns import Names
from kg.store import Store

FOUND = pa.schema([pa.field("element", pa.string()), pa.field("key", pa.string())])


def unmarked_holdings(store: Store, names: Names, label: str) -> Iterator[Holding]:
    """The user's own nodes of a label that are among `names.ids` and that no load has marked."""
    node = names.graph.nodes.get(label)
    if node is None or not node.existing:
        return
    elements: list[str] = []
    for batch in store.stream(cypher_existing.unmarked(label, node.key), schema=FOUND):
        elements += batch["element"].filter(names.ids.mask(label, batch["key"])).to_pylist()
    if elements:
        yield Holding(
            f"graph: {label}", f"{len(elements)} nodes that are not loaded", partial(_remove, store, elements)
        )


def _remove(store: Store, elements: Sequence[str]) -> None:
    store.value(cypher_existing.DELETE, {"elements": list(elements)})
