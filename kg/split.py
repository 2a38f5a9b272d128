"""The evaluation cut: which event is learned from and which is predicted, decided before anything is learned.

Two cuts are made. ``user_time`` holds out each user's latest share of positive events; ``global_time`` everything
after one moment, so that users without earlier events are cold. Only rows of a cut's `train` may be learned from
while choosing, and `train` with `valid` while testing.

Held out are positive events of target interactions. An event that is neither held out nor earlier than what is
(a later negative, a later click) is on no side (``none``), and so is a held-out event whose user had an event with
that item on an earlier side. Events are ordered by time, then row id; row ids are digests, so events without time
are held out at random, the same ones in every run.

- ``user_time``: of a user's n positives in a domain, the last ⌈test · n⌉ are test and the ⌈validation · n⌉ before
  them valid; users for whom that would leave none for train are not held out. Each domain has its own timeline.
- ``global_time``: the moments at which the given shares of all target events lie ahead, domains together; events at
  the very moment lie ahead.
- A `k_core` is that of the train rows; held-out events outside it stay, for users did them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kg.interactions import Interactions
from kg.project import Graph
from kg.schema import CUT, EVENT, EdgeType
from kg.tables import Draft, Output

CutName = Literal["user_time", "global_time"]
CUTS: tuple[CutName, ...] = ("user_time", "global_time")
TRAIN, VALID, TEST, NONE = 0, 1, 2, 3
SIDES = ("train", "valid", "test", "none")
NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Cut:
    """The three sides of a cut. `valid` and `test` hold positives whose (user, item) is on no earlier side."""

    name: CutName
    train: Interactions
    valid: Interactions
    test: Interactions


def read_events(tables: Output) -> dict[EdgeType, pa.Table]:
    """The event tables of stage `tables`."""
    return {EdgeType.parse(name.removeprefix("events/")): tables.read(name) for name in tables.tables("events/")}


def write_cuts(tables: Output, graph: Graph, draft: Draft) -> None:
    """Stage `cuts`: both cuts of the events of stage `tables`; figures are the events by side."""
    for name, cut in make_cuts(read_events(tables), graph).items():
        draft.write(name, cut, CUT)
        draft.figures[name] = {v["values"]: v["counts"] for v in pc.value_counts(cut["split"]).to_pylist()}


def make_cuts(events: Mapping[EdgeType, pa.Table], graph: Graph) -> dict[CutName, pa.Table]:
    """Both cuts, as `schema.CUT`, of the events of a graph's interactions (`schema.EVENT`)."""
    rows = _Rows.of({edge: events[edge] for edge in sorted(events)}, graph)
    sides = {"user_time": _user_time(rows, graph), "global_time": _global_time(rows, graph)}
    return {name: rows.table(_settled(rows, sides[name], graph)) for name in CUTS}


@dataclass(frozen=True)
class _Rows:
    """All events in one order; arrays of one length unless said otherwise."""

    events: pa.Table
    edges: list[EdgeType]
    edge: np.ndarray
    """Position in `edges`."""
    user: np.ndarray
    item: np.ndarray
    pair: np.ndarray
    """A number for each (user, item)."""
    domain: np.ndarray
    target: np.ndarray
    positive: np.ndarray
    time: np.ndarray
    """int64 microseconds; 0 where there is none"""
    timed: np.ndarray
    """Whether the event's interaction has times."""
    rank: np.ndarray
    """Its place among all by time, then row id."""

    @classmethod
    def of(cls, events: Mapping[EdgeType, pa.Table], graph: Graph) -> "_Rows":
        edges = list(events)
        sizes = [len(table) for table in events.values()]
        whole = pa.concat_tables([table.select(EVENT.names).cast(EVENT) for table in events.values()] or [_nothing()])

        def each(values: list[object], dtype: type) -> np.ndarray:
            return np.repeat(np.array(values, dtype), sizes)

        parts = [graph.interactions[edge] for edge in edges]
        domains = [str(graph.nodes[edge.target].domain) for edge in edges]
        labels = each([edge.target for edge in edges], object)
        user, _ = _codes(whole["from_key"])
        item, n_items = _codes(pc.binary_join_element_wise(pa.array(labels, pa.string()), whole["to_key"], "\x1f"))
        time = pc.fill_null(pc.cast(whole["time"], pa.int64()), 0).to_numpy()
        order = pc.sort_indices(
            pa.table({"time": time, "row_id": whole["row_id"]}), [("time", "ascending"), ("row_id", "ascending")]
        ).to_numpy()
        rank = np.empty(len(whole), np.int64)
        rank[order] = np.arange(len(whole))
        return cls(
            events=whole,
            edges=edges,
            edge=each(list(range(len(edges))), np.int64),
            user=user,
            item=item,
            pair=user * max(n_items, 1) + item,
            domain=each([sorted(set(domains)).index(domain) for domain in domains], np.int64),
            target=each([part.target for part in parts], bool),
            positive=pc.fill_null(whole["positive"], False).to_numpy(),
            time=time,
            timed=each([part.time is not None for part in parts], bool),
            rank=rank,
        )

    def table(self, side: np.ndarray) -> pa.Table:
        """The rows as a cut."""
        names = pa.array([edge.name for edge in self.edges], pa.string()).take(pa.array(self.edge))
        splits = pa.array(SIDES, pa.string()).take(pa.array(side))
        columns = {"edge": names, **{c: self.events[c] for c in EVENT.names}, "split": splits}
        return pa.table(columns).cast(CUT)


