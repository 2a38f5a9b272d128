from pathlib import Path

import pytest

from flows.project import load_project
from flows.rehearsal import Rehearsal
from flows.settings import load_settings
from flows.tasks import Run
from kg.landing import Landing, State
from kg.source_delivery import land_files
from kg.tables import Workspace

PROJECT = """\
name: tiny
sources:
  items: {format: csv, path: items.csv, mode: append}
  api: {format: http, url: "http://127.0.0.1:1/never-asked"}
nodes: {Item: {source: items, key: id}, Thing: {source: api, key: id}}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch) -> str:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CROSSGRAPH_HOME", str(tmp_path / "home"))
    (tmp_path / "items.csv").write_text("id\n1\n")
    (tmp_path / "tiny.yaml").write_text(PROJECT)
    return str(tmp_path / "tiny.yaml")


def rehearsal(project: str) -> Rehearsal:
    return Rehearsal(load_project(project), load_settings(), None, Path("scratch"))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_new_lands_beside_a_copy_of_what_has_landed(project):
    run = Run(load_project(project), load_settings(), "ingest")
    source = run.graph.sources["items"]
    land_files("items", source, run.landing.source("items"))
    before = files(Path("runs"))
    Path("items.csv").write_text("id\n1\n2\n")
    this = rehearsal(project)
    assert land_files("items", source, this.landing.source("items")) == 1
    assert files(Path("runs")) == before
    state = this.landing.source("items").state()
    assert state is not None
    assert [file.size for file in state.files] == [7]


def test_an_api_is_not_asked_and_left_out_until_something_of_it_has_landed(project):
    this = rehearsal(project)
    assert list(this.delivering) == ["items"]
    assert this.graph.sources["api"].place is None
    Landing.of(Workspace("runs/tiny")).source("api").seal(State("the API"))
    assert rehearsal(project).graph.sources["api"].place == "http://127.0.0.1:1/never-asked"


def test_what_exists_in_a_neo4j_that_does_not_run_is_left_out_until_it_was_read(project):
    Path(project).write_text(PROJECT.replace("nodes: {", "nodes: {Own: {existing: true, key: id}, "))
    this = rehearsal(project)
    assert this.existing_connection is None
    assert this.graph.sources["neo4j_Own"].place is None
    Landing.of(Workspace("runs/tiny")).source("neo4j_Own").seal(State("(:Own)"))
    assert rehearsal(project).graph.sources["neo4j_Own"].place == "neo4j"


def test_a_stage_that_would_be_made_makes_the_stages_after_it_too(project):
    with Workspace("runs/tiny").stage("cuts").create("of another tables") as draft:
        draft.meta["x"] = 1
    this = rehearsal(project)
    first = this.stage("graph", ["changed"], ["kg.schema"], lambda draft: pytest.fail("made"))
    second = this.stage("cuts", [first.manifest.fingerprint], ["kg.schema"], lambda draft: pytest.fail("made"))
    assert this.unchanged == {"graph": False, "cuts": False}
    assert second.manifest.tables == {}
    with Workspace("runs/tiny").stage("cuts").create(second.manifest.fingerprint) as draft:
        draft.meta["x"] = 2
    again = rehearsal(project)
    assert again.stage("cuts", [first.manifest.fingerprint], ["kg.schema"], pytest.fail).manifest.meta == {"x": 2}
    assert again.unchanged == {"cuts": True}


def test_the_tables_are_made_in_the_scratch_folder(project):
    this = rehearsal(project)
    found = this.stage("tables", [1], ["kg.schema"], lambda draft: draft.meta.update(made=True))
    assert found.manifest.meta == {"made": True}
    assert not Path("runs").exists()


def test_neo4j_is_neither_started_nor_taken_for_granted(project):
    this = rehearsal(project)
    this.start_neo4j()
    assert (this.running, this.has_database) == (None, False)
    with pytest.raises(RuntimeError, match="must not need Neo4j"):
        _ = this.connection
    assert not Path("home").exists()
