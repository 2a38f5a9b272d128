"""Chooses the baselines' hyperparameters on validation; ours reads the same fitted models."""

import logging

from kg.interactions import Catalogue, Interactions
from recommend.baselines import EASE, ItemKNN, Scorer
from recommend.config import RecommendConfig
from recommend.measure import exhaustive, mean, measure
from recommend.signals import Chosen

log = logging.getLogger(__name__)


def choose(catalogue: Catalogue, train: Interactions, valid: Interactions, config: RecommendConfig) -> Chosen:
    """The grid's values with the highest NDCG@10 on `valid` when fitted on `train`; the first of equals."""
    matrix = train.matrix()

    def quality(scorer: Scorer) -> float:
        return mean(measure(exhaustive(scorer.fit(matrix).scores, catalogue, train), catalogue, valid))

    ease = {value: quality(EASE(value, config.max_item_model)) for value in config.grid.ease}
    knn = {value: quality(ItemKNN(*value)) for value in config.grid.item_knn}
    chosen = Chosen(max(ease, key=ease.__getitem__), max(knn, key=knn.__getitem__))
    log.info("chosen on validation: EASE %s, item-kNN %s", chosen.ease, chosen.item_knn)
    return chosen
