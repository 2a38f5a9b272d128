"""What is slow to make is made once: an evaluated recommender on the planted tastes."""

import pytest

from kg.interactions import Catalogue
from kg.split import Cut
from recommend.config import Ranker, RecommendConfig
from recommend.evaluate import evaluate_cut
from recommend.model import Recommender
from recommend.report import Report
from tests.recommend import planted

CONFIG = RecommendConfig(ranker=Ranker(epochs=12), resamples=1000)


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    return planted.catalogue()


@pytest.fixture(scope="session")
def cut() -> Cut:
    return planted.cut()


@pytest.fixture(scope="session")
def evaluated(catalogue: Catalogue, cut: Cut) -> tuple[Report, Recommender]:
    return evaluate_cut(cut, catalogue, lambda train, validate: planted.model(), CONFIG, seed=5)


@pytest.fixture(scope="session")
def report(evaluated: tuple[Report, Recommender]) -> Report:
    return evaluated[0]


@pytest.fixture(scope="session")
def recommender(evaluated: tuple[Report, Recommender]) -> Recommender:
    return evaluated[1]
