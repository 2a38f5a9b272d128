"""Ranks one domain's items from what the same users did there and in another domain.

Scorers of the target domain alone, of both domains as one catalogue, and of the source domain as the only witness of
who is alike are fused by the ranker, which learns from target interactions that were hidden from all of them.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field
from scipy import sparse

from kg.section import Section
from recommend import fitting
from recommend.baselines import Popularity, Scorer
from recommend.config import Ranker as Settings
from recommend.features import Lists
from recommend.filters import pairs
from recommend.ials import IALS
from recommend.linear import WideAutoencoder
from recommend.neighbours import UserKNN
from recommend.ranker import Vectors, logits
from recommend.stacking import concat, folds
from recommend.topk import Scores, blocks
from recommend.walks import RandomWalk

CELLS = 4_000_000
"""Scores of one scorer held at once."""


class CrossDomain(Section):
    """How the ranker is taught."""

    folds: int = Field(2, ge=1)
    """How many times target interactions are hidden and the scorers fitted on the rest."""
    hidden: float = Field(0.1, gt=0, lt=1)
    """The share of the target's interactions that is hidden each time; none is hidden twice."""
    cold: float = Field(0.05, ge=0, lt=1)
    """The share of users all of whose target interactions are hidden, so that the ranker learns what to trust for users
    with a history in the source alone."""
    negatives: int = Field(300, ge=1)
    """Items drawn uniformly that a list has beside the hidden ones."""
    widths: tuple[int, ...] = Field((16, 32), min_length=1)
    """Dimensions of the factor models; one of each for the target, and for both domains."""
    ranker: Settings = Settings(
        hidden=32, dropout=0.2, epochs=30, patience=4, lr=3e-3, weight_decay=1e-3, negatives=300
    )
    """The network that reads the scorers."""


@dataclass(frozen=True)
class _Leading:
    """A scorer of two catalogues side by side whose scores of the first alone are asked for."""

    scorer: Scorer
    items: int

    def __call__(self, users: np.ndarray) -> np.ndarray:
        return self.scorer.scores(users)[:, : self.items]


def scorers(target: sparse.csr_matrix, source: sparse.csr_matrix, config: CrossDomain, seed: int) -> dict[str, Scores]:
    """Fitted scorers of the target's items by name; those of the source are left out where it has no interaction."""
    found: dict[str, Scores] = {"popular": Popularity().fit(target).scores}
    found |= _of(target, target.shape[1], "", config, seed)
    if source.nnz:
        both = sparse.csr_matrix(sparse.hstack([target, source]), dtype=np.float32)
        found |= _of(both, target.shape[1], "_both", config, seed)
        found["users_source"] = UserKNN(discount=0.0).fit(target, source).scores
    return found


def _of(matrix: sparse.csr_matrix, items: int, suffix: str, config: CrossDomain, seed: int) -> dict[str, Scores]:
    made: dict[str, Scorer] = {f"factors{width}": IALS(width, 0.1, 0.1, 0.5, seed=seed) for width in config.widths}
    made |= {"linear": WideAutoencoder(), "users": UserKNN(discount=0.0), "walk": RandomWalk()}
    return {name + suffix: _Leading(scorer.fit(matrix), items) for name, scorer in made.items()}


