"""Events in a snapshot's indices: what the learner and the recommender are fitted on and measured by."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kg.ids import IdMap
from kg.interactions import Catalogue, Interactions
from kg.schema import EdgeType
from kg.selection import Selection, micros
from kg.split import Cut, CutName, read_events
from kg.tables import Output


def catalogue(output: Output) -> Catalogue:
    """Users and items of stage `graph`, in the order of its node tables; labels in alphabetical order."""
    labels = output.manifest.meta["labels"]
    keys = {
        label: output.read(f"nodes/{label}", ["key"])["key"] for label in labels if labels[label]["side"] != "entity"
    }
    users = [label for label in labels if labels[label]["side"] == "user"]
    if len(users) != 1:
        raise ValueError(f"interactions must start from one label, found {users}")
    items = sorted(label for label in keys if labels[label]["side"] == "item")
    return Catalogue(
        users=IdMap(users[0], keys[users[0]]),
        items={label: IdMap(label, keys[label]) for label in items},
        domains={label: str(labels[label]["domain"]) for label in items},
        user_label=users[0],
    )


def read_cut(output: Output, name: CutName, graph: Output) -> Cut:
    """A cut of stage `cuts`, as far as it is in the snapshot `graph`, in the indices of its `catalogue`.

    Of a snapshot of everything, raises `UnknownIdError` for a user or item that it should have and has not.
    """
    table = output.read(name)
    sides = {side: table.filter(pc.equal(table["split"], side)) for side in ("train", "valid", "test")}
    nodes = catalogue(graph)
    return Cut(name, **{side: _interactions(rows, graph, nodes) for side, rows in sides.items()})


def all_events(output: Output, graph: Output) -> Interactions:
    """All events of stage `tables` (of a `k_core`, those inside it), as far as and as `read_cut` has them."""
    parts = []
    for edge, rows in read_events(output).items():
        pairs = output.read(f"relationships/{edge.name}", ["from_key", "to_key"])
        kept = rows.join(pairs, ["from_key", "to_key"], join_type="left semi").sort_by("row_id")
        parts.append(kept.append_column("edge", pa.array([edge.name] * len(kept), pa.string())))
    return _interactions(pa.concat_tables(parts), graph, catalogue(graph))


def _interactions(rows: pa.Table, graph: Output, nodes: Catalogue) -> Interactions:
    selection = Selection.model_validate(graph.manifest.meta.get("selection") or {})
    parts = []
    for name in sorted(pc.unique(rows["edge"]).to_pylist()):
        chosen, edge = rows.filter(pc.equal(rows["edge"], name)), EdgeType.parse(name)
        if not selection.whole:
            chosen = _within(chosen, edge, graph, nodes, selection)
        if edge.target in nodes.items and len(chosen):
            parts.append(_indexed(chosen, edge.target, nodes))
    return Interactions.concat(parts or [_no_events(nodes)])


def _within(rows: pa.Table, edge: EdgeType, graph: Output, nodes: Catalogue, selection: Selection) -> pa.Table:
    """The events whose pair of ends the snapshot has as a relationship, and that are no later than its moment."""
    if edge.target not in nodes.items or f"edges/{edge.name}" not in graph.manifest.tables:
        return rows.slice(0, 0)
    items = nodes.items[edge.target]
    user, item = pc.index_in(rows["from_key"], nodes.users.keys), pc.index_in(rows["to_key"], items.keys)
    pairs = graph.read(f"edges/{edge.name}", ["src", "dst"])
    held = np.unique(pairs["src"].to_numpy() * len(items) + pairs["dst"].to_numpy())
    code = pc.fill_null(pc.add(pc.multiply(pc.cast(user, pa.int64()), len(items)), pc.cast(item, pa.int64())), -1)
    kept = np.isin(code.to_numpy(), held)
    if selection.until is not None:
        early = pc.less_equal(pc.cast(rows["time"], pa.int64()), micros(selection.until))
        kept &= pc.fill_null(early, True).to_numpy()
    return rows.filter(pa.array(kept))


def _indexed(rows: pa.Table, label: str, nodes: Catalogue) -> Interactions:
    return Interactions(
        user=nodes.users.encode(rows["from_key"]),
        item=nodes.items[label].encode(rows["to_key"]) + nodes.offsets[label],
        weight=pc.fill_null(rows["weight"], 1.0).to_numpy().astype(np.float32),
        time=pc.fill_null(pc.cast(rows["time"], pa.int64()), 0).to_numpy(),
        positive=pc.fill_null(rows["positive"], False).to_numpy(),
        n_users=nodes.n_users,
        n_items=nodes.n_items,
    )


def _no_events(catalogue: Catalogue) -> Interactions:
    whole, real = np.zeros(0, np.int64), np.zeros(0, np.float32)
    return Interactions(whole, whole, real, whole, whole.astype(bool), catalogue.n_users, catalogue.n_items)
