"""``kill -9`` of a loader that marks a user's own nodes and relationships, or takes the marks away again."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from kg.existing_rows import NODE_PLACE, RELATIONSHIP_PLACE
from kg.schema import node_schema, relationship_schema
from kg.server import Connection
from kg.tables import Workspace
from tests.kg.small_graph import EARLY, event, plain
from tests.kg.test_kill import kill, lines_until, rest

pytestmark = pytest.mark.slow

USERS, FILMS = 200, 60
FILL = """\
UNWIND range(0, $films - 1) AS i CREATE (:Film {id: 'f' + i})
WITH count(*) AS _ UNWIND range(0, $users - 1) AS i CREATE (u:User {id: i})
WITH u UNWIND range(0, 2) AS n MATCH (f:Film {id: 'f' + (u.id * 7 + n) % $films}) CREATE (u)-[:RATED {of: 'mine'}]->(f)
"""
EDGE = "User-RATED-Film"
FIRST_KILLS = ["nodes/User create 2", f"relationships/{EDGE} create 3"]
SECOND_KILLS = [f"relationships/{EDGE} delete 2", "nodes/User delete 1"]


def numbers(connection: Connection, query: str) -> list[list[Any]]:
    return plain(connection, query.replace("NUMBER", "toInteger(split(elementId(n), ':')[2])"))


def tables(connection: Connection, folder: Path, *, whole: bool) -> Path:
    """What an ingest makes of the graph, or of its films alone."""
    films = numbers(connection, "MATCH (n:Film) RETURN n.id, NUMBER")
    users = numbers(connection, "MATCH (n:User) RETURN toString(n.id), NUMBER")
    rated = numbers(connection, "MATCH (a:User)-[n:RATED]->(b) RETURN toString(a.id), b.id, NUMBER")
    with Workspace(folder).stage("tables").create("test") as draft:
        for label, found in (("Film", films), *([("User", users)] if whole else [])):
            rows = [{"key": key, "element": element} for key, element in found]
            nodes = pa.Table.from_pylist([{"key": key} for key, _ in found], node_schema([]))
            draft.write(f"nodes/{label}", nodes, node_schema([]))
            draft.write(f"places/nodes/{label}", pa.Table.from_pylist(rows, NODE_PLACE), NODE_PLACE)
        existing = {"existing": {"domain": True}, "key": "id", "sources": []}
        draft.meta["labels"] = {"Film": {"side": "item", "domain": "films", **existing}}
        draft.meta["edges"] = {}
        if whole:
            draft.meta["labels"]["User"] = {"side": "user", "domain": None, **existing}
            draft.meta["edges"][EDGE] = {"interaction": True, "target": True, **existing, "key": ["from", "to"]}
            schema = relationship_schema([], interaction=True)
            events = [event(f"{a}-{b}", a, b, EARLY, positive=True) for a, b, _ in rated]
            places = [{"row_id": f"{a}-{b}", "from_key": a, "to_key": b, "element": e} for a, b, e in rated]
            draft.write(f"relationships/{EDGE}", pa.Table.from_pylist(events, schema), schema)
            draft.write(
                f"places/relationships/{EDGE}", pa.Table.from_pylist(places, RELATIONSHIP_PLACE), RELATIONSHIP_PLACE
            )
    return folder


def held(connection: Connection) -> list[list[Any]]:
    """All nodes and relationships but the record of loads."""
    nodes = "MATCH (n) WHERE NOT n:CrossGraphProject RETURN elementId(n) AS id, labels(n), properties(n) ORDER BY id"
    return [
        [element, sorted(kind) if isinstance(kind, list) else kind, properties]
        for query in (nodes, "MATCH ()-[n]->() RETURN elementId(n) AS id, type(n), properties(n) ORDER BY id")
        for element, kind, properties in plain(connection, query)
    ]


def test_marks_end_as_they_would_undisturbed(clean_connection: Connection, tmp_path: Path) -> None:
    connection, loaded = clean_connection, tmp_path / "loaded"
    plain(connection, FILL, users=USERS, films=FILMS)
    untouched = held(connection)
    whole = tables(connection, tmp_path / "whole", whole=True)
    less = tables(connection, tmp_path / "less", whole=False)

    def run(workspace: Path, kills: Sequence[str] = ()) -> list[list[Any]]:
        for wanted in (*kills, None):
            command = [sys.executable, "-m", "tests.kg.loading", str(workspace), str(loaded)]
            child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            assert child.stdin
            child.stdin.write(json.dumps(asdict(connection)))
            child.stdin.close()
            if wanted is None:
                rest(child)
            else:
                lines_until(child, wanted)
                kill(child)
        return held(connection)

    marked, unmarked = run(whole), run(less)
    assert [row for row in unmarked if row[1] != ["Film", "Item"]] == [row for row in untouched if row[1] != ["Film"]]
    assert len(marked) == len(untouched)
    assert run(whole, FIRST_KILLS) == marked
    assert run(less, SECOND_KILLS) == unmarked
