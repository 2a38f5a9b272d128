"""The graph to a snapshot: a chosen part of what we loaded, read out of Neo4j into tables of row numbers.

Nodes and relationships are read in pages, several at once, a list a column, and written while the next are read.
All types between two labels that have the same columns are read by one statement, for planning a statement costs
more (60 ms) than reading a thousand relationships.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from kg import cypher_read
from kg.ahead import in_order
from kg.cypher_read import Bound, Relations
from kg.errors import ContractError, StoreError
from kg.existing_config import is_existing
from kg.existing_export import edge_batches, keys_of, node_batches
from kg.export_edges import EdgeReader
from kg.export_pages import PAGE_NODES, READERS, Ends, Gauge, changed, node_batch
from kg.export_walk import around
from kg.load_check import columns_of
from kg.schema import INDICES, INTERACTION_COLUMNS, EdgeType, edge_schema, node_schema
from kg.selection import Chosen, Selection, bounds, choose, kept_columns, micros
from kg.store import Progress, Store, silent
from kg.tables import Draft, Output

PAGE_KEYS = 50_000
AGGREGATES = frozenset(column.name for column in INTERACTION_COLUMNS)


def export(
    store: Store,
    tables: Output,
    draft: Draft,
    selection: Selection | None = None,
    progress: Progress = silent,
    *,
    derived: bool = False,
) -> None:
    """Write ``nodes/<Label>``, sorted by key, and ``edges/<name>``, sorted by row numbers, into the draft.

    `tables` is the output that was loaded: its schemas are the snapshot's, so what else nodes carry (features,
    vectors, properties of others) stays out. With `derived` the selection may name types that were computed from
    interactions of all rows, which a snapshot that is learned from never holds.
    `ContractError` when the selection names what is not there, `StoreError` when the graph changes meanwhile.
    In memory are the keys of all nodes and a few pages, whatever the graph's size and its nodes' degrees; the draft's
    figure `most_held` says how many relationships at most.
    """
    selection = (selection or Selection()).resolved()
    meta = tables.manifest.meta
    chosen = choose(meta["labels"], meta["edges"], selection, derived=derived)
    work = _Export(store, tables, draft, selection, chosen, progress)
    before, counted = store.moment(), work.totals()
    ends = work.restricted(work.keys())
    for label in chosen.labels:
        work.write_nodes(ends[label])
    for relations, total in zip(work.relations, counted[1], strict=True):
        work.write_edges(relations, ends, total)
    for edge in work.existing:
        work.write_existing(edge, ends)
    if store.moment() != before and work.totals() != counted:
        raise changed("there are more or fewer nodes or relationships")
    if selection.whole:
        work.check_rows()
    draft.meta |= {"labels": chosen.labels, "edges": chosen.edges, "selection": selection.model_dump(mode="json")}
    draft.figures |= {"rows": dict(draft.tables), "most_held": work.gauge.most}


@dataclass
class _Export:
    """One export under way."""

    store: Store
    tables: Output
    draft: Draft
    selection: Selection
    chosen: Chosen
    progress: Progress
    gauge: Gauge = field(default_factory=Gauge)
    relations: list[Relations] = field(init=False)
    existing: list[EdgeType] = field(init=False)
    """Of what was in the graph before us: their rows come from the tables."""

    def __post_init__(self) -> None:
        existing = {name for name in self.chosen.edges if self._existing(f"relationships/{name}")}
        self.relations = self._grouped(name for name in self.chosen.edges if name not in existing)
        self.existing = [EdgeType.parse(name) for name in self.chosen.edges if name in existing]

    @property
    def until(self) -> int | None:
        return micros(self.selection.until)

    def totals(self) -> list[Any]:
        return self.store.lists(cypher_read.totals(list(self.chosen.labels), self.relations))

    def keys(self) -> dict[str, Ends]:
        """The keys of all nodes that fulfil their conditions, in the index's order."""
        return {label: self._keys(label) for label in self.chosen.labels}

    def _keys(self, label: str) -> Ends:
        wanted = bounds(label, self._own(f"nodes/{label}"), self.selection)
        existing = self._existing(f"nodes/{label}")
        in_graph = [] if existing else wanted
        statement = cypher_read.select_keys(label, in_graph)
        found: list[pa.Array] = [pa.array([], pa.string())]
        start, full = "", True
        while full:
            params = {"start": start, "limit": PAGE_KEYS, "bounds": [bound.values for bound in in_graph]}
            [page] = self.store.lists(statement, params)
            full = len(page) == PAGE_KEYS
            found.append(pa.array(page[1:] if page and len(found) > 1 and page[0] == start else page, pa.string()))
            start = page[-1] if page else start
        keys = pa.concat_arrays(found)
        if existing and wanted:
            keys = keys.filter(pc.is_in(keys, value_set=keys_of(self.tables, label, wanted)))
        return Ends(label, keys, restricted=bool(wanted))

    def restricted(self, ends: dict[str, Ends]) -> dict[str, Ends]:
        """The nodes around the seeds, or all where there are none."""
        if self.selection.around is None:
            return ends
        existing = {EdgeType.parse(n).type for n in self.chosen.walked if self._existing(f"relationships/{n}")}
        if found := sorted(existing & set(self.selection.where)):
            raise ContractError(f"selection.where.{found[0]}", "no condition on an existing type that is walked")
        walked = [(relations, self._bounds(relations.edges[0])) for relations in self._grouped(self.chosen.walked)]
        seeds = {label: list(keys) for label, keys in self.selection.around.seeds.items()}
        return around(self.store, ends, seeds, self.selection.around.hops, walked, self.until)

    def write_nodes(self, ends: Ends) -> None:
        table = f"nodes/{ends.label}"
        own = self._own(table)
        kept = kept_columns(ends.label, {n: t for n, t in own.items() if n not in ("text", "image")}, self.selection)
        schema = node_schema(pa.field(name, type_) for name, type_ in kept.items())
        statement = cypher_read.select_nodes(ends.label, {column.name: column.type for column in schema})

        def read(start: int) -> pa.RecordBatch:
            keys = ends.keys.slice(start, PAGE_NODES).to_pylist()
            return node_batch(self.store.lists(statement, {"keys": keys}), len(keys), schema)

        def batches() -> Iterator[pa.RecordBatch]:
            if self._existing(table):
                found = node_batches(self.tables, ends, schema)
            else:
                found = in_order(read, range(0, len(ends), PAGE_NODES), READERS)
            for batch in found:
                self.progress(table, batch.num_rows)
                yield batch

        self.draft.write_batches(table, batches(), schema)

    def write_edges(self, relations: Relations, ends: Mapping[str, Ends], total: int) -> None:
        schema = self._schema(relations.edges[0].name)
        reader = EdgeReader(
            self.store, relations, ends, schema, self.until, self._bounds(relations.edges[0]), self.gauge
        )
        reader.write(self.draft, total, self.progress)

    def write_existing(self, edge: EdgeType, ends: Mapping[str, Ends]) -> None:
        schema = self._schema(edge.name)
        batches = edge_batches(self.tables, edge, ends, schema, self._bounds(edge), self.until)
        self.draft.write_batches(f"edges/{edge.name}", batches, schema)
        self.progress(f"edges/{edge.name}", self.draft.tables[f"edges/{edge.name}"])

    def check_rows(self) -> None:
        """A snapshot of everything has as many rows as were loaded."""
        loaded = self.tables.manifest.tables
        for table, rows in self.draft.tables.items():
            name = table.replace("edges/", "relationships/", 1)
            if loaded.get(name, rows) != rows:
                raise StoreError(f"{table}: {loaded[name]} rows were loaded, Neo4j holds {rows}: load again")

    def _grouped(self, names: Iterable[str]) -> list[Relations]:
        """Types with the same ends, columns and no conditions of their own, together."""
        groups: dict[tuple[Any, ...], list[str]] = {}
        for name in names:
            edge, columns = EdgeType.parse(name), [c for c in self._schema(name) if c not in INDICES]
            conditions = edge.type if edge.type in self.selection.where else None
            ends_and_columns = (edge.source, edge.target, tuple((column.name, column.type) for column in columns))
            groups.setdefault((*ends_and_columns, self._interaction(name), conditions), []).append(edge.type)
        return [
            Relations(source, target, tuple(types), columns, interaction)
            for (source, target, columns, interaction, _), types in groups.items()
        ]

    def _schema(self, name: str) -> pa.Schema:
        aggregates = AGGREGATES if self._interaction(name) else frozenset()
        own = {n: t for n, t in self._own(f"relationships/{name}").items() if n not in aggregates}
        kept = kept_columns(EdgeType.parse(name).type, own, self.selection)
        return edge_schema((pa.field(n, t) for n, t in kept.items()), interaction=self._interaction(name))

    def _existing(self, table: str) -> bool:
        return is_existing(self.tables.manifest.meta, table)

    def _interaction(self, name: str) -> bool:
        return bool(self.tables.manifest.meta["edges"][name]["interaction"])

    def _bounds(self, edge: EdgeType) -> list[Bound]:
        return bounds(edge.type, self._own(f"relationships/{edge.name}"), self.selection)

    def _own(self, table: str) -> dict[str, pa.DataType]:
        return columns_of(self.tables, table)
