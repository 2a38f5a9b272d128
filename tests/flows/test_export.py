"""Snapshots of a small project with a real Neo4j of its own; the tests go on from one another."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from kg.jars import Jars
from kg.tables import Output, read_output
from tests.flows.small_project import Small, small_project

pytestmark = pytest.mark.slow

ALL = {"nodes/Film": 2, "nodes/User": 3, "edges/User-SAW-Film": 4}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, jars: Jars, cache: Path) -> Iterator[Small]:
    """Ingested once."""
    with small_project(tmp_path_factory.mktemp("small"), cache) as made:
        yield made


def exported(small: Small, folder: str = "out") -> Output:
    found = read_output(small.workspace.filesystem, str(small.folder / folder))
    assert found
    found.verify()
    return found


def figures(small: Small) -> dict:
    return json.loads((small.folder / "runs/small/run.json").read_text())


def flip(path: Path) -> None:
    """Damage a file's middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def written(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_the_whole_graph_goes_to_a_folder_once(small: Small) -> None:
    assert "edges/User-SAW-Film: 4 rows" in small.command("export", "--to", "out")
    first = exported(small)
    assert first.manifest.tables == ALL
    assert first.read("nodes/User")["key"].to_pylist() == ["u-100", "u-200", "u-300"]
    before = written(small.folder / "out")
    small.stop()  # what is unchanged needs no Neo4j
    assert "unchanged" in small.command("export", "--to", "out")
    assert written(small.folder / "out") == before
    assert not (small.folder / "out.partial").exists()


def test_options_choose_a_part_which_takes_the_place_of_what_was_there(small: Small) -> None:
    small.command("export", "--to", "out", "--label", "User")
    assert exported(small).manifest.tables == {"nodes/User": 3}
    small.command("export", "--to", "out", "--seed", "User:u-100", "--hops", "2")
    # u-100 saw f1, which all others saw too
    assert exported(small).read("nodes/Film")["key"].to_pylist() == ["f1"]
    assert exported(small).manifest.tables == {"nodes/Film": 1, "nodes/User": 3, "edges/User-SAW-Film": 3}


def test_a_file_chooses_a_part_and_options_go_before_it(small: Small) -> None:
    (small.folder / "keys").write_text("u-200\n")
    (small.folder / "part.yaml").write_text("around:\n  seeds: {User: keys}\n  hops: 0\n")
    small.command("export", "--to", "out", "--selection", "part.yaml")
    assert exported(small).manifest.tables == {"nodes/Film": 0, "nodes/User": 1, "edges/User-SAW-Film": 0}
    small.command("export", "--to", "out", "--selection", "part.yaml", "--hops", "1", "--type", "SAW")
    assert exported(small).manifest.tables == {"nodes/Film": 2, "nodes/User": 1, "edges/User-SAW-Film": 2}
    (small.folder / "keys").write_text("u-100\nu-200\n")  # another content of the same file is another selection
    small.command("export", "--to", "out", "--selection", "part.yaml")
    assert exported(small).manifest.tables["nodes/User"] == 2


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (["--label", "Flim"], "labels: unknown ['Flim']; found ['Film', 'User']", 4),
        (["--seed", "u-100"], "expected LABEL:KEY, found 'u-100'", 2),
        (["--seed", "User:nobody"], "1 others, first 'nobody'", 4),
        (["--hops", "2"], "--hops 2: expected --seed LABEL:KEY too", 2),
        (["--selection", "typo.yaml"], "typo.yaml:2: lables: unknown key, did you mean labels?", 2),
        (["--workspace", "nowhere"], "holds no tables yet", 2),
    ],
)
def test_what_cannot_be_exported_is_said_and_leaves_what_was_there(
    small: Small, arguments: list[str], said: str, code: int
) -> None:
    (small.folder / "typo.yaml").write_text("types: [SAW]\nlables: [User]\n")
    before = written(small.folder / "out")
    assert said in small.command("export", "--to", "out", *arguments, code=code)
    assert written(small.folder / "out") == before
    assert not (small.folder / "out.partial").exists()


def test_only_exports_are_replaced(small: Small) -> None:
    before = written(small.folder / "runs")
    assert "expected a new or an empty folder" in small.command("export", "--to", "runs", code=2)
    [graph] = (small.folder / "runs/small/graph").iterdir()
    assert "expected a new or an empty folder" in small.command("export", "--to", str(graph), code=2)
    assert written(small.folder / "runs") == before
    assert "expected a local folder" in small.command("export", "--to", "s3://bucket/x", code=2)


def test_a_damaged_export_is_made_anew(small: Small) -> None:
    small.command("export", "--to", "out")
    flip(small.folder / "out/nodes/User/part-0.parquet")
    assert "written in" in small.command("export", "--to", "out")
    assert exported(small).manifest.tables == ALL


@pytest.mark.parametrize("damage", [flip, Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-1])])
def test_a_damaged_snapshot_is_made_anew_by_the_run_that_would_learn_from_it(small: Small, damage) -> None:
    graph = small.output("graph")
    damage(Path(graph.location("edges/User-SAW-Film/part-0.parquet")))
    said = "`crossgraph ingest` makes it anew"
    assert said in small.command("recommend", code=4)
    assert "the snapshot is damaged and made anew" in small.command("ingest")
    assert figures(small)["skipped"] == ["tables", "cuts", "loaded"]
    now = small.output("graph")
    now.verify()
    assert (now.manifest.fingerprint, now.manifest.tables) == (graph.manifest.fingerprint, graph.manifest.tables)
    assert now.path != graph.path
    small.command("ingest")
    assert figures(small)["skipped"] == ["tables", "cuts", "loaded", "graph"]


def test_another_selection_is_another_snapshot_and_an_unchanged_one_is_free(small: Small) -> None:
    part = ["--set", "export.around={seeds: {User: [u-100]}, hops: 1}"]
    small.command("ingest", *part)
    assert figures(small)["skipped"] == ["tables", "cuts", "loaded"]
    assert small.output("graph").manifest.tables == {"nodes/Film": 1, "nodes/User": 1, "edges/User-SAW-Film": 1}
    small.command("ingest", *part)
    assert figures(small)["skipped"] == ["tables", "cuts", "loaded", "graph"]
    # The command takes the file's selection where it is given none.
    small.command("export", "--to", "part", *part)
    assert exported(small, "part").manifest.tables == small.output("graph").manifest.tables
    small.command("ingest")
    assert figures(small)["skipped"] == ["tables", "cuts", "loaded"]
    assert small.output("graph").manifest.tables == ALL


def test_who_forgets_somebody_is_told_of_exports(small: Small) -> None:
    told = small.command("forget", "User", "u-300", "--yes")
    assert f"it may still be in: {small.folder / 'out'}, until you export there again" in told
    assert f"it may still be in: {small.folder / 'part'}" in told
    assert "not loaded yet: run `crossgraph ingest`" in small.command("export", "--to", "out", code=2)
