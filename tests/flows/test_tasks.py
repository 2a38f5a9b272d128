import errno
import json
import multiprocessing
from pathlib import Path

import pyarrow as pa
import pytest

from flows.disk import full_disk_named
from flows.tasks import Run, opened
from kg.errors import ConfigError, LockedError, MachineError
from kg.schema import ALIAS

PROJECT = """\
name: tiny
sources: {items: {format: csv, path: items.csv}}
nodes: {Item: {source: items, key: id}}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(PROJECT)
    return str(tmp_path / "tiny.yaml")


def make(run: Run, inputs: list[object], key: str = "a", modules: tuple[str, ...] = ("kg.schema",)) -> None:
    rows = pa.table({"alias": [key], "key": ["k"]}, schema=ALIAS)
    run.stage("tables", inputs, list(modules), lambda draft: draft.write("aliases/X", rows, ALIAS))


def figures() -> dict:
    return json.loads(Path("runs/tiny/run.json").read_text())


def test_a_stage_is_made_once_for_the_same_inputs_and_again_for_others(project):
    with opened(project, [], "run") as run:
        make(run, [1])
    with opened(project, [], "run") as run:
        make(run, [1], key="never written")
    assert figures()["skipped"] == ["tables"]
    assert run.output("tables").read("aliases/X")["alias"].to_pylist() == ["a"]
    with opened(project, [], "run") as run:
        make(run, [2], key="b")
    assert figures()["skipped"] == []
    assert run.output("tables").read("aliases/X")["alias"].to_pylist() == ["b"]


def test_other_code_makes_a_stage_again(project):
    with opened(project, [], "run") as run:
        make(run, [1])
        make(run, [1], key="b", modules=("kg.schema", "kg.split"))
    assert run.output("tables").read("aliases/X")["alias"].to_pylist() == ["b"]


def test_an_output_that_is_not_valid_any_more_is_made_again(project):
    with opened(project, [], "run") as run:
        make(run, [1])
        made = []
        run.stage("tables", [1], ["kg.schema"], made.append, valid=lambda output: False)
    assert made


def test_a_failed_stage_leaves_the_output_before_it(project):
    with opened(project, [], "run") as run:
        make(run, [1])
    with pytest.raises(ValueError, match="in the middle"), opened(project, [], "run") as run:
        run.stage("tables", [2], ["kg.schema"], _broken)
    assert run.output("tables").read("aliases/X")["alias"].to_pylist() == ["a"]
    assert figures()["status"] == "failed"
    assert "in the middle" in figures()["error"]
    assert len(list(Path("runs/tiny/tables").iterdir())) == 1


def _broken(draft) -> None:
    draft.write("aliases/X", pa.table({"alias": ["c"], "key": ["k"]}, schema=ALIAS), ALIAS)
    raise ValueError("in the middle")


def test_every_run_is_kept_in_history(project):
    for _ in range(2):
        with opened(project, [], "run") as run:
            make(run, [1])
    kept = [json.loads(path.read_text()) for path in Path("runs/tiny/history").iterdir()]
    assert figures() in kept
    assert all(content["status"] == "completed" and content["seconds"]["total"] >= 0 for content in kept)


def test_a_missing_output_names_the_command_that_makes_it(project):
    with opened(project, [], "recommend") as run, pytest.raises(ConfigError, match="crossgraph run tiny"):
        run.output("embeddings")


def _hold(project: str, held, done) -> None:
    with opened(project, [], "run"):
        held.set()
        done.wait(60)


def test_a_workspace_is_held_by_one_process_which_is_named(project):
    context = multiprocessing.get_context("spawn")
    held, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(project, held, done))
    other.start()
    try:
        assert held.wait(60)
        with pytest.raises(LockedError, match=f"process {other.pid}"), opened(project, [], "run"):
            pass
        with opened(project, [], "run", workspace="elsewhere"):
            pass
    finally:
        done.set()
        other.join()
    with opened(project, [], "run"):
        pass


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_says_what_to_do(number):
    with pytest.raises(MachineError, match=r"runs/x is full: free some space"), full_disk_named("runs/x"):
        raise OSError(number, "whatever the system says")


def test_other_errors_of_the_system_pass():
    with pytest.raises(PermissionError), full_disk_named("runs/x"):
        raise PermissionError(errno.EACCES, "no")