class CrossDomainRanker:
    """The fusion of `scorers`: the better a user's item, the larger its logit among items of the target."""

    def __init__(self, config: CrossDomain | None = None, seed: int = 0) -> None:
        self.config, self.seed = config or CrossDomain(), seed

    def fit(self, target: sparse.csr_matrix, source: sparse.csr_matrix) -> Self:
        """Learn from CSR[users, items] of ones of either domain, whose rows are the same users."""
        hiding = folds(target, self.config.folds, self.config.hidden, self.seed)
        taught = [self._labelled(*self._with_cold(*fold, number), source) for number, fold in enumerate(hiding)]
        lists, labels = concat([part[0] for part in taught]), np.concatenate([part[1] for part in taught])
        self.vectors = Vectors(torch.empty(target.shape[0], 0), torch.empty(target.shape[1], 0))
        self.inputs = _Inputs(target, source, scorers(target, source, self.config, self.seed))
        self.ranker = fitting.fit(lists, labels, self.vectors, self.inputs.names, self.config.ranker, self.seed)
        return self

    def logits(self, users: Int[np.ndarray, " b"], items: Int[np.ndarray, "b m"]) -> Float[np.ndarray, "b m"]:
        """The ranker's logits of some items of each user, comparable within a user; no item is left out."""
        found = []
        for rows in blocks(np.arange(len(users)), self.inputs.target.shape[1], CELLS):
            lists = self.inputs.lists(users[rows], items[rows])
            with torch.inference_mode():
                found.append(logits(self.ranker.network.eval(), lists, self.vectors).numpy())
        return np.concatenate(found)

    def _with_cold(
        self, rest: sparse.csr_matrix, hidden: sparse.csr_matrix, fold: int
    ) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
        """The same parts, all of some users' interactions moved to the hidden one."""
        cold = np.random.default_rng([self.seed, fold]).random(rest.shape[0]) < self.config.cold
        moved = sparse.diags(cold.astype(np.float32)) @ rest
        left, found = sparse.csr_matrix(rest - moved), sparse.csr_matrix(hidden + moved)
        left.eliminate_zeros()
        return left, found

    def _labelled(
        self, rest: sparse.csr_matrix, hidden: sparse.csr_matrix, source: sparse.csr_matrix
    ) -> tuple[Lists, np.ndarray]:
        """A list for each hidden item, first in it, with scorers fitted on the rest."""
        users, column = pairs(hidden, np.arange(hidden.shape[0]))
        inputs = _Inputs(rest, source, scorers(rest, source, self.config, self.seed))
        drawn = np.random.default_rng(self.seed).integers(0, rest.shape[1], (len(users), self.config.negatives))
        items = np.concatenate([column[:, None], drawn], axis=1)
        rows = blocks(np.arange(len(users)), rest.shape[1], CELLS)
        labels = np.zeros(items.shape, bool)
        labels[:, 0] = True
        return concat([inputs.lists(users[at], items[at]) for at in rows]), labels


@dataclass(frozen=True)
class _Inputs:
    """Scorers and facts of one pair of matrices, and the lists made from them."""

    target: sparse.csr_matrix
    source: sparse.csr_matrix
    scorers: dict[str, Scores]

    @property
    def names(self) -> tuple[str, ...]:
        """The signals in the ranker's order."""
        return tuple(self.scorers)

    def lists(self, users: Int[np.ndarray, " b"], items: Int[np.ndarray, "b m"]) -> Lists:
        """The items' signals, standardised over all of a user's items, and what is known of users and items."""
        signals = [_standardised(scores(users), items) for scores in self.scorers.values()]
        sizes = [np.diff(matrix.indptr)[users] for matrix in (self.target, self.source)]
        counts = np.bincount(self.target.indices, minlength=self.target.shape[1])[items]
        facts = [*(size[:, None] for size in sizes), counts]
        context = np.stack([np.broadcast_to(np.log1p(fact) / 5, items.shape) for fact in facts], 2)
        return Lists(users, items, np.stack(signals, 2), context.astype(np.float32), sizes[0] == 0)


def _standardised(scores: Float[np.ndarray, "b n"], items: Int[np.ndarray, "b m"]) -> Float[np.ndarray, "b m"]:
    """Mean 0 and deviation 1 over all items, so that no signal depends on what else is in the list."""
    mean, deviation = scores.mean(1, keepdims=True), scores.std(1, keepdims=True)
    return ((np.take_along_axis(scores, items, 1) - mean) / np.maximum(deviation, 1e-9)).astype(np.float32)
