"""The store on a real Neo4j: what it reads and writes, and what it says when Neo4j does not play along."""

import re
from dataclasses import replace
from datetime import UTC, date, datetime

import pyarrow as pa
import pytest
from neo4j.exceptions import Neo4jError

from kg.errors import StoreError
from kg.server_home import Connection, free_port
from kg.store import FORMAT, Counters, Store, explain
from tests.kg.small_graph import plain


def refused(connection: Connection) -> str:
    with pytest.raises(StoreError) as caught, Store(connection, timeout=2):
        pass
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_unreachable_server_is_named_with_what_to_do(connection: Connection) -> None:
    uri = f"bolt://127.0.0.1:{free_port()}"
    said = refused(replace(connection, uri=uri))
    assert uri in said
    assert "crossgraph neo4j start" in said
    assert "CROSSGRAPH_NEO4J__URI" in said


@pytest.mark.parametrize("uri", ["nonsense", "http://127.0.0.1:7474", "bolt://no.such.host.invalid:7687"])
def test_a_wrong_uri_is_named(connection: Connection, uri: str) -> None:
    assert uri in refused(replace(connection, uri=uri))


def test_wrong_credentials_name_the_settings(connection: Connection) -> None:
    # A user of this test alone: Neo4j locks a user out for seconds after three wrong passwords.
    said = refused(replace(connection, user="nobody", password="wrong-secret"))
    assert "'nobody'" in said
    assert "CROSSGRAPH_NEO4J__USER" in said
    assert "CROSSGRAPH_NEO4J__PASSWORD" in said
    assert "wrong-secret" not in said


def test_an_unknown_database_names_the_setting(connection: Connection) -> None:
    said = refused(replace(connection, database="elsewhere"))
    assert "'elsewhere'" in said
    assert "CROSSGRAPH_NEO4J__DATABASE" in said


def test_a_password_that_was_never_chosen_is_named(connection: Connection) -> None:
    admin = replace(connection, database="system")
    plain(admin, "CREATE USER fresh SET PASSWORD 'first-secret' CHANGE REQUIRED")
    try:
        assert "'fresh' to choose a password" in refused(replace(connection, user="fresh", password="first-secret"))
    finally:
        plain(admin, "DROP USER fresh")


def test_a_graph_that_cannot_get_a_constraint_is_named(clean_connection: Connection) -> None:
    plain(clean_connection, "UNWIND [1, 2] AS i CREATE (:Twice {key: 'same'})")
    with Store(clean_connection) as store, pytest.raises(StoreError, match=r"break a constraint.*'same'") as caught:
        store.ensure_unique(["Twice"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("Neo.ClientError.Security.Forbidden", "grants user 'ann' too little, ask its administrator: no and no"),
        ("Neo.ClientError.Security.AuthenticationRateLimit", "credentials for 'ann' too often"),
        ("Neo.TransientError.General.OutOfMemoryError", "failed .* no and no; see its log"),
    ],
)
def test_what_this_edition_never_says_is_explained_too(code: str, said: str) -> None:
    error = Neo4jError._hydrate_neo4j(code=code, message="no\nand no")
    text = explain(error, Connection("bolt://h:1", "ann", "secret"))
    assert re.search(said, text)
    assert "\n" not in text


def test_a_refused_statement_is_one_line(connection: Connection) -> None:
    with Store(connection) as store, pytest.raises(StoreError, match="refused a statement") as caught:
        store.read("MATCH (n) RETURN\n nothing_known")
    assert "\n" not in str(caught.value)


def test_an_error_of_the_rows_is_not_taken_for_neo4js(clean_connection: Connection) -> None:
    def broken():  # type: ignore[no-untyped-def]
        yield [[1]]
        raise OSError("the disk of the tables")

    with Store(clean_connection) as store, pytest.raises(OSError, match="disk of the tables"):
        store.write("UNWIND $rows AS row CREATE (:N) RETURN count(*)", broken())


