"""The first load by Neo4j's importer: the same graph as online, or none."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from kg import bulk, server_import
from kg.bulk import bulk_load, is_empty, pays
from kg.bulk_text import as_text, unwritable
from kg.errors import ContractError, MachineError, StoreError
from kg.graph_digest import digest
from kg.jars import Jars
from kg.java import Java
from kg.load import load
from kg.schema import INSTANT, node_schema, relationship_schema
from kg.server import LocalServer
from kg.server_home import Connection
from kg.store import Store
from kg.tables import Draft, Output
from tests.kg.small_graph import EARLY, LATE, SCHEMAS, Rows, event, plain, rows, tables

pytestmark = pytest.mark.slow

ODD = [
    "",
    " padded ",
    'quo"te',
    "a,b;c",
    "line\nbreak",
    "\r\n",
    "tab\t",
    "\\",
    "\\n",
    "žluťoučký 🎬",
    "'",
    "\x1f",
    "null",
]
EVERYTHING = node_schema(
    [
        pa.field("word", pa.string()),
        pa.field("number", pa.int64()),
        pa.field("small", pa.int8()),
        pa.field("real", pa.float64()),
        pa.field("single", pa.float32()),
        pa.field("yes", pa.bool_()),
        pa.field("day", pa.date32()),
        pa.field("at", INSTANT),
        pa.field("local", pa.timestamp("us")),
        pa.field("raw", pa.binary()),
        pa.field("words", pa.list_(pa.string())),
        pa.field("numbers", pa.list_(pa.int64())),
        pa.field("reals", pa.list_(pa.float64())),
        pa.field("answers", pa.list_(pa.bool_())),
        pa.field("days", pa.list_(pa.date32())),
        pa.field("moments", pa.list_(INSTANT)),
    ]
)
TAGGED = relationship_schema([pa.field("notes", pa.list_(pa.string()))], interaction=True)


def everything() -> tuple[Rows, dict[str, pa.Schema]]:
    """The small graph, and an item for every odd value."""
    content = rows()
    items: list[dict[str, Any]] = [{"key": f"word {word}", "word": word, "text": word} for word in ODD]
    items += [{"key": f"list {n}", "words": words} for n, words in enumerate([[], [""], ["", ""], ["a", ""], ODD])]
    items += [{"key": f"real {x}", "real": x, "reals": [x, -x]} for x in (0.1, -0.0, 1e-320, 1.7e308, 2.0**53 + 2)]
    items += [
        {"key": "most", "number": 2**63 - 1, "small": 127, "single": 0.1, "yes": True, "day": date(9999, 12, 31)},
        {"key": "least", "number": -(2**63), "small": -128, "single": -1e-40, "yes": False, "day": date(1, 1, 1)},
        {"key": "times", "at": EARLY, "local": datetime(1969, 12, 31, 23, 59, 59, 999_999), "moments": [EARLY, LATE]},
        {"key": "old", "at": datetime(1, 1, 1, tzinfo=UTC), "moments": []},
        {"key": "bytes", "raw": bytes(range(256)), "numbers": [-1, 2**62], "answers": [True, False]},
        {"key": "nothing", "raw": b"", "numbers": [], "answers": [], "days": [date(1969, 12, 31)], "reals": []},
        {"key": "long", "text": "x" * 3_000_000 + "\n"},
    ]
    content["nodes/Film"] = items
    content["features/Film"] = [{"key": "most", "degree": 2, "pagerank": 0.1 + 0.2}]
    content["relationships/User-RATED-Film"] = [
        event("r1", "ann", "most", EARLY, notes=["", "b"], weight=0.1),
        event("r2", "bob", "most", LATE, notes=[], positive=False),
        event("r3", "bob", "word line\nbreak", None, notes=["\x1f"]),
    ]
    del content["relationships/Film-HAS_GENRE-Genre"]
    return content, {**SCHEMAS, "nodes/Film": EVERYTHING, "relationships/User-RATED-Film": TAGGED}


@pytest.fixture(scope="module")
def unstarted(
    tmp_path_factory: pytest.TempPathFactory, jars: Jars, java: Java, java_options: str
) -> Iterator[LocalServer]:
    """A server of this file's own, never started yet."""
    local = LocalServer(tmp_path_factory.mktemp("bulk") / "neo4j", jars, java, java_options, "128m", "768m")
    yield local
    local.stop()


