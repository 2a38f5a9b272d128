"""Invariants of the cuts over random events, a hand-made example, and a k-core against networkx."""

from datetime import UTC, datetime
from typing import Any

import networkx as nx
import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from kg.project import Graph
from kg.schema import CUT, EVENT, EdgeType
from kg.split import CUTS, k_core, make_cuts

RATED, CLICKED, READ = (
    EdgeType("User", "RATED", "Film"),
    EdgeType("User", "CLICKED", "Film"),
    EdgeType("User", "READ", "Book"),
)
Event = tuple[int, int, int, bool]


def graph(**rated: Any) -> Graph:
    def interaction(item: str, **more: Any) -> dict[str, Any]:
        return {"source": "s", "from": {"User": "u"}, "to": {item: "i"}, "interaction": True, "time": "t", **more}

    return Graph.model_validate(
        {
            "sources": {"s": {"format": "csv", "path": "s.csv"}},
            "nodes": {
                "User": {"source": "s", "key": "u"},
                "Film": {"source": "s", "key": "i", "domain": "films"},
                "Book": {"source": "s", "key": "i", "domain": "books"},
            },
            "relationships": {
                "RATED": interaction("Film", **rated),
                "CLICKED": interaction("Film", target=False),
                "READ": interaction("Book"),
            },
        }
    )


def table(rows: list[Event], prefix: str = "") -> pa.Table:
    return pa.table(
        {
            "row_id": [f"{prefix}{i:05d}" for i in range(len(rows))],
            "from_key": [f"u{user}" for user, *_ in rows],
            "to_key": [f"i{item}" for _, item, *_ in rows],
            "time": [datetime.fromtimestamp(time, UTC) for _, _, time, _ in rows],
            "weight": [1.0] * len(rows),
            "positive": [positive for *_, positive in rows],
        },
        schema=EVENT,
    )


def split_of(cut: pa.Table) -> list[str]:
    return [row["split"] for row in sorted(cut.to_pylist(), key=lambda row: row["row_id"])]


def test_the_last_fifth_of_a_users_positives_is_test_and_the_tenth_before_valid() -> None:
    # One user, ten positives at times 0 to 9: ⌈0.2 · 10⌉ = 2 test, ⌈0.1 · 10⌉ = 1 valid. A negative at 6 is before the
    # first held-out time, 7; one at 8 is after it.
    events = [(0, i, i, True) for i in range(10)] + [(0, 20, 6, False), (0, 21, 8, False)]
    cut = make_cuts({RATED: table(events)}, graph())["user_time"]
    assert split_of(cut) == ["train"] * 7 + ["valid", "test", "test", "train", "none"]


def test_a_user_with_two_positives_is_not_held_out_and_with_three_is() -> None:
    events = [(0, 0, 0, True), (0, 1, 1, True), (1, 0, 0, True), (1, 1, 1, True), (1, 2, 2, True)]
    cut = make_cuts({RATED: table(events)}, graph())["user_time"]
    assert split_of(cut) == ["train", "train", "train", "valid", "test"]


def test_one_moment_cuts_all_users_and_a_late_user_is_cold() -> None:
    # Ten events, user 1 only at the end: times from 8 on are test (2 of 10), 7 is valid.
    events = [(0, i, i, True) for i in range(8)] + [(1, 0, 8, True), (1, 1, 9, True)]
    cut = make_cuts({RATED: table(events)}, graph())["global_time"]
    assert split_of(cut) == ["train"] * 7 + ["valid", "test", "test"]


def test_a_later_event_of_a_known_pair_is_on_no_side() -> None:
    events = [(0, i, i, True) for i in range(9)] + [(0, 0, 9, True)]
    for cut in make_cuts({RATED: table(events)}, graph()).values():
        assert split_of(cut)[-1] == "none"


def test_the_k_core_is_that_of_the_train_rows() -> None:
    # Users 0 and 1 share items 0 and 1; item 7 has one user, so it leaves train, and held-out rows stay.
    events = [(u, i, t, True) for u in (0, 1) for t, i in enumerate((0, 1))] + [(0, 7, 2, True)]
    events += [(u, 10 + t, t, True) for u in (0, 1) for t in (8, 9)]
    cut = make_cuts({RATED: table(events)}, graph(k_core={"user": 2, "item": 2}))["user_time"]
    assert split_of(cut) == ["train"] * 4 + ["none"] + ["valid", "test"] * 2


event = st.tuples(st.integers(0, 5), st.integers(0, 8), st.integers(0, 12), st.booleans())


@settings(max_examples=60)
@given(st.lists(event, max_size=60), st.lists(event, max_size=20), st.lists(event, max_size=30))
def test_no_cut_leaks(rated: list[Event], clicked: list[Event], read: list[Event]) -> None:
    events = {RATED: table(rated, "r"), CLICKED: table(clicked, "c"), READ: table(read, "b")}
    cuts = make_cuts(events, graph())
    assert tuple(cuts) == CUTS
    for name, cut in cuts.items():
        assert cut.schema.equals(CUT)
        rows = cut.to_pylist()
        assert len(rows) == len(rated) + len(clicked) + len(read)
        held = [row for row in rows if row["split"] in {"valid", "test"}]
        assert all(row["positive"] and row["edge"] != CLICKED.name for row in held)
        by_side = {
            side: {(r["from_key"], r["edge"].split("-")[2], r["to_key"]) for r in rows if r["split"] == side}
            for side in ("train", "valid", "test")
        }
        assert not by_side["train"] & by_side["valid"]
        assert not (by_side["train"] | by_side["valid"]) & by_side["test"]
        _check_order(name, rows)


def _check_order(name: str, rows: list[dict[str, Any]]) -> None:
    """In a user's domain, or over all: train is no later than what is held out, valid no later than test."""
    scopes: dict[Any, dict[str, list[Any]]] = {}
    for row in rows:
        scope = (row["from_key"], row["edge"].split("-")[2]) if name == "user_time" else "all"
        scopes.setdefault(scope, {}).setdefault(row["split"], []).append((row["time"], row["row_id"]))
    for sides in scopes.values():
        for earlier, later in (("train", "valid"), ("train", "test"), ("valid", "test")):
            if sides.get(earlier) and sides.get(later):
                assert max(sides[earlier]) < min(sides[later])


pairs = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=40)


@given(pairs, st.integers(1, 4))
def test_k_core_equals_that_of_networkx(pairs: list[tuple[int, int]], k: int) -> None:
    network = nx.Graph([(("u", user), ("i", item)) for user, item in pairs])
    wanted = {(u[1], i[1]) if u[0] == "u" else (i[1], u[1]) for u, i in nx.k_core(network, k).edges}
    kept = k_core(np.array([u for u, _ in pairs]), np.array([i for _, i in pairs]), k, k)
    assert {pair for pair, inside in zip(pairs, kept, strict=True) if inside} == wanted