def _nothing() -> pa.Table:
    return EVENT.empty_table()


def _codes(keys: pa.ChunkedArray) -> tuple[np.ndarray, int]:
    encoded = pc.dictionary_encode(keys).combine_chunks()
    encoded = encoded.chunk(0) if isinstance(encoded, pa.ChunkedArray) else encoded
    return encoded.indices.to_numpy().astype(np.int64), len(encoded.dictionary)


def _ceil(share: float, counts: np.ndarray) -> np.ndarray:
    """⌈share · n⌉, where 0.1 · 30 is 3."""
    return np.ceil(np.round(share * counts, 9)).astype(np.int64)


def _user_time(rows: _Rows, graph: Graph) -> np.ndarray:
    """The side of each event before pairs are looked at: each user's latest positives by domain."""
    _, group = np.unique(rows.user * (rows.domain.max(initial=0) + 1) + rows.domain, return_inverse=True)
    n_groups = group.max(initial=-1) + 1
    candidates = np.flatnonzero(rows.positive & rows.target)
    candidates = candidates[np.lexsort((rows.rank[candidates], group[candidates]))]
    counts = np.bincount(group[candidates], minlength=n_groups)
    tests, valids = _ceil(graph.split.test, counts), _ceil(graph.split.validation, counts)
    left = counts - tests - valids
    left = np.where(left > 0, left, counts)
    place = np.arange(len(candidates)) - np.repeat(np.cumsum(counts) - counts, counts)
    of = group[candidates]
    held = candidates[place >= left[of]]
    first = np.full(n_groups, NEVER)
    np.minimum.at(first, group[held], rows.rank[held])
    side = np.where(rows.rank < first[group], TRAIN, NONE)
    # Beside timed targets an event without time might be later than what is held out.
    side[(first[group] != NEVER) & (rows.timed != _target_timed(rows))] = NONE
    is_test = place >= (counts - tests)[of]
    side[held] = np.where(is_test[place >= left[of]], TEST, VALID)
    return side


def _target_timed(rows: _Rows) -> np.ndarray:
    """Whether the target interaction of each event's domain has times."""
    by_domain = np.zeros(rows.domain.max(initial=0) + 1, bool)
    by_domain[rows.domain[rows.target & rows.timed]] = True
    return by_domain[rows.domain]


def _global_time(rows: _Rows, graph: Graph) -> np.ndarray:
    """The side of each event before pairs are looked at: one moment for all, by place where there is no time."""
    side = np.full(len(rows.user), NONE)
    for timed in (True, False):
        chosen = rows.timed == timed
        at = rows.time if timed else rows.rank
        ordered = np.sort(at[chosen & rows.target])
        if not len(ordered):
            side[chosen] = TRAIN
            continue
        test = _moment(ordered, graph.split.test)
        valid = _moment(ordered, graph.split.test + graph.split.validation)
        side[chosen & (at < valid)] = TRAIN
        held = chosen & rows.positive & rows.target
        side[held & (at >= valid)] = VALID
        side[held & (at >= test)] = TEST
    return side


def _moment(ordered: np.ndarray, share: float) -> int:
    """The first of the last `share` of ordered values."""
    return int(ordered[max(0, len(ordered) - int(_ceil(share, np.array(len(ordered)))))])


def _settled(rows: _Rows, side: np.ndarray, graph: Graph) -> np.ndarray:
    """Take the k-core of the train rows, and drop pairs from a side that an earlier one has."""
    side = side.copy()
    for position, edge in enumerate(rows.edges):
        if core := graph.interactions[edge].k_core:
            train = np.flatnonzero((rows.edge == position) & (side == TRAIN))
            kept = k_core(rows.user[train], rows.item[train], core.user, core.item)
            side[train[~kept]] = NONE
    for later, earlier in ((VALID, [TRAIN]), (TEST, [TRAIN, VALID])):
        seen = np.unique(rows.pair[np.isin(side, earlier)])
        side[(side == later) & np.isin(rows.pair, seen)] = NONE
    return side


def k_core(user: np.ndarray, item: np.ndarray, user_least: int, item_least: int) -> np.ndarray:
    """Which events (bool) lie in the k-core; `user` and `item` are numbers from 0.

    It is the largest set of pairs in which users have `user_least` items or more, and items `item_least` users.
    """
    if not len(user):
        return np.zeros(0, bool)
    n_items = item.max() + 1
    pairs, inverse = np.unique(user * n_items + item, return_inverse=True)
    users, items = pairs // n_items, pairs % n_items
    kept = np.ones(len(pairs), bool)
    while True:
        by_user = np.bincount(users[kept], minlength=user.max() + 1)
        by_item = np.bincount(items[kept], minlength=n_items)
        still = kept & (by_user[users] >= user_least) & (by_item[items] >= item_least)
        if (still == kept).all():
            return kept[inverse]
        kept = still
