"""A shop's graph as its owner made it in Neo4j, a project over it, and all that a run does with both but learning."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from kg.clean import ingest
from kg.existing_land import land_existing
from kg.export import export
from kg.landing import Landing
from kg.load import holds_load, load
from kg.project import Graph
from kg.selection import Selection
from kg.server import Connection
from kg.source_fingerprint import source_fingerprints
from kg.store import Store
from kg.tables import Output, Workspace
from tests.kg.small_graph import plain

SCHEMA = [
    "CREATE CONSTRAINT own_id FOR (c:Customer) REQUIRE c.id IS UNIQUE",
    "CREATE INDEX own FOR (p:Product) ON (p.sku)",
]
FILL = """\
UNWIND range(1, 4) AS i CREATE (:Customer:Person {id: i, name: 'Name ' + i, born: date({year: 1980 + i}), vip: i = 1,
  since: datetime({year: 2020, month: i, timezone: '+02:00'}), score: CASE WHEN i = 2 THEN 1.5 ELSE i END})
WITH count(*) AS _
UNWIND range(1, 5) AS i CREATE (:Product {sku: 'p' + i, title: 'Thing ' + i, text: 'of the shop', tags: ['a', 'b'],
  count: i, warranty: duration({months: i}), updated: localdatetime({year: 2021}), place: point({x: 1, y: i}),
  mixed: CASE i WHEN 1 THEN 'one' WHEN 2 THEN [2] ELSE i END})
WITH count(*) AS _
UNWIND ['tools', 'toys'] AS name CREATE (:Category {key: name, Item: true})
WITH count(*) AS _
MATCH (p:Product) MATCH (c:Category {key: CASE WHEN p.count < 3 THEN 'tools' ELSE 'toys' END})
CREATE (p)-[:IN {rank: 1}]->(c)
WITH count(*) AS _
UNWIND [[1, 1, 5, 10], [1, 1, 1, 20], [1, 2, 4, 30], [2, 2, 5, 10], [2, 3, 2, 20], [3, 1, 5, 30], [3, 4, 5, 40],
  [4, 4, 1, 50]] AS row MATCH (c:Customer {id: row[0]}) MATCH (p:Product {sku: 'p' + row[1]})
CREATE (c)-[:BOUGHT {stars: row[2], at: datetime({epochSeconds: row[3]}), count: 7}]->(p)
WITH count(*) AS _
MATCH (p:Product {sku: 'p5'}) CREATE (:Note {text: 'mine'})-[:ABOUT {_since: 1}]->(p)
"""
TAGS = "sku,tag\np1,new\np2,new\np2,red\n"
PROJECT: dict[str, Any] = {
    "sources": {"tags": {"format": "csv", "path": "tags.csv"}},
    "nodes": {
        "Customer": {
            "existing": True,
            "key": "id",
            "properties": {"age": "2020 - year(born)", "since": "since", "vip": "vip", "score": "score"},
            "text": ["name"],
        },
        "Product": {
            "existing": True,
            "key": "sku",
            "domain": "things",
            "text": ["title", "text"],
            "properties": {"count": "count", "lasts": "warranty", "updated": "updated", "mixed": "mixed"},
        },
        "Category": {"existing": True, "key": "key"},
        "Tag": {"source": "tags", "key": "tag"},
    },
    "relationships": {
        "BOUGHT": {
            "existing": True,
            "from": "Customer",
            "to": {"Product": None},
            "interaction": True,
            "weight": "stars",
            "time": "at",
            "positive": "stars >= 4",
        },
        "IN": {"existing": True, "from": "Product", "to": "Category", "properties": {"rank": "rank"}},
        "HAS_TAG": {"source": "tags", "from": {"Product": "sku"}, "to": {"Tag": "tag"}},
    },
}
SIDES = {"User", "Item"}
MARKS = {"_hash", "_adopted", "domain", "degree", "pagerank", "row_id", "positive", "last"}
MARKS |= {f"{view}_{slot}" for view in "hvcz" for slot in "ab"}


def fill(connection: Connection) -> None:
    for statement in (*SCHEMA, FILL):
        plain(connection, statement)


def own(connection: Connection) -> list[str]:
    """All that is the owner's: nodes and relationships by element id, without the marks that the README names."""
    nodes = plain(
        connection,
        "MATCH (n) WHERE NOT any(x IN labels(n) WHERE x STARTS WITH 'CrossGraph' OR x IN ['Tag', 'EmbeddingVersion', "
        "'FormerEmbeddingVersion']) RETURN elementId(n), labels(n), properties(n)",
    )
    relationships = plain(
        connection,
        "MATCH (a)-[r]->(b) WHERE NOT type(r) IN ['HAS_TAG', 'RECOMMENDED'] "
        "RETURN elementId(r), [type(r), elementId(a), elementId(b)], properties(r)",
    )
    found = []
    for element, labels, properties in (*nodes, *relationships):
        marks = MARKS if "Category" in labels else MARKS | {"key"}
        kept = {name: value for name, value in properties.items() if name not in marks}
        found.append(repr((element, [x for x in labels if x not in SIDES], sorted(kept.items()))))
    return sorted(found)


