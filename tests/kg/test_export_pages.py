"""Pages and parts of a snapshot, without a database."""

import threading
import time

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kg.ahead import in_order
from kg.errors import StoreError
from kg.export_pages import edge_pages
from kg.export_parts import Parts
from kg.schema import edge_schema

SCHEMA = edge_schema([], interaction=False)


def pages(degrees: list[int], size: int, chunk: int = 7) -> list[tuple[list[int], list[int] | None]]:
    """Sources and ids of pages; the ids of source n are n * 100 + 0, 1, …"""

    def ids(source: int) -> list[list[int]]:
        every = [source * 100 + i for i in range(degrees[source])]
        return [every[start : start + chunk] for start in range(0, len(every), chunk)]

    found = edge_pages(np.arange(len(degrees)), np.array(degrees, np.int64), size, ids)
    return [(page.sources.tolist(), page.ids) for page in found]


def test_a_page_has_no_more_relationships_than_asked_for() -> None:
    assert pages([2, 2, 1, 3, 4], 4) == [([0, 1], None), ([2, 3], None), ([4], None)]


def test_a_source_of_many_relationships_comes_in_parts_of_its_own_with_an_end() -> None:
    assert pages([1, 10, 2], 4) == [
        ([0], None),
        ([1], [100, 101, 102, 103]),
        ([1], [104, 105, 106]),
        ([1], [107, 108, 109]),
        ([1], []),
        ([2], None),
    ]


@given(st.lists(st.integers(1, 30), max_size=12), st.integers(1, 12))
def test_every_source_is_read_once_and_every_id_too(degrees: list[int], size: int) -> None:
    found = pages(degrees, size)
    whole = [source for sources, ids in found if ids is None for source in sources]
    parts = [i for _, ids in found for i in ids or ()]
    assert sorted([*whole, *(sources[0] for sources, ids in found if ids == [])]) == list(range(len(degrees)))
    assert parts == [n * 100 + i for n, degree in enumerate(degrees) if degree > size for i in range(degree)]
    assert all(sum(degrees[source] for source in sources) <= size for sources, ids in found if ids is None)
    assert all(len(ids) <= size for _, ids in found if ids)


def test_pages_are_read_at_once_and_come_in_order_with_few_in_memory() -> None:
    now, most, started = 0, 0, []
    lock = threading.Lock()

    def read(page: int) -> int:
        nonlocal now, most
        with lock:
            now, most = now + 1, max(most, now + 1)
            started.append(page)
        time.sleep(0.02 if page % 3 else 0.06)
        with lock:
            now -= 1
        return page

    for taken, page in enumerate(in_order(read, range(20), 3)):
        assert page == taken
        assert len(started) - taken <= 5
    assert most == 3


def test_what_fails_in_a_page_fails_the_whole_and_starts_no_more() -> None:
    started = []

    def read(page: int) -> int:
        started.append(page)
        if page == 2:
            raise StoreError("gone")
        return page

    with pytest.raises(StoreError, match="gone"):
        list(in_order(read, range(1000), 2))
    assert len(started) < 10


def part(rows: list[tuple[int, str]]) -> pa.RecordBatch:
    columns = [[0] * len(rows), [dst for dst, _ in rows], [row_id for _, row_id in rows]]
    return pa.RecordBatch.from_arrays(
        [pa.array(c, t) for c, t in zip(columns, SCHEMA.types, strict=True)], schema=SCHEMA
    )


@given(
    st.sets(st.tuples(st.integers(0, 5), st.text("ab", max_size=3)), min_size=1), st.integers(1, 4), st.integers(1, 9)
)
def test_parts_come_back_in_order(rows: set[tuple[int, str]], count: int, size: int) -> None:
    shuffled = sorted(rows, key=lambda row: (row[1], row[0]))
    with Parts(size) as parts:
        for number in range(count):
            parts.add(part(sorted(shuffled[number::count])))
        merged = list(parts.merged())
    found = [(row["dst"], row["row_id"]) for batch in merged for row in batch.to_pylist()]
    assert found == sorted(rows)
    assert max(batch.num_rows for batch in merged) <= max(size, count)


def test_a_relationship_that_comes_in_two_parts_means_that_the_graph_changed() -> None:
    with Parts(10) as parts:
        parts.add(part([(1, "a"), (2, "b")]))
        parts.add(part([(2, "b"), (3, "c")]))
        with pytest.raises(StoreError, match="read twice"):
            list(parts.merged())
