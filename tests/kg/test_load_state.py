"""What a load remembers of its rows, without a database."""

from pathlib import Path

from pyarrow import fs

from kg.load_base import Base, new_state
from kg.load_state import State, state_digest, write_state
from kg.tables import Draft, Output
from tests.kg.small_graph import SCHEMAS, rows, tables


def written(output: Output, folder: Path) -> State:
    """The state of all tables in a draft of its own."""
    draft = Draft(fs.LocalFileSystem(), str(folder))
    state = State(draft.filesystem, draft.location("state"))
    for table in output.tables():
        state.rows[table], state.digests[table] = write_state(output, draft, table)
    return state


def test_a_digest_is_the_same_whether_the_state_is_written_or_not_and_in_any_order(tmp_path: Path) -> None:
    output = tables(tmp_path / "a")
    backwards = tables(tmp_path / "b", {table: content[::-1] for table, content in rows().items()})
    state = written(output, tmp_path / "state")
    for table in SCHEMAS:
        assert state_digest(output, table) == state_digest(backwards, table) == state.digests[table]
    content = rows()
    content["nodes/Film"][0]["score"] = 0.5
    content["relationships/User-READ-Book"][0]["row_id"] = "x2"
    changed = tables(tmp_path / "c", content)
    differ = {table for table in SCHEMAS if state_digest(changed, table) != state.digests[table]}
    assert differ == {"nodes/Film", "relationships/User-READ-Book"}


def test_the_state_of_rows_that_come_again_is_taken_over(tmp_path: Path) -> None:
    base = Base(written(tables(tmp_path / "a"), tmp_path / "state"), "before")
    content = {table: of[::-1] for table, of in rows().items()}
    content["nodes/User"][0]["age"] = 99
    draft = Draft(fs.LocalFileSystem(), str(tmp_path / "draft"))
    state = new_state(tables(tmp_path / "b", content), draft, base, sorted(content))
    assert state.rows == base.state.rows == {table: draft.tables[f"state/{table}"] for table in content}
    for table in content:
        same = state.read(table).equals(base.state.read(table))
        assert same == (table != "nodes/User")
        assert (state.digests[table] == base.state.digests[table]) == same
