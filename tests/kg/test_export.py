"""A snapshot equals the graph: every node, relationship and property, read again by plain queries of our own."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from kg import cypher_read
from kg.cypher_read import Relations
from kg.errors import ContractError, StoreError
from kg.export import export
from kg.load import load
from kg.schema import INSTANT, edge_schema, relationship_schema
from kg.selection import Selection
from kg.server_home import Connection
from kg.store import Store
from kg.tables import Draft, Output, Workspace
from tests.kg.small_graph import BOOK, EARLY, FILM, LATE, META, USER, event, operators, plain, rows, tables

NODES = {"nodes/User": 3, "nodes/Film": 3, "nodes/Genre": 2}


def loaded(connection: Connection, output: Output) -> Output:
    with Store(connection) as store:
        load(store, output, Draft(output.filesystem, output.path), "small")
    return output


def snapshot(connection: Connection, output: Output, selection: Selection | None = None) -> Output:
    stage = Workspace(Path(output.path).parents[1]).stage("graph")
    with stage.create("test") as draft, Store(connection) as store:
        export(store, output, draft, selection)
    found = stage.current()
    assert found
    return found


def native(value: Any) -> Any:
    if isinstance(value, list):
        return [native(x) for x in value]
    return value.to_native() if hasattr(value, "to_native") else value


def as_read(connection: Connection, query: str) -> list[dict[str, Any]]:
    return [{k: native(v) for k, v in found.items()} for [found] in plain(connection, query)]


def filled(schema: pa.Schema, found: dict[str, Any]) -> dict[str, Any]:
    return {name: found.get(name) for name in schema.names}


def by_ends(graph: Output, edge: str) -> list[dict[str, Any]]:
    """The edges with keys in the place of row numbers."""
    source, _, target = edge.split("-")
    froms = graph.read(f"nodes/{source}")["key"].to_pylist()
    tos = graph.read(f"nodes/{target}")["key"].to_pylist()
    return [
        {**row, "src": froms[row["src"]], "dst": tos[row["dst"]]} for row in graph.read(f"edges/{edge}").to_pylist()
    ]


def test_nodes_edges_and_properties_equal_neo4js(clean_connection: Connection, tmp_path: Path) -> None:
    graph = snapshot(clean_connection, loaded(clean_connection, tables(tmp_path)))
    for label, schema in (("User", USER), ("Film", FILM), ("Book", BOOK)):
        table = graph.read(f"nodes/{label}")
        assert table.schema == schema
        held = as_read(clean_connection, f"MATCH (n:{label}) RETURN properties(n) ORDER BY n.key")
        assert table.to_pylist() == [filled(schema, found) for found in held]
        assert table.num_rows == len(rows()[f"nodes/{label}"])
    for edge in META["edges"]:
        table = graph.read(f"edges/{edge}")
        source, type_, target = edge.split("-")
        held = as_read(
            clean_connection,
            f"MATCH (a:{source})-[r:{type_}]->(b:{target}) RETURN r {{.*, src: a.key, dst: b.key}} "
            "ORDER BY a.key, b.key, r.row_id",
        )
        assert by_ends(graph, edge) == [filled(table.schema, found) for found in held]
        assert table.num_rows == len(rows()[f"relationships/{edge}"])
    assert graph.manifest.meta["labels"] == META["labels"]
    assert graph.manifest.meta["edges"] == META["edges"]
    # The values that are easily lost on the way, by hand.
    [r1, r4, _, r3] = graph.read("edges/User-RATED-Film").to_pylist()
    assert (r1["row_id"], r1["src"], r1["dst"], r1["last"], r1["note"]) == ("r1", 0, 0, EARLY, "n")
    assert (r4["row_id"], r4["src"], r4["dst"], r4["last"], r4["weight"]) == ("r4", 0, 0, LATE, None)
    assert (r3["row_id"], r3["src"], r3["dst"], r3["last"], r3["positive"]) == ("r3", 1, 2, None, None)
    assert graph.read("nodes/Film")["tags"].to_pylist() == [[], None, ["b", "a", "b"]]


def test_what_others_and_we_ourselves_add_stays_out(clean_connection: Connection, tmp_path: Path) -> None:
    output = loaded(clean_connection, tables(tmp_path))
    before = snapshot(clean_connection, output)
    plain(
        clean_connection,
        "MATCH (u:User {key: 'ann'}), (f:Film {key: 'f2'}) SET f.z_a = [1.0], f.extra = 1 "
        "CREATE (u)-[:RECOMMENDED {rank: 1}]->(f), (u)-[:RATED {by: 'hand'}]->(f), (:Film {key: 'theirs'})",
    )
    after = snapshot(clean_connection, output)
    assert after.manifest.tables == before.manifest.tables
    for table in before.tables():
        assert after.read(table).equals(before.read(table))
        assert not {"degree", "pagerank", "_hash", "domain", "z_a"} & set(after.read(table).column_names)


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (
            Selection(domains=["films"]),
            {**NODES, "edges/User-RATED-Film": 4, "edges/Film-HAS_GENRE-Genre": 2},
        ),
        (Selection(labels=["User", "Book"]), {"nodes/User": 3, "nodes/Book": 2, "edges/User-READ-Book": 1}),
        (
            Selection(types=["RATED"]),
            {**NODES, "nodes/Book": 2, "edges/User-RATED-Film": 4},
        ),
        # Up to and with the moment itself; r3 has no time, and HAS_GENRE is no interaction.
        (
            Selection(labels=["User", "Film", "Genre"], until=EARLY),
            {**NODES, "edges/User-RATED-Film": 2, "edges/Film-HAS_GENRE-Genre": 2},
        ),
        (
            Selection(labels=["User", "Film"], until=EARLY.replace(microsecond=250_000, tzinfo=None)),
            {"nodes/User": 3, "nodes/Film": 3, "edges/User-RATED-Film": 1},
        ),
    ],
)  # fmt: skip
def test_a_selection_chooses_what_is_exported(
    clean_connection: Connection, tmp_path: Path, selection: Selection, expected: dict[str, int]
) -> None:
    graph = snapshot(clean_connection, loaded(clean_connection, tables(tmp_path)), selection)
    assert graph.manifest.tables == expected
    assert {f"nodes/{label}" for label in graph.manifest.meta["labels"]} == set(graph.tables("nodes/"))
    assert {f"edges/{edge}" for edge in graph.manifest.meta["edges"]} == set(graph.tables("edges/"))


@pytest.mark.parametrize(
    ("selection", "said"),
    [
        (Selection(labels=["Movie"]), "labels: unknown .'Movie'."),
        (Selection(types=["SEEN"]), "types: unknown .'SEEN'."),
        (Selection(domains=["music"]), "domains: unknown .'music'.; found .'books', 'films'."),
    ],
)
def test_a_selection_of_what_is_not_there_is_refused(
    connection: Connection, tmp_path: Path, selection: Selection, said: str
) -> None:
    with pytest.raises(ContractError, match=said):
        snapshot(connection, tables(tmp_path), selection)


@pytest.mark.parametrize("ids", [1000, 250, 300, 40])
def test_many_pages_and_a_node_of_many_relationships(
    clean_connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ids: int
) -> None:
    # A few users a page; the first has more relationships than go in one list, many with each of its books.
    content = {
        "nodes/User": [{"key": f"u{i:03}"} for i in range(50)],
        "nodes/Book": [{"key": f"b{i:03}"} for i in range(60)],
        "relationships/User-READ-Book": [event(f"a{i:05}", "u000", f"b{i * 7 % 60:03}", LATE) for i in range(600)]
        + [event(f"c{u}-{b}", f"u{u:03}", f"b{b:03}", LATE) for u in range(1, 50) for b in range(u)],
    }
    monkeypatch.setattr("kg.export_pages.PAGE_EDGES", 100)
    monkeypatch.setattr("kg.export.PAGE_KEYS", 7)
    monkeypatch.setattr("kg.export_edges.PAGE_KEYS", 7)
    monkeypatch.setattr("kg.export_edges.PAGE_IDS", ids)
    monkeypatch.setattr("kg.export.PAGE_NODES", 7)
    graph = snapshot(clean_connection, loaded(clean_connection, tables(tmp_path, content)))
    edges = graph.read("edges/User-READ-Book")
    assert edges.equals(edges.sort_by([("src", "ascending"), ("dst", "ascending"), ("row_id", "ascending")]))
    found = Counter((row["row_id"], row["src"], row["dst"]) for row in by_ends(graph, "User-READ-Book"))
    assert found == Counter(tuple(r.values())[:3] for r in content["relationships/User-READ-Book"])
    # A page or part, and at most two more that are read while it is written and one that waits.
    assert 100 <= graph.manifest.figures["most_held"] <= 400


def test_empty_tables_come_out_empty(clean_connection: Connection, tmp_path: Path) -> None:
    content = {"nodes/User": [], "nodes/Book": [], "relationships/User-READ-Book": []}
    graph = snapshot(clean_connection, loaded(clean_connection, tables(tmp_path, content)))
    assert graph.manifest.tables == {"nodes/User": 0, "nodes/Book": 0, "edges/User-READ-Book": 0}
    assert graph.read("nodes/Book").schema == BOOK


def test_a_graph_that_changes_meanwhile_is_no_snapshot(clean_connection: Connection, tmp_path: Path) -> None:
    output = loaded(clean_connection, tables(tmp_path))
    stage = Workspace(tmp_path).stage("graph")

    def disturb(table: str, done: int) -> None:
        if table == "nodes/Genre":
            plain(
                clean_connection,
                "MATCH (f:Film {key: 'f1'}) "
                "CREATE (f)-[:HAS_GENRE {row_id: 'g9', _hash: 1}]->(:Genre {key: 'Noir', _hash: 1})",
            )

    with (
        pytest.raises(StoreError, match="changed while"),
        stage.create("test") as draft,
        Store(clean_connection) as store,
    ):
        export(store, output, draft, progress=disturb)
    assert stage.current() is None


@pytest.mark.parametrize(
    ("select", "seek"),
    [
        (cypher_read.select_page, "NodeUniqueIndexSeek"),
        (cypher_read.count_ends, "NodeUniqueIndexSeek"),
        (cypher_read.select_ids, "NodeUniqueIndexSeek"),
        (cypher_read.select_part, "DirectedRelationshipByIdSeek"),
    ],
)
def test_edges_are_found_by_the_keys_index_or_by_id(
    clean_connection: Connection, tmp_path: Path, select: Any, seek: str
) -> None:
    loaded(clean_connection, tables(tmp_path))
    rated = Relations("User", "Film", ("RATED",), (("last", INSTANT),), interaction=True)
    whole = select in (cypher_read.count_ends, cypher_read.select_ids)
    statement = select(rated) if whole else select(rated, until=True, bounds=[])
    for name, value in {"keys": "['ann']", "key": "'ann'", "skip": "0", "limit": "5", "ids": "[1, 2]"}.items():
        statement = re.sub(rf"\${name}\b", value, statement)
    plan = operators(clean_connection, statement)
    assert seek in plan
    assert not plan & {"AllNodesScan", "NodeByLabelScan", "DirectedRelationshipTypeScan", "ValueHashJoin"}


def test_an_edge_table_is_a_relationship_table_by_row_number() -> None:
    own = pa.field("note", pa.string())
    wanted = relationship_schema([own], interaction=True).names
    assert edge_schema([own], interaction=True).names == ["src", "dst", "row_id", *wanted[3:]]
