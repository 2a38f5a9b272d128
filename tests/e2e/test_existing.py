"""A shop whose whole graph is in Neo4j already, from its own nodes to recommendations, by the real commands.

The tests go on from one another.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from kg.jars import Jars
from kg.server_home import Connection, saved_connection
from tests.e2e.conftest import Demo
from tests.kg.shop import own
from tests.kg.small_graph import plain

# The first test here pays for the whole run, on whatever machine this is.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PROJECT = """\
name: shop
nodes:
  Customer: {existing: true, key: id}
  Product: {existing: true, key: sku, domain: things, text: [title], properties: {price: price}}
  Theme: {existing: true, key: name}
relationships:
  BOUGHT:
    {existing: true, from: Customer, to: {Product}, interaction: true, weight: stars, time: at, positive: "stars > 2"}
  ABOUT: {existing: true, from: Product, to: Theme}
embed: {epochs: 8, patience: 3, image: null, graph: {dim: 16}}
recommend: {top_n: 5, write_relationships: true, resamples: 200, ranker: {epochs: 5}}
"""
FILL = """\
UNWIND ['gardens', 'engines'] AS name CREATE (:Theme {name: name})
WITH count(*) AS _
UNWIND range(1, 30) AS i MATCH (t:Theme {name: CASE i % 2 WHEN 0 THEN 'gardens' ELSE 'engines' END})
CREATE (:Product:Article {sku: i, title: 'A thing for ' + t.name, price: i * 1.5})-[:ABOUT]->(t)
WITH count(*) AS _
UNWIND range(1, 40) AS i CREATE (:Customer {id: i, name: 'Name ' + i})
WITH count(*) AS _
MATCH (c:Customer) UNWIND range(0, 9) AS k
WITH c, k, CASE WHEN k < 9 THEN (c.id + 4 * k + c.id / 3 * 2) % 30 + 1 ELSE (c.id + 7) % 30 + 1 END AS sku
MATCH (p:Product {sku: sku}) CREATE (c)-[:BOUGHT {stars: CASE WHEN k = 9 THEN 1 ELSE 5 END,
  at: datetime({epochSeconds: 1000000 * k + 1000 * c.id + sku})}]->(p)
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, jars: Jars, cache: Path) -> Iterator[Demo]:
    """Its own local server, filled by Cypher before anything of ours has run."""
    made = Demo(tmp_path_factory.mktemp("shop"), cache)
    (made.folder / "shop.yaml").write_text(PROJECT)
    try:
        made.run("neo4j", "start", "shop.yaml")
        plain(of(made), "CREATE CONSTRAINT mine FOR (c:Customer) REQUIRE c.id IS UNIQUE")
        plain(of(made), FILL)
        yield made
    finally:
        made.run("neo4j", "stop", "shop.yaml", check=False)


def of(shop: Demo) -> Connection:
    return saved_connection(shop.folder / "home" / "neo4j" / "shop")


def figures(shop: Demo) -> dict:
    return json.loads((shop.folder / "runs/shop/run.json").read_text())


def test_a_graph_of_ones_own_is_learned_from_and_recommended_in(shop: Demo) -> None:
    before = own(of(shop))
    shop.run("run", "shop.yaml")
    assert own(of(shop)) == before
    [[vectors]] = plain(
        of(shop), "MATCH (v:EmbeddingVersion) MATCH (n) WHERE n[v.property] IS NOT NULL RETURN count(n)"
    )
    assert vectors == 70
    near = (
        "MATCH (v:EmbeddingVersion), (i:Article {sku: 4}) "
        "CALL db.index.vector.queryNodes(v.item_index, 5, i[v.property]) YIELD node RETURN node.sku % 2"
    )
    assert sum(odd for [odd] in plain(of(shop), near)) <= 1
    fits = plain(
        of(shop),
        "MATCH (c:Customer)-[r:RECOMMENDED]->(p:Product) "
        "RETURN count(*), avg(CASE WHEN (c.id + p.sku) % 2 = 1 THEN 1.0 ELSE 0 END)",
    )
    assert fits[0][0] == 5 * 40
    assert fits[0][1] > 0.6
    assert figures(shop)["stages"]["tables"]["figures"]["sources"]["neo4j_BOUGHT"]["accepted"] == 400
    assert "A thing for" in shop.run("query", "shop.yaml", "4").stdout


def test_a_second_run_does_nothing(shop: Demo) -> None:
    before = plain(of(shop), "MATCH (n) RETURN elementId(n) AS id, labels(n), properties(n) ORDER BY id")
    shop.run("run", "shop.yaml")
    found = figures(shop)
    assert set(found["skipped"]) == set(found["stages"])
    assert plain(of(shop), "MATCH (n) RETURN elementId(n) AS id, labels(n), properties(n) ORDER BY id") == before


def test_a_plan_sees_what_changed_and_says_when_it_cannot_see(shop: Demo, tmp_path: Path) -> None:
    plain(of(shop), "MATCH (p:Product {sku: 4}) SET p.price = 1.25")
    shop.run("plan", "shop.yaml", "--json", str(tmp_path / "plan.json"))
    planned = json.loads((tmp_path / "plan.json").read_text())
    assert (planned["read"], planned["graph"]["nodes/Product"]) == (
        True, {"created": 0, "updated": 1, "deleted": 0, "unchanged": 29},
    )  # fmt: skip
    shop.run("neo4j", "stop", "shop.yaml")
    shown = shop.run("plan", "shop.yaml", "--json", str(tmp_path / "plan.json")).stdout
    assert "Neo4j does not run, so what exists in it was not seen" in shown
    assert not json.loads((tmp_path / "plan.json").read_text())["read"]
    new = shop.run("plan", "shop.yaml", "--workspace", str(tmp_path / "new"), check=False)
    assert (new.returncode, "Neo4j does not run, and all that the project reads is in it" in new.stderr) == (5, True)
    shop.run("neo4j", "start", "shop.yaml")


def test_a_forgotten_customer_is_gone_from_the_graph_too(shop: Demo) -> None:
    done = shop.run("forget", "shop.yaml", "Customer", "17", "--yes")
    assert "source neo4j_Customer" not in done.stdout
    assert plain(of(shop), "MATCH (c:Customer {id: 17}) RETURN c") == []
    left = own(of(shop))
    shop.run("ingest", "shop.yaml")
    assert figures(shop)["stages"]["loaded"]["figures"]["nodes"]["Customer"]["rows"] == 39
    assert own(of(shop)) == left
