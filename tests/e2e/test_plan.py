"""A plan says what a run would do, and touches nothing: not a byte of the workspace, the cache or the database."""

import hashlib
import json
from pathlib import Path

import pytest

# The first test here may pay for the whole demo, on whatever machine this is.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def everything(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() + str(path.stat().st_mtime_ns) for path in files}


def planned(demo, tmp_path: Path, *overrides: str, **variables: str) -> tuple[dict, str]:
    """A plan's figures and what it printed; nothing may have changed by it."""
    before, graph = everything(demo.workspace), demo.graph_digest()
    path = tmp_path / "plan.json"
    done = demo.run("plan", *demo.project(*overrides), "--json", str(path), **variables)
    assert everything(demo.workspace) == before
    assert demo.graph_digest() == graph
    return json.loads(path.read_text()), done.stdout


def test_where_nothing_changed_nothing_would_be_done(demo, tmp_path):
    figures, shown = planned(demo, tmp_path)
    assert not figures["read"]
    assert [stage["stage"] for stage in figures["stages"] if stage["made"]] == []
    assert all(of["created"] == of["updated"] == of["deleted"] == 0 for of in figures["graph"].values())
    assert figures["graph"]["nodes/Film"]["unchanged"] > 0
    assert (figures["models"], figures["seconds"]) == ([], 0)
    assert "models to train: none" in shown


def test_an_edited_an_added_and_a_deleted_film_are_just_that(demo, tmp_path):
    """Neo4j is not started either: its home, which is another here, stays empty of all but the password."""
    header, first, _deleted, *rest = (demo.data / "films.csv").read_text().splitlines()
    number, title, *others = first.split(",")
    edited = ",".join([number, f"{title} Revisited", *others])
    added = ",".join(["f9999", "Newcomer", *others])
    films = tmp_path / "films.csv"
    films.write_text("\n".join([header, edited, added, *rest]) + "\n")
    home = tmp_path / "home"
    (home / "neo4j" / "demo").mkdir(parents=True)
    (home / "neo4j" / "demo" / "password").write_text("not asked for\n")
    at_home = everything(home)

    figures, shown = planned(demo, tmp_path, f"sources.films.path={films}", CROSSGRAPH_HOME=str(home))

    assert everything(home) == at_home
    film = figures["graph"]["nodes/Film"]
    assert (film["created"], film["updated"], film["deleted"]) == (1, 1, 1)
    assert figures["graph"]["nodes/Book"]["created"] == figures["graph"]["nodes/Book"]["updated"] == 0
    assert figures["encode"]["text"] == {"Book": 0, "Film": 2}
    assert sum(figures["encode"]["image"].values()) == 0
    assert figures["models"] == ["trained/user_time", "trained/global_time", "embeddings"]
    by_stage = {stage["stage"]: stage for stage in figures["stages"]}
    assert all(stage["made"] for stage in by_stage.values())
    assert by_stage["tables"]["seconds"] > by_stage["encoded"]["seconds"] > 0
    assert figures["seconds"] == pytest.approx(sum(stage["seconds"] for stage in by_stage.values()), abs=0.1)
    assert all(0 < stage["memory_mib"] <= stage["share_mib"] for stage in by_stage.values())
    # The demo's own run is what the estimates go by.
    assert by_stage["tables"]["by"] == json.loads((demo.folder / "first.json").read_text())["run_id"]
    assert "Neo4j is not running and was not started" in shown
