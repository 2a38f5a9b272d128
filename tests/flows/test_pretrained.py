"""Projects that start from another project's model, over planted stages: no Spark and no Neo4j."""

import json
from pathlib import Path

import pytest
import torch
from pyarrow.fs import LocalFileSystem

from embed.cache import read_views
from embed.checkpoint import Checkpoint, read, save
from embed.layers import slot
from embed.snapshot import Snapshot
from embed.train import fit
from flows.embed import MODEL
from flows.pretrained import Start, find_start
from flows.tasks import opened
from kg.errors import ConfigError, ContractError
from kg.events import catalogue, read_cut
from tests.embed.planted import SMALL
from tests.flows.planted_project import Planted, planted_project

STILL = ("embed.epochs=1", "embed.learning_rate=1e-9")


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Planted:
    """A project called `other` that has published a model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CROSSGRAPH_HOME", str(tmp_path / "home"))
    made = planted_project(tmp_path, "other")
    learn(made, seed=3)
    return made


@pytest.fixture
def project(other: Planted, tmp_path: Path) -> Planted:
    return planted_project(tmp_path)


def learn(project: Planted, seed: int) -> None:
    """A new output `embeddings` with a model of all that the stages before it hold."""
    snapshot, nodes = Snapshot.read(project.graph), catalogue(project.graph)
    events = read_cut(project.cuts, "user_time", project.graph).train
    trained = fit(snapshot, read_views(project.encoded, snapshot), nodes, events, SMALL, epochs=2, seed=seed)
    with project.workspace.stage("embeddings").create(str(seed)) as draft:
        save(trained, draft.filesystem, draft.location(MODEL))


def model_folder(project: Planted, stage: str = "embeddings") -> str:
    output = project.workspace.stage(stage).current()
    assert output
    return output.location(MODEL)


def model(project: Planted, stage: str) -> Checkpoint:
    return read(LocalFileSystem(), model_folder(project, stage))


def train(project: Planted, *overrides: str) -> dict:
    """The figures of a run that makes stage `trained/user_time`."""
    with opened(project.path, [*STILL, *overrides], "embed") as run:
        project.train(run)
    return json.loads((Path(project.workspace.root) / "run.json").read_text())


def start(project: Planted, named: str) -> Start | None:
    with opened(project.path, [f"embed.pretrained={named}"], "embed") as run:
        return find_start(run)


def test_training_starts_from_the_other_projects_weights(project: Planted, other: Planted) -> None:
    train(project, "embed.pretrained=other")
    ours, theirs = model(project, "trained/user_time").network, model(other, "embeddings").network
    for name in ("User", "Film", "Book"):
        torch.testing.assert_close(ours.ids[slot(name)], theirs.ids[slot(name)], atol=1e-5, rtol=0)
        torch.testing.assert_close(ours.base[slot(name)], theirs.base[slot(name)], atol=1e-5, rtol=0)
    torch.testing.assert_close(ours.project["v"].weight, theirs.project["v"].weight, atol=1e-5, rtol=0)
    # What belongs to single properties is this graph's own.
    assert (ours.inputs[slot("User")].weight - theirs.inputs[slot("User")].weight).abs().max() > 0.01


def test_one_model_is_one_start_by_whatever_name_and_another_trains_anew(project: Planted, other: Planted) -> None:
    names = ["other", "runs/other", f"file://{other.workspace.root}", model_folder(other)]
    assert len({found.fingerprint for name in names if (found := start(project, name))}) == 1
    assert train(project, "embed.pretrained=other")["skipped"] == []
    assert train(project, f"embed.pretrained={model_folder(other)}")["skipped"] == ["trained/user_time"]
    learn(other, seed=4)
    assert train(project, "embed.pretrained=other")["skipped"] == []
    assert train(project)["skipped"] == []


def test_what_is_no_start_is_a_clear_error(project: Planted, other: Planted, tmp_path: Path) -> None:
    assert start(project, "null") is None
    for named, said in (
        ("nobody", "runs/nobody holds no model"),
        (str(tmp_path / "absent"), "absent holds no model"),
        ("tiny", "is this project's own workspace"),
        ("runs/tiny", "is this project's own workspace"),
        ("ftpx://host/somewhere", "ftpx://host/somewhere cannot be read"),
    ):
        with pytest.raises(ConfigError, match=said):
            start(project, named)
    with pytest.raises(ConfigError, match=r"embed\.graph\.dim: 32 cannot start from a model of width 16"):
        train(project, "embed.pretrained=other", "embed.graph.dim=32")
    Path(model_folder(other), "model.safetensors").write_bytes(b"torn")
    with pytest.raises(ContractError, match=r"the weights that model\.json describes"):
        train(project, "embed.pretrained=other")
