"""The whole evaluation on planted tastes, and what it says of them."""

import json
from dataclasses import replace

import numpy as np
import pytest

from kg.errors import QualityError
from kg.interactions import Catalogue, Interactions
from kg.split import Cut
from recommend.baselines import Popularity
from recommend.evaluate import interval
from recommend.measure import exhaustive, mean, measure, validation
from recommend.model import Recommender
from recommend.report import BASELINES, OURS, Report, markdown, require, rows, table
from tests.recommend import planted


def test_ours_beats_popularity_and_item_knn_where_tastes_are_planted(report: Report) -> None:
    require(report, ["popularity", "item_knn"])
    for baseline in ("popularity", "item_knn"):
        assert report.slices["warm"]["overall"]["compared"][baseline]["low"] > 0


def test_cold_users_get_at_least_what_popularity_gives(report: Report) -> None:
    cold = report.slices["cold"]["overall"]
    assert cold["users"] == len(planted.COLD)
    assert cold["models"][OURS]["ndcg@10"] >= 0.8 * cold["models"]["popularity"]["ndcg@10"]


def test_require_fails_with_figures(report: Report) -> None:
    worse = Report.from_dict(json.loads(json.dumps(report.to_dict())))
    worse.slices["all"]["overall"]["models"][OURS]["ndcg@10"] = 0.0
    with pytest.raises(QualityError, match=r"ours 0\.0000 does not beat item_knn 0\.\d+"):
        require(worse, ["item_knn"])
    worse.slices["all"]["overall"]["models"]["item_knn"]["ndcg@10"] = 0.0
    with pytest.raises(QualityError):  # a tie is no win
        require(worse, ["item_knn"])
    with pytest.raises(ValueError, match="popularty"):
        require(report, ["popularty"])


def test_report_is_json_and_complete(report: Report) -> None:
    assert Report.from_dict(json.loads(json.dumps(report.to_dict()))) == report
    assert set(report.slices) == {"all", "warm", "cold"}
    for domains in report.slices.values():
        assert set(domains) == {"books", "films", "overall"}
        for figures in domains.values():
            assert set(figures["models"]) == {OURS, *BASELINES} and set(figures["compared"]) == set(BASELINES)
            for model, metrics in figures["models"].items():
                assert len(metrics) == 8 and all(0 <= value <= 1 for value in metrics.values())
                if model != OURS:
                    c = figures["compared"][model]
                    assert c["low"] <= c["difference"] <= c["high"]
                    expected = figures["models"][OURS]["ndcg@10"] - metrics["ndcg@10"]
                    assert c["difference"] == pytest.approx(expected)


def test_tables_have_every_row(report: Report) -> None:
    assert len(rows(report)) == 3 * 3 * 5 == table(report).row_count
    lines = markdown(report).splitlines()
    assert len(lines) == 47 and len({line.count("|") for line in lines}) == 1


def test_interval_by_theory_and_seed() -> None:
    # The mean of n values has deviation s / sqrt(n): 95% lie within 1.96 of it.
    values = np.random.default_rng(0).normal(0.1, 1.0, 2500)
    low, high = interval(values, 4000, seed=1)
    assert (low, high) == interval(values, 4000, seed=1) != interval(values, 4000, seed=2)
    half = 1.96 * values.std() / 50
    assert (low, high) == (
        pytest.approx(values.mean() - half, abs=0.003),
        pytest.approx(values.mean() + half, abs=0.003),
    )


def test_measured_by_hand(catalogue: Catalogue) -> None:
    """One user whose only held-out film is second by popularity, and a book that is first."""
    films = catalogue.offsets["Film"]

    def events(pairs: list[tuple[int, int]]) -> Interactions:
        n = len(pairs)
        user, item = (np.array(column) for column in zip(*pairs, strict=True))
        return Interactions(
            user, item, np.ones(n, np.float32), np.arange(n), np.ones(n, bool), catalogue.n_users, catalogue.n_items
        )

    known = events([(1, films), (2, films), (3, films), (1, films + 1), (2, films + 1), (1, 4), (2, 4)])
    held = events([(0, films + 1), (0, 4)])
    found = measure(exhaustive(Popularity().fit(known.matrix()).scores, catalogue, known), catalogue, held)
    # film: DCG 1/log2(3) over 1; book: 1; overall the mean of both
    assert mean(found, "ndcg@10", "films") == pytest.approx(1 / np.log2(3))
    assert mean(found, "ndcg@10", "books") == 1
    assert mean(found) == pytest.approx((1 + 1 / np.log2(3)) / 2)
    assert found.covered("films", 10, np.ones(catalogue.n_users, bool)) == 10 / planted.FILMS


def test_validation_prefers_better_vectors(catalogue: Catalogue, cut: Cut) -> None:
    metric = validation(catalogue, cut.train, cut.valid)
    good, rng = planted.model(), np.random.default_rng(0)
    noise = rng.normal(size=good.truth.shape)
    bad = replace(good, truth=(noise / np.linalg.norm(noise, axis=1, keepdims=True)).astype(np.float32))
    assert metric(good.embed(cut.train)) > metric(bad.embed(cut.train))


def test_what_was_measured_knew_train_and_valid_alone(recommender: Recommender, cut: Cut) -> None:
    known = recommender.signals.interactions
    assert len(known) == len(cut.train) + len(cut.valid)
    assert not recommender.signals.matrix.multiply(cut.test.matrix()).nnz
