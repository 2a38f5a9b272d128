"""What a load does with its predecessor's output at hand: only what changed, refused rows, changes of the schema."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kg.errors import ContractError, StoreError
from kg.load import Options, holds_load, load
from kg.load_record import Marker
from kg.server_home import Connection
from kg.store import Store
from kg.tables import Output, Workspace
from tests.kg.small_graph import META, Rows, account, event, graph_digest, plain, rows, tables, without

RATED = "relationships/User-RATED-Film"
Load = Callable[..., Output]


@pytest.fixture
def loaded(clean_connection: Connection, tmp_path: Path) -> Load:
    """Load some tables after what was loaded before, and return the output."""

    def run(output: Output, *, believed: bool = True, **options: Any) -> Output:
        stage = Workspace(tmp_path).stage("loaded")
        before = stage.current() if believed else None
        with Store(clean_connection) as store, stage.create("test") as draft:
            load(store, output, draft, "small", before=before, options=Options(**options))
        made = stage.current()
        assert made
        return made

    return run


def changes(output: Output) -> dict[str, set[tuple[str, str]]]:
    """Identity and change by table, those without changes left out."""
    found = {}
    for table in output.tables("changes/"):
        read = output.read(table)
        if read.num_rows:
            found[table.removeprefix("changes/")] = set(
                zip(*read.select([0, read.num_columns - 1]).to_pydict().values(), strict=True)
            )
    return found


def affected(output: Output) -> dict[str, dict[str, int]]:
    return {
        table.removeprefix("affected/"): dict(zip(*output.read(table).to_pydict().values(), strict=True))
        for table in output.tables("affected/")
    }


def test_the_same_rows_in_another_order_write_nothing(
    clean_connection: Connection, loaded: Load, tmp_path: Path
) -> None:
    loaded(tables(tmp_path))
    before = graph_digest(clean_connection)
    content = {table: of[::-1] for table, of in rows().items()}
    assert loaded(tables(tmp_path, content)).manifest.figures["written"] == 0
    content["relationships/User-RATED-Film"][0]["weight"] = 3.5
    found = loaded(tables(tmp_path, content))
    assert changes(found) == {RATED: {(content[RATED][0]["row_id"], "updated")}}
    content["relationships/User-RATED-Film"][0] = rows()["relationships/User-RATED-Film"][-1]
    loaded(tables(tmp_path, content))
    assert graph_digest(clean_connection) == before


def test_an_edited_an_added_and_a_deleted_row_are_all_that_changes(
    clean_connection: Connection, loaded: Load, tmp_path: Path
) -> None:
    loaded(tables(tmp_path))
    content = rows()
    content["nodes/User"][1]["age"] = 7
    del content[RATED][0]
    content["relationships/User-READ-Book"].append(event("x2", "bob", "f1", None))
    found = loaded(tables(tmp_path, content))
    assert changes(found) == {
        "nodes/User": {("bob", "updated")},
        RATED: {("r1", "deleted")},
        "relationships/User-READ-Book": {("x2", "created")},
    }
    figures = found.manifest.figures
    assert figures["written"] == 3
    assert figures["relationships"]["User-RATED-Film"] == account(rows=3, unchanged=3, deleted=1)
    # bob changed; ann and film f1 lost a relationship, bob and book f1 got one. Film f2 is one from ann and bob.
    assert affected(found) == {
        "User": {"ann": 0, "bob": 0},
        "Film": {"f1": 0, "f2": 1},
        "Book": {"f1": 0},
        "Genre": {"Drama": 1},
    }
    by_diff = graph_digest(clean_connection)
    plain(clean_connection, "MATCH (n) DETACH DELETE n")
    loaded(tables(tmp_path, content))
    assert graph_digest(clean_connection) == by_diff


def test_equal_tables_made_anew_write_nothing_at_all(
    clean_connection: Connection, loaded: Load, tmp_path: Path
) -> None:
    first = loaded(tables(tmp_path))
    # What others wrote where we would have written, had we looked.
    plain(clean_connection, "MATCH (n:User {key: 'bob'}) SET n.age = 99")
    before = graph_digest(clean_connection)
    again = loaded(tables(tmp_path))
    assert again.manifest.figures["written"] == 0
    assert changes(again) == {}
    assert all(found == {} for found in affected(again).values())
    assert graph_digest(clean_connection) == before
    assert again.manifest.meta["state"] == first.manifest.meta["state"]
    assert again.manifest.meta["load"] == first.manifest.meta["load"]


@pytest.mark.parametrize(
    "harm",
    [
        "MATCH (n:User {key: 'bob'}) DETACH DELETE n",
        "MATCH ()-[r:RATED {row_id: 'r1'}]->() DELETE r",
        "MATCH (p:CrossGraphProject) SET p.load = 'another'",
        "MATCH (n) DETACH DELETE n",
    ],
)
def test_a_graph_that_is_not_what_was_left_is_read_and_mended(
    clean_connection: Connection, loaded: Load, tmp_path: Path, harm: str
) -> None:
    output = tables(tmp_path)
    first = loaded(output)
    whole = graph_digest(clean_connection)
    with Store(clean_connection) as store:
        assert holds_load(store, first)
        plain(clean_connection, harm)
        assert not holds_load(store, first)
    second = loaded(output)
    assert graph_digest(clean_connection) == whole
    with Store(clean_connection) as store:
        assert holds_load(store, second)
        assert Marker.read(store).load == second.manifest.meta["load"]


def test_rows_that_neo4j_refuses_go_to_quarantine_and_the_rest_is_loaded(
    clean_connection: Connection, loaded: Load, tmp_path: Path
) -> None:
    huge = "x" * 9000  # an index takes keys of some 8 kB
    content: Rows = {
        "nodes/User": [{"key": huge if i == 7 else f"u{i}"} for i in range(20)],
        "nodes/Film": [{"key": f"f{i}"} for i in range(4)],
        RATED: [event(f"r{i}", huge if i == 7 else f"u{i}", "f1", None) for i in range(20)],
    }
    output = tables(tmp_path, content)
    found = loaded(output, node_rows=8)
    figures = found.manifest.figures
    assert figures["nodes"]["User"] == account(rows=20, created=19, refused=1)
    assert figures["relationships"]["User-RATED-Film"] == account(rows=20, created=19, refused=1)
    assert figures["refused"] == {"nodes/User": 1, RATED: 1}
    [user] = found.read("quarantine/nodes/User").to_pylist()
    assert (user["source"], user["row"], user["reason"]) == ("nodes/User", huge, "refused:too_large")
    [edge] = found.read(f"quarantine/{RATED}").to_pylist()
    assert (edge["row"], edge["reason"]) == ("r7", "unknown_end:from")
    assert plain(clean_connection, "MATCH (u:User)-[r:RATED]->() RETURN count(DISTINCT u), count(r)") == [[19, 19]]
    # Again: tried again, refused again, nothing else is touched.
    again = loaded(output)
    assert again.manifest.figures["written"] == 0
    assert again.manifest.figures["nodes"]["User"] == account(rows=20, unchanged=19, refused=1)
    content["nodes/User"] = [{"key": row["key"] + huge * (i % 8 == 7)} for i, row in enumerate(content["nodes/User"])]
    with pytest.raises(StoreError, match=r"nodes/User: too many rows are refused.*too large to index"):
        loaded(tables(tmp_path, content | {RATED: []}), max_refused=0.05)


def test_a_node_of_others_with_our_label_is_adopted(clean_connection: Connection, loaded: Load, tmp_path: Path) -> None:
    plain(clean_connection, "CREATE (:Film {key: 'f1', theirs: 1}), (:Film {key: 'f99'})")
    found = loaded(tables(tmp_path)).manifest.figures
    assert found["nodes"]["Film"] == account(rows=3, created=2, updated=1)
    # One that comes between two loads, too.
    plain(clean_connection, "CREATE (:User {key: 'dora', theirs: 2})")
    content = rows()
    content["nodes/User"].append({"key": "dora"})
    assert loaded(tables(tmp_path, content)).manifest.figures["nodes"]["User"] == account(
        rows=4, updated=1, unchanged=3
    )
    assert plain(clean_connection, "MATCH (n {key: 'dora'}) RETURN n.theirs, n._adopted") == [[2, True]]


def described(folder: Path, content: Rows, **keys: str) -> Output:
    """Tables whose labels have these key expressions."""
    before = {label: dict(of) for label, of in META["labels"].items()}
    try:
        for label, key in keys.items():
            META["labels"].setdefault(label, {"side": "entity", "domain": None})
            META["labels"][label] |= {"key": key, "sources": ["films"]}
        return tables(folder, content)
    finally:
        META["labels"].clear()
        META["labels"].update(before)


def test_a_changed_key_is_refused_before_anything_is_written_and_loaded_when_accepted(
    clean_connection: Connection, loaded: Load, tmp_path: Path
) -> None:
    loaded(described(tmp_path, rows(), Film="id", User="id"))
    plain(clean_connection, "MATCH (n:Film {key: 'f1'}) SET n.of_the_old = true")
    before = graph_digest(clean_connection)
    backwards = {table: content[::-1] for table, content in rows().items()}
    changed = described(tmp_path, backwards, Film="code", User="id")
    with pytest.raises(
        ContractError, match=r"nodes.Film: the key of Film was 'id' and is now 'code'.*3 .*--accept-schema"
    ):
        loaded(changed)
    assert graph_digest(clean_connection) == before
    found = loaded(changed, accept_schema=True).manifest.figures
    assert found["nodes"]["Film"] == account(rows=3, created=3, deleted=3)
    assert found["nodes"]["User"] == account(rows=3, unchanged=3)
    assert found["relationships"]["User-RATED-Film"] == account(rows=4, created=4, deleted=4)
    # In the graph each has the hash of its own values, though the rows come in another order than before.
    assert loaded(described(tmp_path, rows(), Film="code", User="id"), believed=False).manifest.figures["written"] == 0
    # The keys happen to be the same ones, but the nodes are not.
    assert plain(clean_connection, "MATCH (n:Film) RETURN count(n), count(n.of_the_old)") == [[3, 0]]
    assert loaded(changed).manifest.figures["written"] == 0


def test_a_renamed_label_is_refused_and_loaded_when_accepted(
    clean_connection: Connection, loaded: Load, tmp_path: Path
) -> None:
    content = {k: v for k, v in rows().items() if k in {"nodes/User", "nodes/Genre"}}
    loaded(described(tmp_path, content, Genre="genre"))
    renamed = {"nodes/User": content["nodes/User"], "nodes/Book": content["nodes/Genre"]}
    output = described(tmp_path, renamed, Book="genre")
    with pytest.raises(ContractError, match=r"Genre seems to be called Book now, .*2 such nodes"):
        loaded(output)
    assert plain(clean_connection, "MATCH (n:Genre) RETURN count(n)") == [[2]]
    found = loaded(output, accept_schema=True).manifest.figures
    assert (found["nodes"]["Genre"], found["nodes"]["Book"]) == (account(rows=0, deleted=2), account(rows=2, created=2))


def test_constraints_follow_the_labels_and_those_of_others_stay(
    clean_connection: Connection, loaded: Load, tmp_path: Path
) -> None:
    plain(clean_connection, "CREATE CONSTRAINT theirs FOR (n:Genre) REQUIRE n.key IS UNIQUE")

    def constraints() -> set[str]:
        return {name for [name] in plain(clean_connection, "SHOW CONSTRAINTS YIELD name RETURN name")}

    loaded(tables(tmp_path))
    assert {"crossgraph key Film", "crossgraph key Book", "theirs"} <= constraints()
    assert "crossgraph key Genre" not in constraints()
    content = {k: v for k, v in rows().items() if "Book" not in k and "Genre" not in k}
    found = loaded(tables(tmp_path, content))
    assert found.manifest.figures["nodes"]["Genre"] == account(rows=0, deleted=2)
    assert "crossgraph key Book" not in constraints()
    assert {"crossgraph key Film", "theirs"} <= constraints()


def test_a_vanished_row_takes_its_relationship_and_its_node_only_when_no_row_makes_it(
    clean_connection: Connection, loaded: Load, tmp_path: Path
) -> None:
    loaded(tables(tmp_path))
    content = rows()
    content["relationships/Film-HAS_GENRE-Genre"] = content["relationships/Film-HAS_GENRE-Genre"][:1]
    found = loaded(tables(tmp_path, content)).manifest.figures
    assert found["relationships"]["Film-HAS_GENRE-Genre"] == account(rows=1, unchanged=1, deleted=1)
    assert found["nodes"]["Genre"] == account(rows=2, unchanged=2)
    content = {table: without(of, "Drama") for table, of in content.items()}
    assert loaded(tables(tmp_path, content)).manifest.figures["nodes"]["Genre"] == account(
        rows=1, unchanged=1, deleted=1
    )
