"""A graph small enough to read: two domains, shared users, values of every type a property can have."""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import neo4j
import pyarrow as pa

from kg.graph_digest import digest
from kg.load_record import Account
from kg.schema import INSTANT, node_schema, relationship_schema
from kg.server_home import Connection
from kg.store import Store
from kg.tables import Draft, Output, Workspace

EARLY = datetime(1965, 3, 1, 12, 0, 0, 250_001, UTC)
LATE = datetime(2021, 5, 6, 7, 8, 9, 999_999, UTC)

USER = node_schema([pa.field("age", pa.int32()), pa.field("born", pa.date32())])
FILM = node_schema(
    [
        pa.field("title", pa.string()),
        pa.field("score", pa.float64()),
        pa.field("tags", pa.list_(pa.string())),
        pa.field("shown", pa.list_(pa.date32())),
        pa.field("seen_at", INSTANT),
        pa.field("local", pa.timestamp("us")),
        pa.field("raw", pa.binary()),
        pa.field("new", pa.bool_()),
    ]
)
BOOK = node_schema([pa.field("title", pa.string())])
GENRE = node_schema([])
RATED = relationship_schema([pa.field("note", pa.string())], interaction=True)
READ = relationship_schema([], interaction=True)
HAS_GENRE = relationship_schema([pa.field("since", pa.date32())], interaction=False)
FEATURES = pa.schema(
    [pa.field("key", pa.string(), nullable=False), pa.field("degree", pa.int64()), pa.field("pagerank", pa.float64())]
)

SCHEMAS = {
    "nodes/User": USER,
    "nodes/Film": FILM,
    "nodes/Book": BOOK,
    "nodes/Genre": GENRE,
    "relationships/User-RATED-Film": RATED,
    "relationships/User-READ-Book": READ,
    "relationships/Film-HAS_GENRE-Genre": HAS_GENRE,
    "features/Film": FEATURES,
}

META = {
    "labels": {
        "User": {"side": "user", "domain": None},
        "Film": {"side": "item", "domain": "films"},
        "Book": {"side": "item", "domain": "books"},
        "Genre": {"side": "entity", "domain": None},
    },
    "edges": {
        "User-RATED-Film": {"interaction": True, "target": True, "domain": "films"},
        "User-READ-Book": {"interaction": True, "target": True, "domain": "books"},
        "Film-HAS_GENRE-Genre": {"interaction": False, "target": False, "domain": None},
    },
}

Rows = dict[str, list[dict[str, Any]]]


def event(row_id: str, user: str, item: str, last: datetime | None, **more: Any) -> dict[str, Any]:
    return {"row_id": row_id, "from_key": user, "to_key": item, "count": 1, "first": last, "last": last, **more}


def rows() -> Rows:
    return {
        "nodes/User": [
            {"key": "ann", "age": 31, "born": date(1990, 2, 3), "text": "likes `quotes`"},
            {"key": "bob"},
            {"key": "ćeda", "age": 0, "born": date(1959, 12, 31)},
        ],
        "nodes/Film": [
            {
                "key": "f2",
                "title": "Zwei",
                "score": -0.1,
                "tags": ["b", "a", "b"],
                "shown": [date(1969, 1, 1), date(2020, 2, 29)],
                "seen_at": EARLY,
                "local": datetime(2000, 1, 1, 0, 0, 0, 1),
                "raw": b"\x00\xff",
                "new": True,
                "text": "Zwei\nLeute",
                "image": "f2.png",
            },
            {"key": "f1", "tags": [], "new": False},
            {"key": "f10", "title": "", "score": 1e300},
        ],
        "nodes/Book": [{"key": "b1", "title": "One"}, {"key": "f1", "title": "A key that a film has too"}],
        "nodes/Genre": [{"key": "Drama"}, {"key": "Sci-Fi"}],
        "relationships/User-RATED-Film": [
            event("r1", "ann", "f1", EARLY, weight=4.5, positive=True, note="n"),
            event("r2", "ann", "f2", LATE, weight=1.0, positive=False),
            event("r3", "bob", "f2", None),
            event("r4", "ann", "f1", LATE, positive=True),
        ],
        "relationships/User-READ-Book": [event("x1", "ćeda", "b1", LATE, weight=1.0, positive=True)],
        "relationships/Film-HAS_GENRE-Genre": [
            {"row_id": "g1", "from_key": "f1", "to_key": "Drama", "since": date(1970, 1, 2)},
            {"row_id": "g2", "from_key": "f2", "to_key": "Drama"},
        ],
        "features/Film": [
            {"key": "f1", "degree": 2, "pagerank": 0.5},
            {"key": "f2", "degree": 2, "pagerank": 0.25},
            {"key": "f10", "degree": 0, "pagerank": None},
        ],
    }


def write(draft: Draft, content: Rows, schemas: Mapping[str, pa.Schema] = SCHEMAS) -> None:
    for table, schema in schemas.items():
        if table in content:
            draft.write(table, pa.Table.from_pylist(content[table], schema), schema)
    labels = {table.removeprefix("nodes/") for table in content}
    edges = {table.removeprefix("relationships/") for table in content}
    draft.meta["labels"] = {k: v for k, v in META["labels"].items() if k in labels}
    draft.meta["edges"] = {k: v for k, v in META["edges"].items() if k in edges}


def tables(folder: Path, content: Rows | None = None, schemas: Mapping[str, pa.Schema] = SCHEMAS) -> Output:
    """An output of stage `tables` with these rows, by default all of the above."""
    stage = Workspace(folder).stage("tables")
    with stage.create("test") as draft:
        write(draft, rows() if content is None else content, schemas)
    output = stage.current()
    assert output
    return output


def without(content: Iterable[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    """The rows that do not touch a node."""
    return [row for row in content if key not in (row.get("key"), row.get("from_key"), row.get("to_key"))]


def plain(connection: Connection, query: str, **params: Any) -> list[list[Any]]:
    """What Neo4j answers, read without our store."""
    auth = (connection.user, connection.password)
    with neo4j.GraphDatabase.driver(connection.uri, auth=auth) as driver:
        return [list(r) for r in driver.execute_query(query, params, database_=connection.database).records]


def operators(connection: Connection, query: str) -> set[str]:
    """The operators of a query's plan."""
    auth = (connection.user, connection.password)
    with neo4j.GraphDatabase.driver(connection.uri, auth=auth) as driver:
        plan = driver.execute_query(f"EXPLAIN {query}", database_=connection.database).summary.plan
    found, left = set(), [plan]
    while left:
        operator = left.pop()
        found.add(operator["operatorType"].split("@")[0])
        left += operator.get("children", [])
    return found


def account(**numbers: int) -> dict[str, int]:
    """A load's account of one table as figures have it."""
    return vars(Account(**numbers))


def graph_digest(connection: Connection) -> str:
    """What tells two graphs apart."""
    with Store(connection) as store:
        return digest(store)
