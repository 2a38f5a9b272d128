"""Events of tables and cuts in the indices of a snapshot, of everything and of a part."""

from typing import Any

import pyarrow as pa
import pytest

from kg.errors import UnknownIdError
from kg.events import all_events, catalogue, read_cut
from kg.interactions import Interactions
from kg.schema import EVENT, INTERACTION_COLUMNS, EdgeType, edge_schema, node_schema, relationship_schema
from kg.selection import Selection
from kg.split import write_cuts
from kg.tables import Workspace
from tests.kg.test_split import RATED, READ, graph, table


@pytest.fixture
def workspace(tmp_path: Any) -> Workspace:
    """Stages `tables` (three users, films and a book), `cuts`, and `graph` (their nodes, sorted)."""
    found = Workspace(tmp_path)
    labels = {
        "User": {"side": "user", "domain": None},
        "Film": {"side": "item", "domain": "films"},
        "Book": {"side": "item", "domain": "books"},
        "Genre": {"side": "entity", "domain": None},
    }
    keys = {"User": ["u0", "u1", "u2"], "Film": ["i0", "i1", "i2"], "Book": ["i0"], "Genre": ["g"]}
    with found.stage("graph").create("g") as draft:
        for label, of in keys.items():
            nodes = pa.table({"key": of, "text": [None] * len(of), "image": [None] * len(of)})
            draft.write(f"nodes/{label}", nodes.cast(node_schema([])), node_schema([]))
        draft.meta["labels"] = labels
    with found.stage("tables").create("t") as draft:
        rated = table([(0, 0, 1, True), (0, 1, 2, True), (0, 2, 3, True), (1, 0, 4, False)], "r")
        _write_events(draft, RATED, rated)
        _write_events(draft, READ, table([(2, 0, 5, True)], "b"))
    with found.stage("cuts").create("c") as draft:
        write_cuts(current(found, "tables"), graph(), draft)
    return found


def _write_events(draft: Any, edge: EdgeType, events: pa.Table) -> None:
    draft.write(f"events/{edge.name}", events, EVENT)
    schema = relationship_schema([], interaction=True)
    plain = events.select(["row_id", "from_key", "to_key"])
    for field in INTERACTION_COLUMNS:
        value = 1 if field.name == "count" else None
        plain = plain.append_column(field, pa.array([value] * len(events), field.type))
    draft.write(f"relationships/{edge.name}", plain, schema)


def current(workspace: Workspace, stage: str) -> Any:
    return workspace.stage(stage).current()


def test_a_cut_is_read_in_the_catalogues_indices(workspace: Workspace) -> None:
    found = catalogue(current(workspace, "graph"))
    # Labels in alphabetical order: the book is item 0, the films are 1 to 3.
    assert (found.n_users, found.n_items, found.offsets) == (3, 4, {"Book": 0, "Film": 1})
    assert found.domains == {"Book": "books", "Film": "films"}
    cut = read_cut(current(workspace, "cuts"), "user_time", current(workspace, "graph"))
    assert (cut.valid.user.tolist(), cut.valid.item.tolist()) == ([0], [2])
    assert (cut.test.user.tolist(), cut.test.item.tolist()) == ([0], [3])
    train = sorted(zip(cut.train.user.tolist(), cut.train.item.tolist(), cut.train.positive.tolist(), strict=True))
    assert train == [(0, 1, True), (1, 1, False), (2, 0, True)]
    assert cut.train.time.max() == 5_000_000


def test_all_events_are_those_of_every_domain(workspace: Workspace) -> None:
    found = all_events(current(workspace, "tables"), current(workspace, "graph"))
    assert sorted(zip(found.user.tolist(), found.item.tolist(), strict=True)) == [
        (0, 1),
        (0, 2),
        (0, 3),
        (1, 1),
        (2, 0),
    ]
    assert found.positives().matrix().nnz == 4


def select(
    workspace: Workspace, selection: dict[str, Any], keys: dict[str, list[str]], pairs: dict[EdgeType, Any]
) -> Any:
    """A snapshot of a part of the graph, by keys and by pairs of row numbers."""
    labels = current(workspace, "graph").manifest.meta["labels"]
    schema = edge_schema([], interaction=True)
    with workspace.stage("graph").create("part") as draft:
        for label, of in keys.items():
            nodes = pa.table({"key": of, "text": [None] * len(of), "image": [None] * len(of)})
            draft.write(f"nodes/{label}", nodes.cast(node_schema([])), node_schema([]))
        for edge, ends in pairs.items():
            rows = [{"src": src, "dst": dst, "row_id": f"{src}-{dst}", "count": 1} for src, dst in ends]
            draft.write(f"edges/{edge.name}", pa.Table.from_pylist(rows, schema), schema)
        draft.meta |= {"labels": {label: labels[label] for label in keys}}
        draft.meta["selection"] = Selection.model_validate(selection).model_dump(mode="json")
    return current(workspace, "graph")


def triples(events: Interactions) -> list[tuple[int, int, int]]:
    found = zip(events.user.tolist(), events.item.tolist(), (events.time // 1_000_000).tolist(), strict=True)
    return sorted(found)


def test_events_outside_a_selection_are_left_out_of_cuts_and_of_all(workspace: Workspace) -> None:
    # u1 and i2 are not selected, and of u0's films i1 alone is: i0 has no relationship in the snapshot.
    part = select(
        workspace, {"labels": ["User", "Film"]}, {"User": ["u0", "u2"], "Film": ["i0", "i1"]}, {RATED: [(0, 1)]}
    )
    assert triples(all_events(current(workspace, "tables"), part)) == [(0, 1, 2)]
    cut = read_cut(current(workspace, "cuts"), "user_time", part)
    assert [triples(side) for side in (cut.train, cut.valid, cut.test)] == [[], [(0, 1, 2)], []]


def test_no_event_after_a_selections_moment_is_learned_from(workspace: Workspace) -> None:
    # Pairs may have several relationships, of which the later are left out: then a pair alone says too little.
    everything = {"User": ["u0", "u1", "u2"], "Film": ["i0", "i1", "i2"], "Book": ["i0"], "Genre": ["g"]}
    ends = {RATED: [(0, 0), (0, 1), (0, 2), (1, 0)], READ: [(2, 0)]}
    part = select(workspace, {"until": "1970-01-01T00:00:03"}, everything, ends)
    assert triples(all_events(current(workspace, "tables"), part)) == [(0, 1, 1), (0, 2, 2), (0, 3, 3)]


def test_a_relationship_type_that_is_not_selected_has_no_events(workspace: Workspace) -> None:
    everything = {"User": ["u0", "u1", "u2"], "Film": ["i0", "i1", "i2"], "Book": ["i0"]}
    part = select(workspace, {"types": ["READ"]}, everything, {READ: [(2, 0)]})
    assert triples(all_events(current(workspace, "tables"), part)) == [(2, 0, 5)]


def test_an_id_that_a_whole_snapshot_lacks_is_an_error(workspace: Workspace) -> None:
    part = select(workspace, {}, {"User": ["u0", "u2"], "Film": ["i0", "i1", "i2"], "Book": ["i0"]}, {})
    with pytest.raises(UnknownIdError, match="'u1'"):
        all_events(current(workspace, "tables"), part)
