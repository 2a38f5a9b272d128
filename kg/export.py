"""The graph to a snapshot: a chosen part of what we loaded, streamed out of Neo4j into tables of row numbers."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from kg import cypher
from kg.errors import ContractError, StoreError
from kg.ids import IdMap
from kg.load_check import columns_of
from kg.schema import INDICES, INTERACTION_COLUMNS, ROW_ID, EdgeType, edge_schema, node_schema
from kg.section import Section
from kg.store import Progress, Store, silent
from kg.tables import Draft, Output
from kg.values import from_wire

PAGE_EDGES = 100_000
"""About so many relationships are asked for at once; a node with more of them is one page."""


class Selection(Section):
    """Which part of the graph a snapshot holds; a relationship is in it when its type and both its labels are."""

    labels: list[str] | None = None
    """Default: all."""
    types: list[str] | None = None
    """Relationship types. Default: all."""
    domains: list[str] | None = None
    """Items of other domains are left out. Default: all."""
    until: datetime | None = None
    """Interactions whose last event is later are left out (UTC where no zone is given); untimed ones stay."""


def export(
    store: Store, tables: Output, draft: Draft, selection: Selection | None = None, progress: Progress = silent
) -> None:
    """Write ``nodes/<Label>``, sorted by key, and ``edges/<name>``, sorted by row numbers, into the draft.

    `tables` is the output that was loaded: its schemas are the snapshot's, so what else nodes carry (features,
    vectors, properties of others) stays out. `ContractError` when the selection names what is not there,
    `StoreError` when the graph changes meanwhile. At most one page of relationships is in memory.
    """
    selection = selection or Selection()
    labels = select_labels(tables.manifest.meta["labels"], selection)
    edges = select_edges(tables.manifest.meta["edges"], labels, selection)
    ids = {label: _export_nodes(store, tables, draft, label, progress) for label in labels}
    for name, of in edges.items():
        _export_edges(
            store, tables, draft, name, _micros(selection.until) if of["interaction"] else None, ids, progress
        )
    draft.meta |= {"labels": labels, "edges": edges, "selection": selection.model_dump(mode="json")}
    draft.figures["rows"] = dict(draft.tables)


def select_labels(labels: Mapping[str, Any], selection: Selection) -> dict[str, Any]:
    """The part of the manifest's `labels` that a selection chooses."""
    _known("labels", selection.labels, labels)
    _known("domains", selection.domains, [of["domain"] for of in labels.values() if of.get("domain")])
    return {
        label: of
        for label, of in labels.items()
        if (selection.labels is None or label in selection.labels)
        and (selection.domains is None or not of.get("domain") or of["domain"] in selection.domains)
    }


def select_edges(edges: Mapping[str, Any], labels: Mapping[str, Any], selection: Selection) -> dict[str, Any]:
    """The part of the manifest's `edges` that a selection chooses, given the labels that it chose."""
    types = {name: EdgeType.parse(name) for name in edges}
    _known("types", selection.types, [edge.type for edge in types.values()])
    return {
        name: of
        for name, of in edges.items()
        # What is computed from interactions over all rows would tell a learner what it is to predict.
        if not of.get("derived")
        and {types[name].source, types[name].target} <= set(labels)
        and (selection.types is None or types[name].type in selection.types)
    }


def _known(what: str, wanted: list[str] | None, found: Any) -> None:
    if unknown := sorted(set(wanted or ()) - set(found)):
        raise ContractError(f"selection.{what}", f"unknown {unknown}", f"found {sorted(set(found))}")


def _micros(moment: datetime | None) -> int | None:
    if moment is None:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    since = aware - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _export_nodes(store: Store, tables: Output, draft: Draft, label: str, progress: Progress) -> IdMap:
    table = f"nodes/{label}"
    own = {name: t for name, t in columns_of(tables, table).items() if name not in ("text", "image")}
    schema = node_schema(pa.field(name, type_) for name, type_ in own.items())
    types = {field.name: field.type for field in schema}
    expected = store.value(cypher.count_nodes(label))
    keys: list[pa.Array] = [pa.array([], pa.string())]

    def batches() -> Iterator[pa.RecordBatch]:
        for rows in store.stream_rows(cypher.select_nodes(label, types)):
            columns = [from_wire(values, t) for values, t in zip(zip(*rows, strict=True), schema.types, strict=True)]
            batch = pa.RecordBatch.from_arrays(columns, schema=schema)
            keys.append(batch["key"])
            progress(table, batch.num_rows)
            yield batch

    draft.write_batches(table, batches(), schema)
    _unchanged(table, expected, draft.tables[table])
    return IdMap(label, pa.concat_arrays(keys))


def _export_edges(
    store: Store,
    tables: Output,
    draft: Draft,
    name: str,
    until: int | None,
    ids: Mapping[str, IdMap],
    progress: Progress,
) -> None:
    edge, table = EdgeType.parse(name), f"edges/{name}"
    schema = _edge_schema(tables, name)
    types = {field.name: field.type for field in schema if field not in INDICES}
    params = {} if until is None else {"until": until}
    expected = store.value(cypher.count_relationships(edge, until is not None), params)
    statement = cypher.select_edges(edge, types, until is not None)
    sources, targets = ids[edge.source], ids[edge.target]
    index = {key: number for number, key in enumerate(targets.keys.to_pylist())}
    page = max(1, len(sources) * PAGE_EDGES // max(expected, PAGE_EDGES))

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, len(sources), page):
            keys = sources.keys.slice(start, page).to_pylist()
            lists = store.rows(statement, {"keys": keys, **params})
            batch = _edge_batch(lists, start, index, schema)
            progress(table, batch.num_rows)
            yield batch

    draft.write_batches(table, batches(), schema)
    _unchanged(table, expected, draft.tables[table])


def _edge_schema(tables: Output, name: str) -> pa.Schema:
    columns = columns_of(tables, f"relationships/{name}")
    aggregates = {field.name for field in INTERACTION_COLUMNS}
    interaction = bool(tables.manifest.meta["edges"][name]["interaction"])
    own = {c: t for c, t in columns.items() if not (interaction and c in aggregates)}
    return edge_schema((pa.field(c, t) for c, t in own.items()), interaction=interaction)


def _edge_batch(lists: list[list[Any]], start: int, index: Mapping[str, int], schema: pa.Schema) -> pa.RecordBatch:
    """One page of (position of the source, its relationships), as a batch sorted by ends and identity."""
    rows = [row for _, edges in lists for row in edges]
    source = np.repeat([start + position for position, _ in lists], [len(edges) for _, edges in lists])
    columns = list(zip(*rows, strict=True)) if rows else [()] * (len(schema) - 1)
    try:
        target = [index[key] for key in columns[0]]
    except KeyError as error:
        raise StoreError(f"the graph changed while it was exported (new node {error}): export again") from error
    values = [from_wire(column, t) for column, t in zip(columns[1:], schema.types[2:], strict=True)]
    batch = pa.RecordBatch.from_arrays(
        [pa.array(source, pa.int64()), pa.array(target, pa.int64()), *values], schema=schema
    )
    return batch.sort_by([("src", "ascending"), ("dst", "ascending"), (ROW_ID.name, "ascending")])


def _unchanged(table: str, expected: int, found: int) -> None:
    if found != expected:
        raise StoreError(f"the graph changed while {table} was exported ({expected} rows, then {found}): export again")
