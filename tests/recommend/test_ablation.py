"""The ablation's table on a graph whose interactions and texts tell the tastes, and whose pictures tell nothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embed.config import EmbedConfig
from embed.infer import Embeddings
from embed.inputs import View, Views
from embed.snapshot import Snapshot, own_interactions
from embed.train import Trained, fit
from kg.interactions import Catalogue, Interactions
from recommend.ablation import Ablation, Variant, ablate, cells, header, markdown, variants
from recommend.measure import exhaustive, mean, measure, validation
from tests.embed import planted


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    return Snapshot.read(planted.write(tmp_path_factory.mktemp("planted")))


@pytest.fixture(scope="module")
def catalogue(snapshot: Snapshot) -> Catalogue:
    return planted.make_catalogue(snapshot)


def alike(views: Views) -> dict[str, View]:
    """Pictures of the same items that all look the same."""
    return {
        label: View(np.ones_like(of.vectors) * of.mask[:, None], of.mask) for label, of in views.by_view["v"].items()
    }


@pytest.fixture(scope="module")
def events(snapshot: Snapshot, catalogue: Catalogue) -> tuple[Interactions, Interactions]:
    """Train and validation; the first four books have no event to learn from."""
    train, valid = planted.hold_out(own_interactions(snapshot, catalogue))
    return train.take(train.item >= 4), valid


CONFIG = EmbedConfig.model_validate(planted.SMALL.model_dump() | {"epochs": 5, "seed": 4})
Told = tuple[Ablation, list[Variant], list[Trained]]


@pytest.fixture(scope="module")
def told(snapshot: Snapshot, catalogue: Catalogue, events: tuple[Interactions, Interactions]) -> Told:
    train, valid = events
    texts = planted.make_views(snapshot)
    views = Views({"v": texts.by_view["v"], "c": alike(texts)})
    asked: list[Variant] = []
    models: list[Trained] = []

    def train_one(variant: Variant) -> Embeddings:
        asked.append(variant)
        check = validation(catalogue, train, valid)
        models.append(fit(snapshot, variant.views, catalogue, train, variant.config, validate=check))
        return models[-1].embed(train)

    return ablate(CONFIG, views, train_one, catalogue, train, valid), asked, models


def value(found: Ablation, name: str, metric: str = "recall@20", part: str = "all") -> float:
    [row] = [row for row in found.rows if row.name == name]
    return row.values[part][metric][0]


def test_every_view_and_fusion_has_a_row(told: Told) -> None:
    found, asked, models = told
    assert [row.name for row in found.rows] == [
        "graph alone (h)",
        "text alone (v)",
        "image alone (c)",
        "without graph (mean of v and c)",
        "all views, attention",
        "all views, concat",
        "all views, mean",
        "without text",
        "without image",
    ]
    assert [row.name for row in found.rows if row.own] == ["all views, attention"]
    assert [variant.config.fusion for variant in asked] == ["attention", "concat", "mean", "attention", "attention"]
    assert [list(model.network.shape.views) for model in models] == [["v", "c"]] * 3 + [["c"], ["v"]]
    assert {variant.config.seed for variant in asked} == {4}


def test_the_row_of_each_trained_model_is_the_figure_that_stopped_its_training(told: Told) -> None:
    found, asked, models = told
    for variant, model in zip(asked, models, strict=True):
        assert value(found, variant.name, "ndcg@10") == max(model.history.metrics), variant.name


def test_a_view_that_tells_the_tastes_is_worth_more_than_one_that_tells_nothing(
    told: Told, catalogue: Catalogue, events: tuple[Interactions, Interactions]
) -> None:
    found, (train, valid) = told[0], events
    drawn = np.random.default_rng(0)
    chances = []
    for _ in range(20):
        scores = drawn.random((catalogue.n_users, catalogue.n_items))
        measured = measure(exhaustive(lambda rows, s=scores: s[rows], catalogue, train), catalogue, valid)  # type: ignore[misc]
        chances.append(mean(measured))
    chance = np.mean(chances)
    assert value(found, "image alone (c)", "ndcg@10") < chance + 0.1
    for name in ("graph alone (h)", "text alone (v)", "without graph (mean of v and c)", "without image"):
        assert value(found, name, "ndcg@10") > chance + 0.2, name


def test_cold_items_are_ranked_among_themselves(
    told: Told, catalogue: Catalogue, events: tuple[Interactions, Interactions]
) -> None:
    found, _, models = told
    train, valid = events
    assert found.users["all"] == len(np.unique(valid.user))
    cold = valid.take(valid.item < 4)
    assert 0 < found.users["cold"] == len(np.unique(cold.user)) < found.users["all"]
    # By hand: recall at 10 of 4 items is 1; NDCG takes the places of the user's own among them.
    vectors = models[0].embed(train)
    scores, per_user = vectors.scores()[:, :4], []
    for user in np.unique(cold.user):
        places = 1 + np.argsort(np.argsort(-scores[user]))[cold.item[cold.user == user]]
        best = (1 / np.log2(1 + np.arange(1, len(places) + 1))).sum()
        per_user.append((1 / np.log2(1 + places)).sum() / best)
    assert value(found, "all views, attention", "recall@20", "cold") == 1
    assert value(found, "all views, attention", "ndcg@10", "cold") == pytest.approx(np.mean(per_user))


def test_without_cold_items_there_is_no_such_column(
    snapshot: Snapshot, catalogue: Catalogue, events: tuple[Interactions, Interactions]
) -> None:
    train, valid = events
    model = fit(snapshot, Views(), catalogue, train, CONFIG, epochs=1)
    found = ablate(CONFIG, Views(), lambda _: model.embed(train), catalogue, train, valid.take(valid.item >= 4))
    assert list(found.users) == ["all"]
    assert header(found) == ["vectors", "NDCG@10", "NDCG@20", "Recall@20"]
    # With the graph alone there is nothing to leave out.
    assert [row.name for row in found.rows] == ["graph alone (h)", *(f"all views, {f}" for f in FUSIONS)]


FUSIONS = ("attention", "concat", "mean")


def test_of_several_seeds_the_table_has_mean_and_interval(
    snapshot: Snapshot, catalogue: Catalogue, events: tuple[Interactions, Interactions], tmp_path: Path
) -> None:
    train, valid = events
    model = fit(snapshot, Views(), catalogue, train, CONFIG, epochs=1)
    seen = []

    def train_one(variant: Variant) -> Embeddings:
        seen.append((variant.config.fusion, variant.config.seed))
        return model.embed(train)

    found = ablate(CONFIG, Views(), train_one, catalogue, train, valid, seeds=3)
    assert seen == [(fusion, seed) for seed in (4, 5, 6) for fusion in FUSIONS]
    [row] = [row for row in found.rows if row.own]
    assert len(row.values["all"]["ndcg@10"]) == 3
    # 1, 2, 3: mean 2, deviation 1; of 3 values t is 4.303, and 4.303 / sqrt(3) = 2.4841.
    row = replace(row, values={part: {m: [1.0, 2.0, 3.0] for m in of} for part, of in row.values.items()})
    [line] = cells(replace(found, rows=[row]))
    assert line[:2] == ["all views, attention (the project's)", "2.0000 ± 2.4841"]
    assert Ablation.from_dict(found.to_dict()) == found


def test_markdown_has_every_row(told: Told) -> None:
    lines = markdown(told[0]).splitlines()
    assert lines[0].startswith("| vectors | NDCG@10 | NDCG@20 | Recall@20 | cold: NDCG@10 |")
    assert len(lines) == 2 + 9 + 2
    assert len({line.count("|") for line in lines[:11]}) == 1


def test_variants_start_from_the_projects_own_settings() -> None:
    own = EmbedConfig(fusion="mean")
    assert [variant.config.fusion for variant in variants(own, Views())] == ["mean", "attention", "concat"]
    assert variants(own, Views())[0].config == own
