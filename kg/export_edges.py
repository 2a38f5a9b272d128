"""Relationships of a snapshot: read a page of sources at a time, or all at once where they are few."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from kg import cypher_read, export_pages
from kg.ahead import in_order
from kg.cypher_read import Bound, Relations
from kg.export_pages import READERS, EdgePage, Ends, Gauge, edge_batches, edge_pages
from kg.export_parts import Parts
from kg.store import Progress, Store
from kg.tables import Draft

PAGE_KEYS = 20_000
PAGE_IDS = 1_000_000
"""Ids are read so many at a time: 40 MB here, and a node of 10 million relationships is passed over ten times."""
Batches = Mapping[str, pa.RecordBatch]


@dataclass(frozen=True)
class EdgeReader:
    """Reads the relationships of types that have the same ends and columns."""

    store: Store
    relations: Relations
    ends: Mapping[str, Ends]
    schema: pa.Schema
    until: int | None
    bounds: Sequence[Bound]
    gauge: Gauge

    def write(self, draft: Draft, total: int, progress: Progress) -> None:
        """Write a table a type; `total` is how many relationships there are at most, by Neo4j's own count."""
        for end in (self.relations.source, self.relations.target):
            self.ends[end].prepare()
        names = {edge.type: f"edges/{edge.name}" for edge in self.relations.edges}
        with ExitStack() as stack:
            writers = {type_: stack.enter_context(draft.writer(name, self.schema)) for type_, name in names.items()}
            for batches in self._whole() if total <= export_pages.PAGE_EDGES else self._paged():
                for type_, batch in batches.items():
                    writers[type_](batch)
                    progress(names[type_], batch.num_rows)

    def _whole(self) -> Iterator[Batches]:
        """Everything by one statement."""
        lists = self._lists(cypher_read.select_all)
        yield self._batches(lists, self.ends[self.relations.source].rows(lists[0]))

    def _paged(self) -> Iterator[Batches]:
        """Page by page in the order of sources; what comes in parts is put in order on disk."""
        with ExitStack() as stack:
            parts: dict[str, Parts] = {}
            pages = edge_pages(*self._degrees(), export_pages.PAGE_EDGES, self._ids)
            for page, batches in in_order(self._read, pages, READERS):
                if page.ids is None:
                    yield batches
                for type_, batch in batches.items() if page.ids else ():
                    if type_ not in parts:
                        parts[type_] = stack.enter_context(Parts(export_pages.PAGE_EDGES))
                    parts[type_].add(batch)
                self.gauge.add(-sum(batch.num_rows for batch in batches.values()))
                if page.ids == []:
                    for type_, laid in parts.items():
                        yield from ({type_: batch} for batch in laid.merged())
                    parts = {}
                    stack.close()

    def _ids(self, source: int) -> Iterator[list[int]]:
        """Of a node's relationships the ids; by them each is looked up once, where a SKIP passes those before it."""
        key, skip, more = self.ends[self.relations.source].keys[source].as_py(), 0, True
        statement = cypher_read.select_ids(self.relations)
        while more:
            [found] = self.store.lists(statement, {"key": key, "skip": skip, "limit": PAGE_IDS})
            skip, more = skip + len(found), len(found) == PAGE_IDS
            yield found

    def _degrees(self) -> tuple[np.ndarray, np.ndarray]:
        """Row numbers of the sources that have any such relationships, and how many at most."""
        sources = self.ends[self.relations.source]
        statement = cypher_read.count_ends(self.relations)

        def read(start: int) -> tuple[np.ndarray, np.ndarray]:
            keys = sources.keys.slice(start, PAGE_KEYS).to_pylist()
            found, degrees = (np.array(x, np.int64) for x in self.store.lists(statement, {"keys": keys}))
            order = np.argsort(found)
            return start + found[order], degrees[order]

        none = np.zeros(0, np.int64)
        pages = [(none, none), *in_order(read, range(0, len(sources), PAGE_KEYS), READERS)]
        rows, degrees = (np.concatenate(parts) for parts in zip(*pages, strict=True))
        return rows, degrees

    def _read(self, page: EdgePage) -> tuple[EdgePage, Batches]:
        if page.ids == []:
            return page, {}
        if page.ids is None:
            keys = self.ends[self.relations.source].keys.take(pa.array(page.sources)).to_pylist()
            lists = self._lists(cypher_read.select_page, keys=keys)
        else:
            lists = self._lists(cypher_read.select_part, ids=page.ids)
        found = self._batches(lists, page.sources[np.array(lists[0], np.int64)])
        self.gauge.add(sum(batch.num_rows for batch in found.values()))
        return page, found

    def _batches(self, lists: list[Any], source: np.ndarray) -> Batches:
        target = self.ends[self.relations.target].rows(lists[1])
        return edge_batches(lists, source, target, self.relations.types, self.schema)

    def _lists(self, statement: Callable[..., str], **params: Any) -> list[Any]:
        text = statement(self.relations, until=self.until is not None, bounds=self.bounds)
        return self.store.lists(
            text, {"until": self.until, "bounds": [bound.values for bound in self.bounds], **params}
        )