def everything(connection: Connection) -> list[list[Any]]:
    """Every node and relationship as it is."""
    return [
        *plain(connection, "MATCH (n) RETURN elementId(n) AS id, labels(n), properties(n) ORDER BY id"),
        *plain(connection, "MATCH ()-[n]->() RETURN elementId(n) AS id, type(n), properties(n) ORDER BY id"),
        *plain(connection, "SHOW CONSTRAINTS YIELD name RETURN name ORDER BY name"),
    ]


def changed(**more: Any) -> dict[str, Any]:
    """The project with other parts: ``nodes__Film={…}``; None takes a part out."""
    found = {section: dict(parts) for section, parts in PROJECT.items()}
    for place, part in more.items():
        section, _, name = place.partition("__")
        found[section].pop(name, None)
        if part is not None:
            found[section][name] = part
    return found


@dataclass
class Shop:
    """The shop's database and a workspace."""

    connection: Connection
    spark: SparkSession
    folder: Path
    fingerprints: list[dict[str, str | None]] = field(default_factory=list)
    landed: dict[str, int] = field(default_factory=dict)
    before: list[str] = field(default_factory=list)
    untouched: list[list[Any]] = field(default_factory=list)

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.folder / "run")

    def graph(self, project: Mapping[str, Any] = PROJECT) -> Graph:
        described = Graph.model_validate(project)
        assert list(described.problems()) == []
        sources = {
            name: source.model_copy(update={"path": str(self.folder / source.path) if source.path else None})
            for name, source in described.sources.items()
        }
        return described.model_copy(update={"sources": sources})

    def land(self, project: Mapping[str, Any] = PROJECT) -> dict[str, int]:
        """Read the graph; the fingerprints decide whether the tables would be made again."""
        graph, landing = self.graph(project), Landing.of(self.workspace)
        with Store(self.connection) as store:
            found = land_existing(store, graph, landing)
        self.fingerprints.append(source_fingerprints(graph.sources, landing))
        return found

    def tables(self, project: Mapping[str, Any] = PROJECT) -> Output:
        with self.workspace.stage("tables").create("test") as draft:
            ingest(self.graph(project), self.spark, draft, landing=Landing.of(self.workspace))
        return self.output("tables")

    def load(self) -> Output:
        """Load the newest tables, after the load before."""
        stage = self.workspace.stage("loaded")
        with Store(self.connection) as store, stage.create("test") as draft:
            load(store, self.output("tables"), draft, "shop", before=stage.current())
        return self.output("loaded")

    def run(self, project: Mapping[str, Any] = PROJECT) -> Output:
        """Read, map and load."""
        self.land(project)
        self.tables(project)
        return self.load()

    def export(self, selection: Selection | None = None) -> Output:
        with Store(self.connection) as store, self.workspace.stage("graph").create("test") as draft:
            export(store, self.output("tables"), draft, selection)
        return self.output("graph")

    def output(self, stage: str) -> Output:
        found = self.workspace.stage(stage).current()
        assert found
        return found

    def holds(self) -> bool:
        with Store(self.connection) as store:
            return holds_load(store, self.output("loaded"))

    def ask(self, query: str, **params: Any) -> list[list[Any]]:
        return plain(self.connection, query, **params)