def test_read_gives_native_values_and_the_types_asked_for(connection: Connection) -> None:
    query = (
        "UNWIND [1, null] AS x RETURN x AS number, date('2020-02-29') AS day, "
        "datetime('2020-02-29T12:00:00.000001+01:00') AS instant, [x] AS list"
    )
    with Store(connection) as store:
        found = store.read(query)
        assert found.to_pylist()[0] == {
            "number": 1,
            "day": date(2020, 2, 29),
            "instant": datetime(2020, 2, 29, 11, 0, 0, 1, UTC),
            "list": [1],
        }
        schema = pa.schema(
            [("a", pa.int32()), ("b", pa.date32()), ("c", pa.timestamp("us", "UTC")), ("d", pa.list_(pa.int8()))]
        )
        assert store.read(query, schema=schema).schema == schema
        assert store.read("MATCH (:NoSuchLabel) RETURN 1 AS x").to_pydict() == {"x": []}


def test_stream_gives_all_rows_in_batches(connection: Connection) -> None:
    with Store(connection) as store:
        batches = list(store.stream("UNWIND range(1, $n) AS x RETURN x", {"n": 2500}, size=1000))
        assert [batch.num_rows for batch in batches] == [1000, 1000, 500]
        assert pa.Table.from_batches(batches)["x"].to_pylist() == list(range(1, 2501))
        # A stream that is left early must not block what comes next.
        assert next(store.stream("UNWIND range(1, 100000) AS x RETURN x", size=10)).num_rows == 10
        assert store.value("RETURN 1") == 1


def test_write_sums_counters_over_batches(clean_connection: Connection) -> None:
    done: list[int] = []
    with Store(clean_connection) as store:
        query = "UNWIND $rows AS row CREATE (a:N {x: row, y: $y})-[:T]->(:M) RETURN count(*)"
        counters = store.write(query, [[1, 2], [3]], {"y": 0}, progress=done.append)
        assert counters == Counters(3, nodes_created=6, relationships_created=3, properties_set=6)
        assert store.sweep("MATCH (n:N) CALL (n) { DETACH DELETE n } IN TRANSACTIONS OF 2 ROWS RETURN count(*)") == 3
    assert done == [2, 1]
    assert plain(clean_connection, "MATCH (n) RETURN count(n)") == [[3]]


def test_keys_are_unique_and_indexed_at_once(clean_connection: Connection) -> None:
    with Store(clean_connection) as store:
        store.ensure_unique(["A", "B"])
        store.ensure_unique(["A"])
        store.write("UNWIND $rows AS row CREATE (:A {key: row}) RETURN count(*)", [["k"]])
        with pytest.raises(StoreError, match="already exists"):
            store.write("UNWIND $rows AS row CREATE (:A {key: row}) RETURN count(*)", [["k"]])
    states = plain(clean_connection, "SHOW INDEXES YIELD state, type WHERE type = 'RANGE' RETURN state")
    assert states == [["ONLINE"], ["ONLINE"]]


def test_a_database_belongs_to_one_project(clean_connection: Connection) -> None:
    plain(clean_connection, "CREATE (:Theirs)")
    with Store(clean_connection) as store:
        store.claim("mine")
        store.claim("mine")
        with pytest.raises(StoreError, match="holds project 'mine', not 'yours'"):
            store.claim("yours")
        assert plain(clean_connection, "MATCH (p:CrossGraphProject) RETURN p.name, p.format") == [["mine", FORMAT]]
        plain(clean_connection, "MATCH (p:CrossGraphProject) SET p.format = 99")
        with pytest.raises(StoreError, match="format 99"):
            store.claim("mine")


def test_the_database_id_is_the_databases_own(connection: Connection) -> None:
    with Store(connection) as store:
        assert [[store.database_id()]] == plain(connection, "CALL db.info() YIELD id RETURN id")
