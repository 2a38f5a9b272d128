"""Stage `ablation` over planted stages: no Spark and no Neo4j."""

import json
from pathlib import Path

import pytest

from flows.ablation import TABLE, ablate
from flows.cli_upkeep import show_ablation
from flows.summary import markdown
from flows.tasks import opened
from kg.tables import Output
from tests.flows.planted_project import Planted, planted_project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Planted:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CROSSGRAPH_HOME", str(tmp_path / "home"))
    return planted_project(tmp_path)


def table(project: Planted, *overrides: str) -> tuple[Output, Output, dict]:
    """The stages `trained` and `ablation`, and the run's figures."""
    with opened(project.path, list(overrides), "embed --ablate") as run:
        trained = project.train(run)
        made = ablate(run, project.graph, project.cuts, project.encoded, trained)
    return trained, made, json.loads((Path(project.workspace.root) / "run.json").read_text())


def test_the_projects_own_model_is_measured_as_it_was_validated(
    project: Planted, capsys: pytest.CaptureFixture[str]
) -> None:
    trained, made, figures = table(project)
    rows = {row["name"]: row for row in made.manifest.figures["rows"]}
    history = trained.manifest.figures["history"]
    own = rows["all views, attention"]["values"]["all"]["ndcg@10"]
    assert own == pytest.approx([max(history["metrics"])], abs=1e-9)
    # What was trained: the stage, two more fusions, one without texts.
    assert figures["did"]["models_trained"] == 4
    kept = Path(made.path, TABLE).read_text()
    capsys.readouterr()
    show_ablation(figures)
    assert kept in capsys.readouterr().out
    assert f"| all views, attention (the project's) | {own[0]:.4f} |" in kept
    assert f"| all views, attention (the project's) | {own[0]:.4f} |" in markdown(figures)


def test_unchanged_it_is_skipped_and_another_fusion_makes_it_anew(project: Planted) -> None:
    table(project, "embed.epochs=1")
    before = {name: content for name, content in project.files().items() if "/ablation/" in name}
    assert len(before) == 2
    _, _, figures = table(project, "embed.epochs=1")
    assert figures["skipped"] == ["trained/user_time", "ablation"] and figures["did"]["models_trained"] == 0
    assert {name: content for name, content in project.files().items() if "/ablation/" in name} == before
    _, made, figures = table(project, "embed.epochs=1", "embed.fusion=mean")
    assert figures["skipped"] == []
    assert [row["name"] for row in made.manifest.figures["rows"] if row["own"]] == ["all views, mean"]
