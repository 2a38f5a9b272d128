"""Loading into a real Neo4j: what is written, what is not, what goes and what stays."""

import logging
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from kg.errors import ContractError, StoreError, UnknownIdError
from kg.load import Options, load
from kg.schema import node_schema
from kg.server_home import Connection
from kg.store import Store
from kg.tables import Draft, Output, Workspace
from tests.kg.small_graph import EARLY, LATE, SCHEMAS, Rows, account, event, graph_digest, plain, rows, tables, without


@pytest.fixture
def figures(clean_connection: Connection) -> Callable[..., dict[str, Any]]:
    """Load some tables and return the figures."""

    def run(output: Output, project: str = "small") -> dict[str, Any]:
        draft = Draft(output.filesystem, output.path)
        with Store(clean_connection) as store:
            load(store, output, draft, project)
        return draft.figures

    return run


def test_everything_is_written_with_labels_and_types(
    clean_connection: Connection, figures: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    found = figures(tables(tmp_path))
    assert found["nodes"]["Film"] == account(rows=3, created=3)
    assert found["relationships"]["User-RATED-Film"] == account(rows=4, created=4)
    assert found["features"]["Film"] == account(rows=3, updated=3)
    assert found["written"] == 10 + 7 + 3

    labels = plain(clean_connection, "MATCH (n) WHERE n._hash IS NOT NULL RETURN DISTINCT labels(n), n.domain")
    assert sorted(([sorted(names), domain] for names, domain in labels), key=str) == [
        [["Book", "Item"], "books"],
        [["Film", "Item"], "films"],
        [["Genre"], None],
        [["User"], None],
    ]
    [[film]] = plain(clean_connection, "MATCH (n:Film {key: 'f2'}) RETURN n {.*, _hash: null}")
    assert film.pop("seen_at").to_native() == EARLY
    assert film.pop("local").to_native() == datetime(2000, 1, 1, 0, 0, 0, 1)
    assert [day.to_native() for day in film.pop("shown")] == [date(1969, 1, 1), date(2020, 2, 29)]
    assert film == {
        "key": "f2", "title": "Zwei", "score": -0.1, "tags": ["b", "a", "b"], "raw": b"\x00\xff", "new": True,
        "text": "Zwei\nLeute", "image": "f2.png", "domain": "films", "degree": 2, "pagerank": 0.25, "_hash": None,
    }  # fmt: skip
    events = plain(
        clean_connection,
        "MATCH (u)-[r:RATED]->(f) RETURN r.row_id, u.key, f.key, r.count, r.last, r.weight, r.note ORDER BY r.row_id",
    )
    assert [[*e[:4], e[4] and e[4].to_native(), *e[5:]] for e in events] == [
        ["r1", "ann", "f1", 1, EARLY, 4.5, "n"],
        ["r2", "ann", "f2", 1, LATE, 1.0, None],
        ["r3", "bob", "f2", 1, None, None, None],
        ["r4", "ann", "f1", 1, LATE, None, None],
    ]


def test_loading_again_writes_nothing(
    clean_connection: Connection, figures: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    output = tables(tmp_path)
    figures(output)
    before = graph_digest(clean_connection)
    transaction = "CALL db.stats.retrieve('GRAPH COUNTS') YIELD data RETURN data.nodes"
    counts = plain(clean_connection, transaction)
    found = figures(output)
    assert found["written"] == 0
    for kind in ("nodes", "relationships", "features"):
        assert all(a == account(rows=a["rows"], unchanged=a["rows"]) for a in found[kind].values())
    assert graph_digest(clean_connection) == before
    assert plain(clean_connection, transaction) == counts


def test_one_changed_row_is_one_update(
    clean_connection: Connection, figures: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    figures(tables(tmp_path))
    plain(clean_connection, "MATCH (n:Film {key: 'f2'}) SET n.theirs = 'stays'")
    before = graph_digest(clean_connection)
    content = rows()
    content["nodes/Film"][0] |= {"score": None, "title": "Two"}
    content["relationships/User-RATED-Film"][0]["weight"] = 5.0
    content["features/Film"][2]["pagerank"] = 0.125
    found = figures(tables(tmp_path, content))
    assert found["nodes"]["Film"] == account(rows=3, updated=1, unchanged=2)
    assert found["nodes"]["User"] == account(rows=3, unchanged=3)
    assert found["relationships"]["User-RATED-Film"] == account(rows=4, updated=1, unchanged=3)
    assert found["features"]["Film"] == account(rows=3, updated=1, unchanged=2)
    assert found["written"] == 3
    got = plain(clean_connection, "MATCH (n:Film {key: 'f2'}) RETURN n.title, n.score, 'score' IN keys(n), n.theirs")
    assert got == [["Two", None, False, "stays"]]
    assert graph_digest(clean_connection) != before


def test_what_vanished_is_deleted(
    clean_connection: Connection, figures: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    figures(tables(tmp_path))
    content = {table: without(found, "ann") for table, found in rows().items()}
    found = figures(tables(tmp_path, content))
    assert found["nodes"]["User"] == account(rows=2, unchanged=2, deleted=1)
    assert found["relationships"]["User-RATED-Film"] == account(rows=1, unchanged=1, deleted=3)
    assert found["written"] == 4
    assert plain(clean_connection, "MATCH (n:User) RETURN n.key ORDER BY n.key") == [["bob"], ["ćeda"]]
    figures(tables(tmp_path))
    assert plain(clean_connection, "MATCH (:User {key: 'ann'})-[r]->() RETURN count(r)") == [[3]]


def test_tables_properties_and_features_that_are_gone_leave_the_graph(
    clean_connection: Connection, figures: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    figures(tables(tmp_path))
    content = {k: v for k, v in rows().items() if "Genre" not in k and not k.startswith("features")}
    thin = node_schema(f for f in SCHEMAS["nodes/Film"] if f.name in {"title", "new"})
    content["nodes/Film"] = [{k: row.get(k) for k in thin.names} for row in content["nodes/Film"]]
    found = figures(tables(tmp_path, content, {**SCHEMAS, "nodes/Film": thin}))
    assert found["nodes"]["Genre"] == account(rows=0, deleted=2)
    assert found["relationships"]["Film-HAS_GENRE-Genre"] == account(rows=0, deleted=2)
    names = plain(clean_connection, "MATCH (n:Film) UNWIND keys(n) AS k RETURN DISTINCT k ORDER BY k")
    assert [k for [k] in names] == ["_hash", "domain", "image", "key", "new", "text", "title"]


def test_a_node_with_relationships_of_others_stays_and_is_reported(
    clean_connection: Connection, figures: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    figures(tables(tmp_path))
    plain(clean_connection, "MATCH (n:Film {key: 'f10'}) CREATE (n)<-[:LIKES]-(:Critic {key: 'c'})")
    plain(clean_connection, "MATCH (n:Film {key: 'f1'}), (u:User {key: 'bob'}) CREATE (u)-[:RECOMMENDED]->(n)")
    content = {table: without(without(found, "f10"), "f1") for table, found in rows().items()}
    content["nodes/Book"] = rows()["nodes/Book"]
    output = tables(tmp_path, content)
    assert figures(output)["nodes"]["Film"] == account(rows=1, unchanged=1, deleted=1, kept=1)
    # It is not ours any more: out of our labels' common index, out of later accounts.
    assert plain(clean_connection, "MATCH (n:Film)<-[:LIKES]-(:Critic) RETURN n.key, labels(n)") == [["f10", ["Film"]]]
    assert figures(output)["written"] == 0
    # And it is ours again when its row comes back.
    assert figures(tables(tmp_path))["nodes"]["Film"] == account(rows=3, created=1, updated=1, unchanged=1)
    assert plain(clean_connection, "MATCH (n:Item)<-[:LIKES]-(:Critic) RETURN n.key") == [["f10"]]


def test_a_node_that_was_there_before_us_is_given_back(
    clean_connection: Connection, figures: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    plain(clean_connection, "CREATE (:Film {key: 'f1', theirs: 1})-[:RATED]->(:Film {key: 'f99'})")
    assert figures(tables(tmp_path))["nodes"]["Film"] == account(rows=3, created=2, updated=1)
    content = {table: without(found, "f1") for table, found in rows().items()}
    content["nodes/Book"] = rows()["nodes/Book"]
    assert figures(tables(tmp_path, content))["nodes"]["Film"] == account(rows=2, unchanged=2, kept=1)
    assert plain(clean_connection, "MATCH (n:Film)-[r:RATED]->(m) RETURN n.key, n.theirs, m.key") == [["f1", 1, "f99"]]


def test_a_killed_load_goes_on_and_ends_the_same(
    clean_connection: Connection, figures: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    output = tables(tmp_path)
    figures(output)
    undisturbed = graph_digest(clean_connection)
    with Store(clean_connection) as store:
        store.sweep("MATCH (n) CALL (n) { DETACH DELETE n } IN TRANSACTIONS RETURN count(*)")

        def killed(table: str, done: int) -> None:
            if table == "relationships/User-RATED-Film":
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            load(store, output, Draft(output.filesystem, output.path), "small", progress=killed)
    assert graph_digest(clean_connection) != undisturbed
    assert figures(output)["nodes"]["Film"] == account(rows=3, created=3)
    assert graph_digest(clean_connection) == undisturbed


def test_batches_that_share_their_nodes_never_fail_each_other(
    clean_connection: Connection, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    users, films = 100, 4
    content: Rows = {
        "nodes/User": [{"key": f"u{u}"} for u in range(users)],
        "nodes/Film": [{"key": f"f{f}"} for f in range(films)],
        "relationships/User-RATED-Film": [
            event(f"r{u}-{f}-{n}", f"u{u}", f"f{f}", LATE) for n in range(5) for u in range(users) for f in range(films)
        ],
    }
    output = tables(tmp_path, content)
    with (
        Store(clean_connection) as store,
        Workspace(tmp_path / "loaded").stage("loaded").create("x") as draft,
        caplog.at_level(logging.WARNING, "neo4j"),
    ):
        load(store, output, draft, "small", options=Options(node_rows=5, edge_rows=20))
    assert draft.figures["relationships"]["User-RATED-Film"] == account(rows=2000, created=2000)
    assert plain(clean_connection, "MATCH ()-[r:RATED]->() RETURN count(DISTINCT r.row_id)") == [[2000]]
    # The driver says so when the server gives up a transaction and it begins again.
    assert [record.getMessage() for record in caplog.records] == []


def broken(change: Callable[[Rows], object]) -> Rows:
    content = rows()
    change(content)
    return content


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        (broken(lambda c: c["nodes/Film"].append({"key": "f1"})), ContractError, "each key once"),
        (
            broken(lambda c: c["relationships/User-RATED-Film"][2].update(to_key="f9")),
            UnknownIdError,
            "first unknown 'f9'",
        ),
        (
            broken(lambda c: c["relationships/User-RATED-Film"][2].update(row_id="r1")),
            ContractError,
            "each row_id once",
        ),
        (broken(lambda c: c.pop("nodes/Genre")), ContractError, "a table nodes/Genre"),
        (broken(lambda c: c["nodes/Film"][1].update(tags=["a", None])), ContractError, "must hold no null"),
        (broken(lambda c: c["features/Film"][1].update(key="f9")), UnknownIdError, "first unknown 'f9'"),
    ],
)
def test_broken_tables_leave_the_graph_as_it_was(
    clean_connection: Connection,
    figures: Callable[..., dict[str, Any]],
    tmp_path: Path,
    content: Rows,
    error: type[Exception],
    said: str,
) -> None:
    output = tables(tmp_path, content)
    with pytest.raises(error, match=said):
        figures(output)
    assert plain(clean_connection, "MATCH (n) RETURN count(n)") == [[0]]


@pytest.mark.parametrize(
    ("field", "said"),
    [
        (pa.field("degree", pa.int64()), "other names for .'degree'."),
        (pa.field("domain", pa.string()), "other names for .'domain'."),
        (pa.field("z_a", pa.string()), "other names for .'z_a'."),
        (pa.field("price", pa.decimal128(5, 2)), "column price must be bool, integer"),
        (pa.field("nested", pa.list_(pa.list_(pa.int64()))), "column nested must be"),
    ],
)
def test_properties_that_cannot_be_ours_are_refused(
    figures: Callable[..., dict[str, Any]], tmp_path: Path, field: pa.Field, said: str
) -> None:
    schemas = {**SCHEMAS, "nodes/Film": node_schema([field])}
    content = {**rows(), "nodes/Film": [{"key": k} for k in ("f1", "f2", "f10")]}
    with pytest.raises(ContractError, match=said):
        figures(tables(tmp_path, content, schemas))


def test_a_database_of_another_project_is_refused(
    clean_connection: Connection, figures: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    output = tables(tmp_path)
    figures(output)
    before = graph_digest(clean_connection)
    with pytest.raises(StoreError, match="'small', not 'other'"):
        figures(output, "other")
    assert graph_digest(clean_connection) == before


def test_the_digest_sees_each_value(
    clean_connection: Connection, figures: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    figures(tables(tmp_path))
    seen = {graph_digest(clean_connection)}
    for change in (
        "MATCH (n:User {key: 'bob'}) SET n.age = 1",
        "MATCH (n:Film {key: 'f2'}) SET n.seen_at = n.seen_at + duration({microseconds: 1})",
        "MATCH (n:Film {key: 'f2'}) SET n.tags = ['a', 'b', 'b']",
        "MATCH ()-[r:RATED {row_id: 'r1'}]->() SET r.weight = 4.25",
        "MATCH ()-[r:RATED {row_id: 'r1'}]->() DELETE r",
        "MATCH (n:Film {key: 'f10'}) SET n:More",
    ):
        plain(clean_connection, change)
        seen.add(graph_digest(clean_connection))
    assert len(seen) == 7
    plain(clean_connection, "MATCH (n:Film {key: 'f10'}) SET n.z_a = [1.0], n.c_b = [1.0] CREATE (:Theirs)")
    assert graph_digest(clean_connection) in seen


def test_long_rows_go_in_small_batches(
    figures: Callable[..., dict[str, Any]], clean_connection: Connection, tmp_path: Path
) -> None:
    content: Rows = {"nodes/Book": [{"key": f"b{i}", "text": "x" * 1_000_000} for i in range(20)]}
    done: list[int] = []
    output = tables(tmp_path, content)
    with Store(clean_connection) as store:
        load(store, output, Draft(output.filesystem, output.path), "small", lambda table, n: done.append(n))
    assert sum(done) == 20
    assert max(done) <= 8
