"""What is in the user's Neo4j already: read, marked, exported, and otherwise left as it is.

The tests over `shop` go on from one another: its owner changes the graph, then the project, between runs.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from kg.errors import ContractError, SourceError
from kg.load import load
from kg.schema import EdgeType
from kg.selection import Selection
from kg.server import Connection
from kg.store import Store
from kg.tables import Draft, Output
from tests.conftest import emptied
from tests.kg.shop import TAGS, Shop, changed, everything, fill, own
from tests.kg.small_graph import account, tables

BOUGHT, HAS_TAG = "Customer-BOUGHT-Product", "Product-HAS_TAG-Tag"


@pytest.fixture(scope="module")
def shop(connection: Connection, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """After the first run."""
    made = Shop(emptied(connection), spark, tmp_path_factory.mktemp("shop"))
    (made.folder / "tags.csv").write_text(TAGS)
    fill(connection)
    made.before, made.untouched = own(connection), everything(connection)
    made.landed = made.land()
    made.tables()
    made.load()
    yield made
    emptied(connection)


def changes(loaded: Output, table: str, name: str = "key") -> dict[str, str]:
    return {row[name]: row["change"] for row in loaded.read(f"changes/{table}").to_pylist()}


def test_nodes_and_relationships_are_rows_as_those_of_any_source(shop: Shop) -> None:
    assert shop.landed == {
        "neo4j_Customer": 4, "neo4j_Product": 5, "neo4j_Category": 2, "neo4j_BOUGHT": 8, "neo4j_IN": 5,
    }  # fmt: skip
    made = shop.output("tables")
    accounts = made.manifest.figures["sources"]
    assert {name: of["accepted"] for name, of in accounts.items()} == {**shop.landed, "tags": 3}
    assert made.read("nodes/Customer").sort_by("key").to_pylist()[1] == {
        "key": "2", "age": 38, "since": datetime(2020, 1, 31, 22, tzinfo=UTC), "vip": False, "score": 1.5,
        "text": "Name 2", "image": None,
    }  # fmt: skip
    products = {row["key"]: row for row in made.read("nodes/Product").to_pylist()}
    assert products["p3"]["text"] == "Thing 3\nof the shop"
    assert (products["p3"]["lasts"], products["p3"]["updated"]) == ("P3M", datetime(2021, 1, 1, tzinfo=UTC))
    assert [products[f"p{i}"]["mixed"] for i in (1, 2, 3)] == [["one"], ["2"], ["3"]]


def test_a_load_adds_marks_and_nothing_else(shop: Shop) -> None:
    figures = shop.output("loaded").manifest.figures
    assert figures["nodes"]["Customer"] == account(rows=4, updated=4)
    assert figures["nodes"]["Tag"] == account(rows=2, created=2)
    assert figures["relationships"][BOUGHT] == account(rows=7, updated=7)
    assert own(shop.connection) == shop.before
    [[labels, keys]] = shop.ask("MATCH (n:Product {key: 'p1'}) RETURN labels(n), keys(n)")
    assert set(labels) == {"Product", "Item"}
    assert set(keys) == {
        "sku", "title", "text", "tags", "count", "warranty", "updated", "place", "mixed",
        "key", "domain", "_hash", "_adopted", "degree", "pagerank",
    }  # fmt: skip
    assert shop.ask("MATCH (n:Category {key: 'toys'}) RETURN n._adopted") == [[[]]]
    # Two events of one pair: the later one stands for both, and either says whether any was positive.
    assert shop.ask(
        "MATCH (:Customer {id: 1})-[r:BOUGHT]->(:Product {sku: 'p1'}) "
        "RETURN r.stars, r.positive, r.last.epochSeconds, r.row_id IS NOT NULL ORDER BY r.stars"
    ) == [[1, True, 20, True], [5, True, 20, False]]


def test_a_snapshot_has_them_as_it_has_others(shop: Shop) -> None:
    graph = shop.export()
    assert graph.manifest.tables == {
        "nodes/Customer": 4, "nodes/Product": 5, "nodes/Category": 2, "nodes/Tag": 2,
        f"edges/{BOUGHT}": 7, "edges/Product-IN-Category": 5, f"edges/{HAS_TAG}": 3,
    }  # fmt: skip
    assert graph.read("nodes/Product")["text"].to_pylist()[2] == "Thing 3\nof the shop"
    bought = graph.read(f"edges/{BOUGHT}").to_pylist()
    assert [(e["src"], e["dst"], e["count"], e["weight"], e["positive"]) for e in bought[:3]] == [
        (0, 0, 2, 1.0, True), (0, 1, 1, 4.0, True), (1, 1, 1, 5.0, True),
    ]  # fmt: skip
    assert [(e["src"], e["dst"], e["rank"]) for e in graph.read("edges/Product-IN-Category").to_pylist()] == [
        (0, 0, 1), (1, 0, 1), (2, 1, 1), (3, 1, 1), (4, 1, 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("selection", "nodes", "edges"),
    [
        ({"where": {"Product": {"count": {"min": 2, "max": 3}}}}, ["p2", "p3"], ["12", "22", "23"]),
        ({"where": {"Product": {"lasts": {"one_of": ["P1M"]}}}}, ["p1"], ["11", "31"]),
        ({"where": {"BOUGHT": {"weight": {"min": 5}}}}, ["p1", "p2", "p3", "p4", "p5"], ["22", "31", "34"]),
        ({"until": "1970-01-01T00:00:25Z"}, ["p1", "p2", "p3", "p4", "p5"], ["11", "22", "23"]),
        ({"around": {"seeds": {"Customer": [4]}, "hops": 2, "types": ["BOUGHT"]}}, ["p4"], ["34", "44"]),
    ],
)
def test_a_part_of_them_is_selected(shop: Shop, selection: dict[str, Any], nodes: list[str], edges: list[str]) -> None:
    graph = shop.export(Selection.model_validate(selection))
    keys = {label: graph.read(f"nodes/{label}")["key"].to_pylist() for label in ("Customer", "Product")}
    assert keys["Product"] == nodes
    found = graph.read(f"edges/{BOUGHT}").to_pylist()
    assert [f"{keys['Customer'][e['src']]}{keys['Product'][e['dst']][1:]}" for e in found] == edges


def test_an_unchanged_graph_is_seen_to_be_one_with_all_its_marks(shop: Shop) -> None:
    assert set(shop.land().values()) == {0}
    assert shop.fingerprints[0] == shop.fingerprints[1]
    assert shop.holds()
    before = everything(shop.connection)
    assert shop.load().manifest.figures["written"] == 0
    assert everything(shop.connection) == before


def test_what_the_owner_changes_is_noticed(shop: Shop) -> None:
    """A title, a key, a node with what hangs on it, an event that stood for its pair, a customer more."""
    for statement in (
        "MATCH (p:Product {sku: 'p3'}) SET p.title = 'Other'",
        "MATCH (p:Product {sku: 'p2'}) SET p.sku = 'p0'",
        "MATCH (p:Product {sku: 'p5'})-[:IN]->(c) DETACH DELETE p",
        "MATCH (:Customer {id: 1})-[r:BOUGHT {stars: 1}]->(:Product {sku: 'p1'}) DELETE r",
        "CREATE (:Customer {id: 7, name: 'New', born: date('1990-01-01')})",
    ):
        shop.ask(statement)
    (shop.folder / "tags.csv").write_text(TAGS.replace("p2", "p0"))
    before = own(shop.connection)
    landed = shop.land()
    assert {name for name, rows in landed.items() if rows} == {
        "neo4j_Customer", "neo4j_Product", "neo4j_BOUGHT", "neo4j_IN",
    }  # fmt: skip
    shop.tables()
    loaded = shop.load()
    assert own(shop.connection) == before
    assert changes(loaded, "nodes/Product") == {"p0": "created", "p2": "deleted", "p3": "updated", "p5": "deleted"}
    assert changes(loaded, "nodes/Customer") == {"7": "created"}
    assert sorted(changes(loaded, f"relationships/{BOUGHT}", "row_id").values()) == [
        "created", "created", "deleted", "deleted", "updated",
    ]  # fmt: skip
    assert shop.ask("MATCH (n:Product) WHERE n._hash IS NOT NULL RETURN n.key, n.sku ORDER BY n.key") == [
        [key, key] for key in ("p0", "p1", "p3", "p4")
    ]
    assert shop.ask("MATCH (p)-[:HAS_TAG]->(t) RETURN p.key, t.key ORDER BY p.key, t.key") == [
        ["p0", "new"], ["p0", "red"], ["p1", "new"],
    ]  # fmt: skip
    marked = (
        "MATCH (:Customer {id: 1})-[r:BOUGHT]->(:Product {sku: 'p1'}) RETURN r.stars, r._adopted, r.last.epochSeconds"
    )
    assert shop.ask(marked) == [[5, True, 10]]
    assert shop.load().manifest.figures["written"] == 0


def test_marks_that_somebody_took_away_come_back(shop: Shop) -> None:
    before = everything(shop.connection)
    shop.ask("MATCH (n:Product {sku: 'p3'}) SET n = {sku: n.sku, title: n.title, text: n.text}")
    shop.ask("MATCH (:Customer {id: 3})-[r:BOUGHT]->() REMOVE r._hash, r.row_id, r._adopted")
    assert not shop.holds()
    shop.load()
    assert shop.holds()
    assert len(everything(shop.connection)) == len(before)
    assert shop.ask("MATCH (n:Item {key: 'p3'}) RETURN n._hash IS NOT NULL, n.degree, n.domain") == [
        [True, 2, "things"]
    ]


def test_what_a_rule_refuses_is_in_quarantine_and_loses_its_marks(shop: Shop) -> None:
    strict = changed()
    strict["nodes"]["Customer"] = {**strict["nodes"]["Customer"], "rules": {"late": "since is not null"}}
    contract = {"columns": {"stars": {"min": 2}}}
    for name in ("neo4j_Customer", "neo4j_BOUGHT"):
        strict["sources"][name] = {"format": "neo4j", "max_quarantined": 0.9}
    strict["sources"]["neo4j_BOUGHT"] |= {"contract": contract}
    before = own(shop.connection)
    loaded = shop.run(strict)
    made = shop.output("tables")
    assert made.manifest.figures["sources"]["neo4j_BOUGHT"]["reasons"] == {"range:stars": 1}
    [row] = made.read("quarantine/neo4j_Customer").to_pylist()
    assert (row["reason"], row["file"]) == ("rule:late", "(:Customer)")
    [[element]] = shop.ask("MATCH (n:Customer {id: 7}) RETURN elementId(n)")
    assert element.endswith(f":{row['row']}")
    assert loaded.manifest.figures["nodes"]["Customer"] == account(rows=4, unchanged=4, kept=1)
    [[kept]] = shop.ask("MATCH (n:Customer {id: 7}) RETURN keys(n)")
    assert sorted(kept) == ["born", "id", "name"]
    [[stars, kept]] = shop.ask("MATCH ()-[r:BOUGHT]->() WHERE r._hash IS NULL RETURN r.stars, keys(r)")
    assert (stars, sorted(kept)) == (1, ["at", "count", "stars"])
    assert own(shop.connection) == before


def test_parts_that_leave_the_project_are_as_they_were(shop: Shop) -> None:
    shop.ask("MATCH (n:Product {sku: 'p1'}) SET n.z_a = [1.0] WITH n MATCH (c:Customer {id: 1}) "
             "CREATE (c)-[:RECOMMENDED {version: 'v'}]->(n), (c)-[:RECOMMENDED {of: 'mine'}]->(n)")  # fmt: skip
    loaded = shop.run(
        changed(nodes__Category=None, nodes__Customer=None, relationships__BOUGHT=None, relationships__IN=None)
    )
    assert loaded.manifest.figures["nodes"]["Customer"] == account(rows=0, kept=4)
    assert shop.ask("MATCH (n) WHERE (n:Customer OR n:Category) AND (n._hash IS NOT NULL OR n:User) RETURN n") == []
    assert shop.ask("MATCH ()-[r:BOUGHT|IN]->() WHERE r._hash IS NOT NULL OR r.last IS NOT NULL RETURN r") == []
    tags_alone = {"sources": changed()["sources"], "nodes": {"Tag": changed()["nodes"]["Tag"]}}
    shop.run(tags_alone)
    ours = "any(x IN labels(n) WHERE x = 'Tag' OR x STARTS WITH 'CrossGraph')"
    nodes = f"MATCH (n) WHERE NOT {ours} RETURN elementId(n) AS id, labels(n), properties(n) ORDER BY id"
    found = [repr((e, sorted(labels), sorted(properties.items()))) for e, labels, properties in shop.ask(nodes)]
    assert [row for row in own(shop.connection) if "Note" in row] == [row for row in shop.before if "Note" in row]
    first = [row for row in shop.untouched if len(row) == 3 and isinstance(row[1], list)]
    unchanged = {repr((e, sorted(labels), sorted(properties.items()))) for e, labels, properties in first}
    # All but those that the owner has changed since.
    assert len(set(found) & unchanged) == len(found) - 3
    assert shop.ask("MATCH ()-[r:RECOMMENDED]->() RETURN properties(r)") == [[{"of": "mine"}]]
    assert shop.ask("SHOW CONSTRAINTS YIELD name WHERE name STARTS WITH 'own' RETURN name") == [["own_id"]]


FILM = {"nodes__Film": {"existing": True, "key": "id"}}
BY_ID = {"nodes__Category": {"existing": True, "key": "id"}}
SOLD = {"relationships__SOLD": {"existing": True, "from": "Customer", "to": "Product"}}
P1 = "MATCH (n:Product {sku: 'p1'}) SET n"
WRONG = [
    ("", FILM, "nodes.Film: expected nodes with the label Film, Neo4j at .* holds none of yours; its labels are "),
    ("", BY_ID, r"a property 'id' of the nodes Category .*; they have \['Item', 'key'\]"),
    ("CREATE (:Product {sku: 'p1'})", {}, "each 'sku' on one node of Product, found 'p1' on 2 nodes: merge"),
    ("CREATE (:Product {sku: 1.5})", {}, "expected texts or integers in 'sku', found FLOAT"),
    (f"{P1}:Category, n.key = 'x'", {}, "one label of the project file, found 1 with Product and Category"),
    (f"{P1}.degree = 3", {}, "has a property 'degree' of its own"),
    (f"{P1}.key = 3", {}, "has a property 'key' of its own"),
    ("MATCH ()-[r:BOUGHT]->() SET r.last = 1", {}, r"\(:Customer\)-\[:BOUGHT\]->\(:Product\) has a property 'last'"),
    ("", SOLD, r"\(:Customer\)-\[:SOLD\]->\(:Product\), .* from Customer to Product there are \['BOUGHT'\]"),
]


@pytest.mark.parametrize(("statement", "parts", "said"), WRONG)
def test_what_the_graph_lacks_or_has_otherwise_is_an_error(
    clean_connection: Connection, tmp_path: Path, spark: SparkSession, statement: str, parts: dict[str, Any], said: str
) -> None:
    fill(clean_connection)
    made = Shop(clean_connection, spark, tmp_path)
    if statement:
        made.ask(statement)
    before = everything(clean_connection)
    with pytest.raises(SourceError, match=said):
        made.land(changed(**parts))
    assert everything(clean_connection) == before
    assert not (tmp_path / "run/landing/neo4j_Customer/state.json").exists()


def test_what_we_loaded_is_not_taken_for_the_owners(clean_connection: Connection, tmp_path: Path) -> None:
    output = tables(tmp_path)
    with Store(clean_connection) as store:
        load(store, output, Draft(output.filesystem, output.path), "small")
        before = everything(clean_connection)
        edge = EdgeType("Film", "HAS_GENRE", "Genre").name
        for kind, name in (("labels", "Genre"), ("edges", edge)):
            parts = {**output.manifest.meta[kind]}
            parts[name] = {**parts[name], "existing": {"domain": True}}
            meta = {**output.manifest.meta, kind: parts}
            now = Output(output.filesystem, output.path, replace(output.manifest, meta=meta))
            with pytest.raises(
                ContractError, match=r"was loaded by CrossGraph, and is now said to exist already; run once"
            ):
                load(store, now, Draft(output.filesystem, output.path), "small")
    assert everything(clean_connection) == before
