"""What the graph holds of forgotten nodes: they go with all their relationships, whoever made them.

That is more than loading ever deletes: a node that was there before us, or that has relationships of others, goes too.
Where it is not a user, the reasons of recommendations that speak of it by name are blanked.
"""

from collections.abc import Iterable, Iterator
from functools import partial

import pyarrow as pa

from kg import cypher, cypher_forget
from kg.errors import StoreError
from kg.existing_forget import unmarked_holdings
from kg.forget import Holding
from kg.id_columns import Names
from kg.store import Store

KEYS = pa.schema([pa.field("key", pa.string())])


def graph_holdings(store: Store, names: Names, labels: Iterable[str], project: str) -> list[Holding]:
    """The nodes of some labels that are among `names.ids`, with what hangs on them.

    `StoreError` when the database is another project's; nothing is written to one that nobody has claimed.
    """
    found = store.rows(cypher.FIND_PROJECT)
    if found and found[0][0] != project:
        raise StoreError(f"the database at {store.connection.uri} holds project {found[0][0]!r}, not {project!r}")
    return [
        *_communities(store, names),
        *(holding for label in labels for holding in _label(store, names, label)),
        *(holding for label in labels for holding in unmarked_holdings(store, names, label)),
    ]


def _communities(store: Store, names: Names) -> Iterator[Holding]:
    """Others may have the name of their community, ``Label:key``, from the node."""
    found = [community for [community] in store.rows(cypher_forget.COMMUNITIES)]
    parameters = {"communities": [c for c in found if ":" in c and names.ids.holds(*c.split(":", 1))]}
    if count := store.value(cypher_forget.COUNT_COMMUNITIES, parameters) if parameters["communities"] else 0:
        drop = partial(store.sweep, cypher_forget.DROP_COMMUNITIES, parameters)
        yield Holding("graph: community", f"{count} nodes whose community is called after it", drop)


def _label(store: Store, names: Names, label: str) -> Iterator[Holding]:
    keys: list[str] = []
    for batch in store.stream(cypher_forget.all_keys(label), schema=KEYS):
        keys += batch["key"].filter(names.ids.mask(label, batch["key"])).to_pylist()
    if not keys:
        return
    if label not in {edge.source for edge in names.graph.interactions}:
        texts = [text for [text] in store.rows(cypher_forget.texts(label), {"keys": keys})]
        if count := store.value(cypher_forget.COUNT_REASONS, {"texts": texts}):
            blank = partial(store.sweep, cypher_forget.BLANK_REASONS, {"texts": texts})
            yield Holding(f"graph: reasons of {cypher.RECOMMENDED}", f"{count} that name it", blank)
    related = store.rows(cypher_forget.count_relationships(label), {"keys": keys})
    with_ = ", ".join(f"{count} {type_}" for type_, count in related) or "no relationships"
    yield Holding(f"graph: {label}", f"{len(keys)} nodes with {with_}", partial(_remove, store, label, keys))


def _remove(store: Store, label: str, keys: list[str]) -> None:
    store.sweep(cypher_forget.delete_relationships(label), {"keys": keys})
    store.value(cypher_forget.delete_nodes(label), {"keys": keys})


def left_alone(store: Store, label: str, keys: Iterable[str]) -> dict[str, int]:
    """By label, nodes that are related to nothing but these: once those are gone, nothing but they tell of them."""
    rows = store.rows(cypher_forget.left_alone(label), {"keys": list(keys)})
    return {str(of): int(count) for of, count in rows}