@pytest.fixture
def server(unstarted: LocalServer) -> LocalServer:
    """The same with nothing in its database, whatever was there."""
    unstarted.drop_import()
    return unstarted


def imported(server: LocalServer, output: Output) -> Draft:
    draft = Draft(output.filesystem, f"{output.path}/imported")
    bulk_load(server, output, draft, "small")
    return draft


def loaded(connection: Connection, output: Output) -> Draft:
    draft = Draft(output.filesystem, f"{output.path}/online")
    with Store(connection) as store:
        load(store, output, draft, "small")
    return draft


def graph(connection: Connection) -> tuple[str, Any]:
    """The digest, and the properties whose types Python tells apart, read without our code."""
    with Store(connection) as store:
        found = digest(store)
    values = "[k IN keys(x) WHERE k <> '_hash' | k + ' ' + valueType(x[k]) + ' ' + coalesce(toStringOrNull(x[k]), '')]"
    nodes = plain(connection, f"MATCH (x) WHERE x._hash IS NOT NULL RETURN labels(x), {values}")
    edges = plain(connection, f"MATCH (a)-[x]->(b) RETURN a.key, b.key, type(x), {values}")
    return found, sorted(str([sorted(v) if isinstance(v, list) else v for v in row]) for row in nodes + edges)


def never_started(server: LocalServer) -> bool:
    return not (server.home / "data" / "databases" / "neo4j").exists()


def test_an_imported_graph_equals_one_loaded_online(
    server: LocalServer, clean_connection: Connection, tmp_path: Path
) -> None:
    output = tables(tmp_path, *everything())
    online = loaded(clean_connection, output)
    assert never_started(server)
    ours = imported(server, output)
    assert not never_started(server)
    connection = server.connection()
    (our_digest, our_values), (online_digest, online_values) = graph(connection), graph(clean_connection)
    assert our_values == online_values
    assert our_digest == online_digest
    for name in ("nodes", "relationships", "written"):
        assert ours.figures[name] == online.figures[name]
    assert set(ours.meta) == set(online.meta)
    marker = "MATCH (p:CrossGraphProject) RETURN [k IN keys(p) WHERE k <> 'load' | [k, p[k]]]"
    assert [sorted(x, key=str) for [x] in plain(connection, marker)] == [
        sorted(x, key=str) for [x] in plain(clean_connection, marker)
    ]
    constraints = "SHOW CONSTRAINTS YIELD labelsOrTypes, properties WHERE labelsOrTypes[0] IN $labels RETURN *"
    labels = ["User", "Film", "Book", "Genre", "CrossGraphProject"]
    assert len(plain(connection, constraints, labels=labels)) == len(labels)
    assert not list(server.home.glob("import*.*"))
    with Store(connection) as store:
        assert not is_empty(store)


def left_behind(server: LocalServer, draft: Draft) -> list[object]:
    """What a failed import must not leave."""
    files = [*Path(draft.path).rglob("*.*"), *server.home.glob("import*.*")]
    return [*files, *draft.tables, *draft.files, *draft.meta, *draft.figures]


@pytest.mark.parametrize("wrong", [{"from_key": "nobody"}, {"row_id": "r2"}])
def test_tables_that_are_refused_before_the_import_leave_no_files(
    server: LocalServer, tmp_path: Path, wrong: dict[str, str]
) -> None:
    content = rows()
    content["relationships/User-RATED-Film"][0] |= wrong
    output = tables(tmp_path, content)
    draft = Draft(output.filesystem, f"{output.path}/imported")
    with pytest.raises(ContractError):
        bulk_load(server, output, draft, "small")
    assert left_behind(server, draft) == []


