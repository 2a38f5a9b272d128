"""What would change is counted from two outputs' tables by identity and content."""

from pathlib import Path

import pyarrow as pa

from kg.load_state import State, write_state
from kg.plan import Change, changes, size_of
from kg.schema import node_schema, relationship_schema
from kg.tables import Draft, Output, Workspace

NODES = node_schema([pa.field("age", pa.int64())])
EDGES = relationship_schema([], interaction=False)


def output(
    folder: Path,
    ages: dict[str, int | None],
    edges: dict[str, tuple[str, str]],
    domain: str = "films",
    image: str | None = None,
) -> Output:
    stage = Workspace(folder).stage("tables")
    with stage.create(f"{ages}") as draft:
        _write(draft, ages, edges, image)
        draft.meta |= {"labels": {"User": {"side": "user", "domain": domain}}, "edges": {}}
    found = stage.current()
    assert found is not None
    return found


def held(tables: Output) -> State:
    """What the graph holds once these tables are loaded."""
    stage = Workspace(Path(tables.path).parent).stage("loaded")
    with stage.create("load") as draft:
        written = {table: write_state(tables, draft, table) for table in tables.manifest.tables}
        draft.meta["state"] = {table: {"rows": rows, "digest": digest} for table, (rows, digest) in written.items()}
    found = stage.current()
    assert found is not None
    return State.of_output(found)


def _write(draft: Draft, ages: dict[str, int | None], edges: dict[str, tuple[str, str]], image: str | None) -> None:
    rows = [{"key": key, "age": age, "text": None, "image": image} for key, age in ages.items()]
    draft.write("nodes/User", pa.Table.from_pylist(rows, schema=NODES), NODES)
    if edges:
        ends = [{"row_id": i, "from_key": a, "to_key": b} for i, (a, b) in edges.items()]
        draft.write("relationships/User-KNOWS-User", pa.Table.from_pylist(ends, schema=EDGES), EDGES)


def test_one_edited_one_added_and_one_deleted_row_are_just_that(tmp_path: Path) -> None:
    old = output(tmp_path / "old", {"a": 1, "b": 2, "c": 3}, {"1": ("a", "b"), "2": ("b", "c")})
    new = output(tmp_path / "new", {"d": 4, "b": None, "a": 1}, {"1": ("a", "b")})
    assert changes(new, held(old)) == {
        "nodes/User": Change(created=1, updated=1, deleted=1, unchanged=1),
        "relationships/User-KNOWS-User": Change(deleted=1, unchanged=1),
    }


def test_the_order_of_rows_changes_nothing(tmp_path: Path) -> None:
    old = output(tmp_path / "old", {"a": 1, "b": 2}, {})
    new = output(tmp_path / "new", {"b": 2, "a": 1}, {})
    assert changes(new, held(old)) == {"nodes/User": Change(unchanged=2)}


def test_all_is_created_where_nothing_is_loaded_and_a_vanished_table_is_deleted(tmp_path: Path) -> None:
    some = output(tmp_path / "some", {"a": 1}, {"1": ("a", "a")})
    none = output(tmp_path / "none", {}, {})
    assert changes(some, None) == {
        "nodes/User": Change(created=1),
        "relationships/User-KNOWS-User": Change(created=1),
    }
    assert changes(none, held(some)) == {
        "nodes/User": Change(deleted=1),
        "relationships/User-KNOWS-User": Change(deleted=1),
    }


def test_another_domain_of_a_label_updates_its_nodes(tmp_path: Path) -> None:
    old, new = output(tmp_path / "old", {"a": 1}, {}), output(tmp_path / "new", {"a": 1}, {}, domain="books")
    assert changes(new, held(old))["nodes/User"] == Change(updated=1)


def test_a_picture_in_the_scratch_folder_is_the_one_in_the_workspace(tmp_path: Path) -> None:
    old = output(tmp_path / "old", {"a": 1}, {}, image="/work/landing/pictures/1.png")
    new = output(tmp_path / "new", {"a": 1}, {}, image="/scratch/landing/pictures/1.png")
    assert changes(new, held(old))["nodes/User"] == Change(updated=1)
    assert changes(new, held(old), ("/scratch/landing", "/work/landing"))["nodes/User"] == Change(unchanged=1)


def test_the_size_of_tables_is_what_their_columns_hold(tmp_path: Path) -> None:
    found = output(tmp_path, {f"{i:08d}": i for i in range(10_000)}, {})
    # Eight bytes of key with their length, eight of age; a dictionary or two may add to it.
    assert 160_000 <= size_of(found, ["nodes/User"]) <= 400_000
    assert size_of(found, []) == 0
