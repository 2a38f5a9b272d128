"""Forget, back up and restore a small project with a real Neo4j of its own; the tests go on from one another."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from flows.project import load_project
from flows.servers import local_server
from flows.settings import load_settings
from kg.forget import outputs
from kg.jars import Jars
from kg.schema import embedding_schema
from kg.server_home import saved_connection
from tests.flows.small_project import Small, small_project

pytestmark = pytest.mark.slow

PASSWORD = "password"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, jars: Jars, cache: Path) -> Iterator[Small]:
    """Ingested once, with vectors and with what others made in the graph."""
    with small_project(tmp_path_factory.mktemp("small"), cache) as made:
        with made.workspace.stage("embeddings").create("f") as draft:
            draft.write(
                "vectors/User",
                pa.table({"key": ["u-100"], "z": [[1.0]]}, embedding_schema(["z"])),
                embedding_schema(["z"]),
            )
        made.graph(
            "MATCH (u:User {key: 'u-200'}), (f:Film {key: 'f1'}) SET u.z_a = [1.0] CREATE (u)-[:RECOMMENDED]->(f), "
            "(u)<-[:WROTE]-(:Note {of: 'others'})"
        )
        yield made


def verify(small: Small) -> int:
    """Read all files of all outputs; returns how many there are."""
    found = outputs(small.workspace)
    for output in found:
        output.verify()
    return sum(len(output.manifest.files) for output in found)


@pytest.fixture(scope="module")
def early(small: Small) -> Path:
    """A backup from before anybody was forgotten; the server, which ran, runs again."""
    path = small.folder / "early.tar"
    assert "with the database" in small.command("backup", str(path))
    assert local_server(load_settings(), "small").status().running
    return path


def test_a_backup_holds_no_password(small: Small, early: Path):
    secret = (small.home / PASSWORD).read_bytes().strip()
    assert len(secret) > 8
    assert secret not in early.read_bytes()


def test_an_unknown_key_or_label_changes_nothing(small: Small, early: Path):
    before = small.files()
    assert "found no 'u-999'" in small.command("forget", "User", "u-999", "--yes", code=4)
    assert "unknown label 'Usr'" in small.command("forget", "Usr", "u-200", "--yes", code=2)
    assert small.files() == before


def test_a_dry_run_and_a_no_change_nothing(small: Small, early: Path):
    before = small.files()
    told = small.command("forget", "User", "u-201", "--dry-run")
    assert "User u-200, u-201:" in told
    assert "graph: User: 1 nodes with 1 RECOMMENDED, 2 SAW, 1 WROTE" in told
    assert "nodes/User: 1 of 3 rows" in told
    small.command("forget", "User", "u-201", input="n\n", code=1)
    assert small.files() == before


def test_a_forgotten_user_is_gone_and_the_proof_says_so(small: Small, early: Path):
    told = small.command("forget", "User", "u-201", "--yes")
    assert "nothing is left" in told
    assert "source users" in told
    assert "related to nothing else, and kept: 1 Note" in told
    assert small.output("tables").read("nodes/User")["key"].to_pylist() == ["u-100", "u-300"]
    assert small.output("tables").manifest.tables["aliases/User"] == 0
    assert {json.loads(raw)["user"] for raw in small.output("tables").read("quarantine/seen")["raw"].to_pylist()} == {
        "u-300"
    }
    assert small.workspace.stage("graph").current() is None
    for content in small.files().values():
        assert b"u-200" not in content
        assert b"Bob" not in content
    assert small.graph("MATCH (n:User) RETURN n.key ORDER BY n.key") == [["u-100"], ["u-300"]]
    assert verify(small) > 10
    assert "nothing more is found" in small.command("forget", "User", "u-200", "--yes")


def test_a_run_brings_nothing_back(small: Small, early: Path):
    figures = small.ingest()
    sources = figures["stages"]["tables"]["figures"]["sources"]
    assert sources["users"]["reasons"] == {"forgotten": 2}
    assert sources["seen"]["reasons"] == {"forgotten": 3, "rule:some": 1}
    assert sources["seen"]["filtered"] == 3
    loaded = figures["stages"]["loaded"]["figures"]
    accounts = [*loaded["nodes"].values(), *loaded["relationships"].values()]
    assert {account["rows"] - account["unchanged"] + account["deleted"] for account in accounts} == {0}
    assert figures["did"]["rows_written"] <= 4  # the degree and PageRank of who is left
    assert small.graph("MATCH (n:User) RETURN n.key ORDER BY n.key") == [["u-100"], ["u-300"]]
    assert "nothing is left" in small.command("forget", "User", "u-201", "--yes")
    for content in small.files().values():
        assert b"u-20" not in content


def test_what_is_there_is_not_overwritten(small: Small, early: Path):
    before = small.files()
    assert "is not empty" in small.command("restore", str(early), code=2)
    shutil.move(small.folder / "runs", small.folder / "moved")
    assert "holds 6 nodes" in small.command("restore", str(early), code=2)
    shutil.move(small.folder / "moved", small.folder / "runs")
    assert small.files() == before


def test_after_backup_loss_and_restore_a_run_does_nothing(small: Small, early: Path):
    folder = small.folder / "backups"
    folder.mkdir()
    small.stop()
    small.command("backup", str(folder))
    assert not local_server(load_settings(), "small").status().running
    password = saved_connection(small.home).password
    shutil.rmtree(small.home)
    shutil.rmtree(small.folder / "runs")
    assert "restored" in small.command("restore", str(folder))
    assert verify(small) > 10
    assert [path for path in small.folder.rglob("*") if path.name.startswith((".dump-", "small.restoring"))] == []
    figures = small.ingest()
    assert figures["skipped"] == ["tables", "cuts", "loaded", "graph"]
    assert figures["did"]["rows_written"] == 0
    assert small.graph("MATCH (n) WHERE n:User OR n:Note RETURN count(n)") == [[3]]
    assert saved_connection(small.home).password != password


@pytest.fixture
def own_server(small: Small, early: Path, monkeypatch) -> None:
    """The same server as one of the user's own."""
    small.graph("RETURN 1")
    connection = saved_connection(small.home)
    monkeypatch.setenv("CROSSGRAPH_NEO4J__URI", connection.uri)
    monkeypatch.setenv("CROSSGRAPH_NEO4J__PASSWORD", connection.password)


@pytest.mark.usefixtures("own_server")
def test_an_older_backup_does_not_bring_them_back(small: Small, early: Path):
    small.graph("CREATE (:User {key: 'u-200', _hash: 1})-[:SAW]->(:Film {key: 'f9'})")  # as an older dump would have
    told = small.command("restore", str(early), "--replace")
    assert "forgotten again" in told
    assert verify(small) > 10
    assert "neo4j-admin database load neo4j --from-path=FOLDER" in told
    assert small.output("tables").read("nodes/User")["key"].to_pylist() == ["u-100", "u-300"]
    assert small.graph("MATCH (n:User) RETURN n.key ORDER BY n.key") == [["u-100"], ["u-300"]]
    for content in small.files().values():
        assert b"u-200" not in content


@pytest.mark.usefixtures("own_server")
def test_only_the_workspace_of_a_server_of_ones_own_is_saved(small: Small):
    told = small.command("backup", str(small.folder / "own.tar"))
    assert "without the database" in told
    assert "neo4j-admin database dump neo4j --to-path=FOLDER" in told


def test_a_workspace_elsewhere_is_refused(small: Small, early: Path):
    assert "no local folder" in small.command("backup", "x.tar", "--workspace", "mock://bucket/small", code=2)
    assert load_project(small.path).name == "small"
