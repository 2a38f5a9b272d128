"""What is in the user's Neo4j already: read, marked, exported, and otherwise left as it is."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from kg.server import Connection
from tests.kg.shop import TAGS, Shop, everything, fill, own
from tests.kg.small_graph import account


@pytest.fixture
def shop(clean_connection: Connection, spark: SparkSession, tmp_path: Path) -> Shop:
    fill(clean_connection)
    (tmp_path / "tags.csv").write_text(TAGS)
    return Shop(clean_connection, spark, tmp_path)


def test_a_graph_of_ones_own_is_read_marked_and_exported(shop: Shop) -> None:
    before = own(shop.connection)
    assert shop.land() == {
        "neo4j_Customer": 4, "neo4j_Product": 5, "neo4j_Category": 2, "neo4j_BOUGHT": 8, "neo4j_IN": 5,
    }  # fmt: skip
    tables = shop.tables()
    accounts = tables.manifest.figures["sources"]
    assert {name: of["accepted"] for name, of in accounts.items()} == {
        "neo4j_Customer": 4, "neo4j_Product": 5, "neo4j_Category": 2, "neo4j_BOUGHT": 8, "neo4j_IN": 5, "tags": 3,
    }  # fmt: skip
    assert tables.read("nodes/Customer").sort_by("key").to_pylist()[1] == {
        "key": "2", "age": 38, "since": datetime(2020, 1, 31, 22, tzinfo=UTC), "vip": False, "score": 1.5,
        "text": "Name 2", "image": None,
    }  # fmt: skip
    products = {row["key"]: row for row in tables.read("nodes/Product").to_pylist()}
    assert products["p3"]["text"] == "Thing 3\nof the shop"
    assert (products["p3"]["lasts"], products["p3"]["updated"]) == ("P3M", datetime(2021, 1, 1, tzinfo=UTC))
    assert [products[f"p{i}"]["mixed"] for i in (1, 2, 3)] == [["one"], ["2"], ["3"]]
    loaded = shop.load()
    figures = loaded.manifest.figures
    assert figures["nodes"]["Customer"] == account(rows=4, updated=4)
    assert figures["nodes"]["Tag"] == account(rows=2, created=2)
    assert figures["relationships"]["Customer-BOUGHT-Product"] == account(rows=7, updated=7)

    assert own(shop.connection) == before
    [[labels, keys]] = shop.ask("MATCH (n:Product {key: 'p1'}) RETURN labels(n), keys(n)")
    assert set(labels) == {"Product", "Item"}
    assert set(keys) == {
        "sku", "title", "text", "tags", "count", "warranty", "updated", "place", "mixed",
        "key", "domain", "_hash", "_adopted", "degree", "pagerank",
    }  # fmt: skip
    assert shop.ask("MATCH (n:Category {key: 'toys'}) RETURN n._adopted, keys(n)")[0][0] == []
    events = shop.ask(
        "MATCH (:Customer {id: 1})-[r:BOUGHT]->(:Product {sku: 'p1'}) "
        "RETURN r.stars, r.positive, r.last.epochSeconds, r.row_id IS NOT NULL ORDER BY r.stars"
    )
    # Two events of one pair: the later one stands for both, and either says whether any was positive.
    assert events == [[1, True, 20, True], [5, True, 20, False]]

    graph = shop.export()
    assert graph.manifest.tables == {
        "nodes/Customer": 4, "nodes/Product": 5, "nodes/Category": 2, "nodes/Tag": 2,
        "edges/Customer-BOUGHT-Product": 7, "edges/Product-IN-Category": 5, "edges/Product-HAS_TAG-Tag": 3,
    }  # fmt: skip
    assert graph.read("nodes/Product")["text"].to_pylist()[2] == "Thing 3\nof the shop"
    bought = graph.read("edges/Customer-BOUGHT-Product").to_pylist()
    assert [(e["src"], e["dst"], e["count"], e["weight"], e["positive"]) for e in bought[:3]] == [
        (0, 0, 2, 1.0, True), (0, 1, 1, 4.0, True), (1, 1, 1, 5.0, True),
    ]  # fmt: skip
    assert [(e["src"], e["dst"], e["rank"]) for e in graph.read("edges/Product-IN-Category").to_pylist()] == [
        (0, 0, 1), (1, 0, 1), (2, 1, 1), (3, 1, 1), (4, 1, 1),
    ]  # fmt: skip
    # An unchanged graph is seen to be one, marks and all, and nothing is written.
    assert set(shop.land().values()) == {0}
    assert shop.fingerprints[0] == shop.fingerprints[1]
    assert shop.holds()
    everything_before = everything(shop.connection)
    assert shop.load().manifest.figures["written"] == 0
    assert everything(shop.connection) == everything_before
