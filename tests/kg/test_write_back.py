"""Vectors and recommendations in a real Neo4j: whole versions, slots, indexes, and what readers see."""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from kg.errors import ContractError, UnknownIdError
from kg.schema import RECOMMENDATION
from kg.server_home import Connection
from kg.store import Store
from kg.tables import Draft
from kg.write_back import write_back, write_recommendations
from tests.kg.published import FIRST, SECOND, Publish, vectors
from tests.kg.small_graph import META, plain


def index_widths(connection: Connection) -> dict[str, int]:
    found = plain(
        connection,
        "SHOW VECTOR INDEXES YIELD name, labelsOrTypes, properties, options, state WHERE state = 'ONLINE' "
        "RETURN labelsOrTypes[0] + '.' + properties[0], options.indexConfig['vector.dimensions']",
    )
    return {str(name): int(width) for name, width in found}


def test_a_version_is_written_whole_and_found_from_its_pointer(loaded: Connection, publish: Publish) -> None:
    given = vectors()
    figures = publish(given, extra={"ranker": [0.5, -1.0], "blob": b"\x00\x01"})
    assert figures["vectors"]["Film"] == {"h": 3, "v": 0, "c": 2, "z": 3}
    # 10 nodes with h, 5 of the 8 users and items with c, 8 with z.
    assert figures["written"] == 10 + 5 + 8
    [[pointer]] = plain(loaded, "MATCH (v:EmbeddingVersion) RETURN properties(v)")
    assert pointer == {
        "version": "v1", "model": "graphsage", "weights": "w1", "input": "in1", "run": "run1", "created": FIRST.created,
        "slot": "a", "property": "z_a", "dimension": 8, "user_index": "crossgraph_user_z_a",
        "item_index": "crossgraph_item_z_a", "ranker": [0.5, -1.0], "blob": b"\x00\x01",
    }  # fmt: skip
    for label, table in given.items():
        for row in table.to_pylist():
            [[held]] = plain(
                loaded, f"MATCH (n:{label} {{key: $key}}) RETURN n {{.h_a, .v_a, .c_a, .z_a}}", key=row["key"]
            )
            assert held == {f"{view}_a": row.get(view) for view in "hvcz"}
    assert index_widths(loaded) == {"User.z_a": 8, "Item.z_a": 8}


def test_the_documented_query_finds_the_nearest(loaded: Connection, publish: Publish) -> None:
    given = vectors()
    publish(given)
    found = plain(
        loaded,
        "MATCH (v:EmbeddingVersion) MATCH (u:User {key: 'ann'}) "
        "CALL db.index.vector.queryNodes(v.item_index, 10, u[v.property]) YIELD node, score "
        "RETURN [x IN labels(node) WHERE x <> 'Item'][0], node.key, score",
    )
    user = np.array(given["User"]["z"][0].as_py())
    # Neo4j's score of a cosine is (1 + cosine) / 2.
    expected = {
        (label, row["key"]): (1 + user @ np.array(row["z"])) / 2
        for label in ("Film", "Book")
        for row in given[label].to_pylist()
    }
    scores = {(label, key): score for label, key, score in found}
    assert scores == pytest.approx(expected, abs=1e-5)
    order = [(label, key) for label, key, _ in found]
    assert order == sorted(expected, key=lambda item: expected[item], reverse=True)


def test_the_same_version_again_writes_nothing(loaded: Connection, publish: Publish) -> None:
    publish(vectors())
    assert publish(vectors())["written"] == 0
    assert plain(loaded, "MATCH (v:EmbeddingVersion) RETURN v.slot") == [["a"]]
    # Unless something is missing: then it is written anew, into the other slot.
    plain(loaded, "MATCH (n:Film {key: 'f10'}) REMOVE n.z_a")
    assert publish(vectors())["written"] == 23
    assert plain(loaded, "MATCH (v:EmbeddingVersion) RETURN v.slot, v.version") == [["b", "v1"]]


def test_versions_take_turns_and_leave_nothing_stale(loaded: Connection, publish: Publish) -> None:
    publish(vectors())
    fewer = vectors(6, 1, Film={"z": [[1.0, *[0.0] * 5], None, None]})
    del fewer["Genre"]
    publish(fewer, SECOND)
    held = "MATCH (n) RETURN count(n.z_a), count(n.z_b), count(n.h_a), count(n.h_b)"
    assert plain(loaded, held) == [[8, 6, 10, 8]]
    assert index_widths(loaded) == {"User.z_a": 8, "Item.z_a": 8, "User.z_b": 6, "Item.z_b": 6}
    # The third lands where the first was, narrower and without the vectors that only the first had.
    publish(fewer, replace(FIRST, version="v3"))
    assert plain(loaded, held) == [[6, 6, 8, 8]]
    assert index_widths(loaded) == {"User.z_a": 6, "Item.z_a": 6, "User.z_b": 6, "Item.z_b": 6}
    assert plain(loaded, "MATCH (v:EmbeddingVersion) RETURN v.version, v.slot") == [["v3", "a"]]