def test_what_others_wrote_while_the_files_were_made_is_not_lost(
    server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = server.start()
    write = bulk.write_files

    def written(*arguments: Any) -> Any:
        plain(connection, "CREATE (:Theirs {kept: true})")
        return write(*arguments)

    monkeypatch.setattr(bulk, "write_files", written)
    with pytest.raises(StoreError, match="not empty any more"):
        imported(server, tables(tmp_path))
    assert plain(connection, "MATCH (n:Theirs) RETURN count(*)") == [[1]]


def test_what_the_importer_or_a_constraint_refuses_leaves_an_empty_database(
    server: LocalServer, tmp_path: Path
) -> None:
    content = rows()
    content["nodes/Genre"].append({"key": "x" * 40_000})
    output = tables(tmp_path / "long", content)
    draft = Draft(output.filesystem, f"{output.path}/imported")
    with pytest.raises(StoreError) as refused:
        bulk_load(server, output, draft, "small")
    assert "not empty" not in str(refused.value)
    assert left_behind(server, draft) == []
    server.start()
    with Store(server.connection()) as store:
        assert is_empty(store)
        store.rows("CREATE INDEX theirs FOR (n:Theirs) ON (n.name)")
        assert not is_empty(store)
    early = [{"key": "f1", "local": datetime(1, 1, 1), "shown": [date(1, 1, 1)]}]
    table = pa.Table.from_pylist(early, SCHEMAS["nodes/Film"])
    past = pa.array([[-(10**6)]], pa.list_(pa.int32())).cast(pa.list_(pa.date32()))
    with pytest.raises(ContractError, match="years 1 to 9999"):
        as_text("nodes/Film", "shown", past)
    assert as_text("nodes/Film", "shown", table["shown"].combine_chunks()).to_pylist() == ["0001-01-01"]


KILLED = """
import sys
from pathlib import Path
from kg import bulk
from kg.jars import Jars
from kg.java import find_java
from kg.server import LocalServer
from kg.tables import Draft, Workspace

home, lib, folder, when = sys.argv[1:]
server = LocalServer(Path(home), Jars(Path(lib), ()), find_java(), "", "128m", "768m")
if when == "before the marker":
    bulk.finish = lambda *_: Path(home, "reached").touch() or __import__("time").sleep(600)
output = Workspace(folder).stage("tables").current()
bulk.bulk_load(server, output, Draft(output.filesystem, folder + "/draft"), "small")
"""


@pytest.mark.parametrize("when", ["while importing", "before the marker"])
def test_a_killed_import_is_thrown_away(server: LocalServer, jars: Jars, tmp_path: Path, when: str) -> None:
    output = tables(tmp_path)
    importer = subprocess.Popen([sys.executable, "-c", KILLED, server.home, jars.neo4j_lib, tmp_path, when])
    reached = server.home / ("reached" if when == "before the marker" else server_import.MARK)
    for _ in range(1200):
        if reached.exists() or importer.poll() is not None:
            break
        time.sleep(0.05)
    assert importer.poll() is None
    if when == "before the marker":
        assert plain(server.connection(), "MATCH (n:Film) RETURN count(n)") == [[3]]
    with pytest.raises(MachineError, match="imports a graph"):
        server.start()
    os.kill(importer.pid, signal.SIGKILL)
    importer.wait()
    server.start()
    assert not list(server.home.glob("import*.*"))
    assert plain(server.connection(), "MATCH (n) RETURN count(n)") == [[0]]
    imported(server, output)
    assert plain(server.connection(), "MATCH (n:Film) RETURN count(n)") == [[3]]
    server.stop()


def test_an_import_pays_from_some_size_on(tmp_path: Path) -> None:
    output = tables(tmp_path)
    assert not pays(output)
    output.manifest.tables["relationships/User-RATED-Film"] = 200_000
    assert pays(output)
    output.manifest.meta["labels"]["Genre"]["existing"] = {"name": "name"}
    assert not pays(output)


def test_instants_keep_their_microseconds() -> None:
    moments = pa.array([EARLY, None, datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC)], INSTANT)
    text = ["1965-03-01T12:00:00.250001Z", None, "1969-12-31T23:59:59.999999Z"]
    assert as_text("t", "c", moments).to_pylist() == text
    assert as_text("t", "c", pa.array([float("nan"), float("-inf"), None, 1.5])).to_pylist() == [
        "NaN",
        "-Infinity",
        None,
        "1.5",
    ]


def test_lists_that_a_file_cannot_hold_are_found() -> None:
    words = pa.array([["a"], [], None, [""], ["", ""], ["a\x1fb", "c"]])
    assert unwritable(words).tolist() == [False, True, False, True, False, True]
    assert unwritable(pa.array([b"", b"a", None])).tolist() == [True, False, False]
    assert not unwritable(pa.array(["", None])).any()