def test_readers_keep_the_old_version_until_the_new_one_is_complete(loaded: Connection, publish: Publish) -> None:
    publish(vectors())
    seen: list[Any] = []

    def look(name: str, done: int) -> None:
        seen.extend(plain(loaded, "MATCH (v:EmbeddingVersion) MATCH (n:User) RETURN v.version, count(n[v.property])"))
        if name == "Book.z":
            raise KeyboardInterrupt

    with Store(loaded) as store, pytest.raises(KeyboardInterrupt):
        write_back(store, vectors(6, 1), SECOND, Draft(pa.fs.LocalFileSystem(), ""), progress=look)
    assert set(map(tuple, seen)) == {("v1", 3)}
    assert publish(vectors(6, 1), SECOND)["written"] == 23
    assert plain(loaded, "MATCH (v:EmbeddingVersion) RETURN v.version, v.dimension") == [["v2", 6]]


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        (vectors(Book={"key": ["b1", "b9"]}), UnknownIdError, "first 'b9'"),
        (vectors(Book={"z": [[1.0] * 8, [1.0] * 7]}), ContractError, "z of one width"),
        (vectors(Book={"z": [[1.0] * 7, [1.0] * 7]}), ContractError, "z of one width"),
        (vectors(Book={"z": [[1.0] * 8, [0.0] * 8]}), ContractError, "z finite and not zero; 1 are not"),
        (vectors(Book={"z": [[1.0] * 8, [float("nan")] * 8]}), ContractError, "1 are not"),
        ({}, ContractError, "at least one z"),
    ],
)
def test_vectors_that_no_index_takes_change_nothing(
    loaded: Connection, publish: Publish, given: dict[str, pa.Table], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        publish(given)
    assert plain(loaded, "MATCH (n) WHERE n.h_a IS NOT NULL OR n:EmbeddingVersion RETURN count(n)") == [[0]]


def recommendations(*rows: tuple[str, str, str, int, float]) -> pa.Table:
    found = [
        dict(zip(("user_id", "item_id", "domain", "rank", "score"), row, strict=True), reason="liked", model="m")
        for row in rows
    ]
    return pa.Table.from_pylist(found, RECOMMENDATION)


def test_recommendations_are_replaced(loaded: Connection) -> None:
    draft = Draft(pa.fs.LocalFileSystem(), "")
    first = recommendations(
        ("ann", "f10", "films", 1, 0.75), ("ann", "f1", "books", 1, 0.5), ("bob", "f1", "films", 1, 0.25)
    )
    second = recommendations(("ann", "f2", "films", 1, 0.125), ("ann", "b1", "books", 1, 1.0))
    held = (
        "MATCH (u:User)-[r:RECOMMENDED]->(i:Item) "
        "RETURN u.key, i.key, i.domain, r {.*} ORDER BY u.key, i.domain, r.rank"
    )

    def expected(table: pa.Table, version: str) -> list[list[Any]]:
        rows = table.sort_by([("user_id", "ascending"), ("domain", "ascending")]).to_pylist()
        ends = [(row.pop("user_id"), row.pop("item_id")) for row in rows]
        return [[*end, row["domain"], {**row, "version": version}] for end, row in zip(ends, rows, strict=True)]

    with Store(loaded) as store:
        for version, table, written in (("v1", first, 3), ("v1", first, 0), ("v2", second, 2), ("v3", second[:0], 0)):
            write_recommendations(store, table, META["labels"], version, draft)
            assert draft.figures["written"] == written
            assert plain(loaded, held) == expected(table, version)


def test_recommendations_of_what_is_not_there_change_nothing(loaded: Connection) -> None:
    draft = Draft(pa.fs.LocalFileSystem(), "")
    good = recommendations(("ann", "f10", "films", 1, 0.75))
    with Store(loaded) as store:
        write_recommendations(store, good, META["labels"], "v1", draft)
        for bad, error in (
            (recommendations(("ann", "b1", "films", 1, 0.5)), UnknownIdError),
            (recommendations(("zoe", "b1", "books", 1, 0.5)), UnknownIdError),
            (recommendations(("ann", "b1", "music", 1, 0.5)), ContractError),
        ):
            with pytest.raises(error):
                write_recommendations(store, bad, META["labels"], "v2", draft)
    assert plain(loaded, "MATCH ()-[r:RECOMMENDED]->(i) RETURN i.key, r.version") == [["f10", "v1"]]
