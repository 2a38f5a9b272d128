"""Several scorers fused by the ranker, which learns from items hidden from them: needs nothing but interactions."""

from collections.abc import Callable, Iterator, Mapping
from typing import Self

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from scipy import sparse

from kg.section import Section
from recommend import fitting
from recommend.baselines import Scorer
from recommend.config import Ranker as Settings
from recommend.features import Lists, standardise
from recommend.filters import exclude
from recommend.metrics import hits
from recommend.ranker import Vectors
from recommend.topk import blocks, top_k

CELLS = 2_000_000
"""Scores of one scorer held at once."""
DISCOUNT = 60.0
"""The k of reciprocal rank fusion."""


class Stacking(Section):
    """How scorers are fused."""

    proposed: int = Field(100, ge=1)
    """Items that each scorer proposes to a user."""
    candidates: int = Field(60, ge=1)
    """Of those, how many the ranker sees: the best by reciprocal rank fusion. Of MovieLens-1M a prototype reached a
    validation NDCG@10 of .1967 with 60 and .1952 with 170: the loss then is about the places that count."""
    folds: int = Field(2, ge=1)
    """How many times items are hidden and the scorers fitted on the rest."""
    hidden: float = Field(0.2, gt=0, lt=1)
    """The share of the interactions that is hidden each time; no interaction is hidden twice."""
    max_users: int = Field(12_000, ge=1)
    """At most so many lists a fold teach the ranker, drawn by the seed."""
    ranker: Settings = Settings(dropout=0.1, epochs=16, patience=4, weight_decay=1e-3)
    """The network that reads the scorers."""


class Stack:
    r"""Stacked generalisation (Wolpert, 1992) of scorers by `recommend.ranker`.

    In each fold a part of all users' items is hidden, the scorers are fitted on the rest, and the ranker learns to put
    the hidden ones first among what the scorers propose. Then it reads the same scorers, fitted on everything.

    On the validation part of a published split of MovieLens-1M (NDCG@10/Recall@10; a prototype with two hidden layers,
    one fold, two linear autoencoders, user- and item-kNN, an autoencoder; the best of some 45 trials): best scorer
    .1949/.1717, unweighted sum .1896/.1627, linear weights .1951/.1720, the network .1972/.1753; a lambda loss at 10
    instead of the listwise one .1959/.1731.
    """

    def __init__(self, scorers: Mapping[str, Callable[[], Scorer]], config: Stacking, seed: int = 0) -> None:
        """New scorers by signal name: the first is where the ranker's weights start, and ``popular`` must be one."""
        self.make, self.config, self.seed = dict(scorers), config, seed

    def fit(self, matrix: sparse.csr_matrix) -> Self:
        """Fit the scorers in each fold, the ranker on all folds, and the scorers on everything."""
        taught = [self._labelled(*fold) for fold in folds(matrix, self.config.folds, self.config.hidden, self.seed)]
        lists, labels = concat([part[0] for part in taught]), np.concatenate([part[1] for part in taught])
        self.vectors = Vectors(torch.empty(matrix.shape[0], 0), torch.empty(matrix.shape[1], 0))
        self.ranker = fitting.fit(lists, labels, self.vectors, tuple(self.make), self.config.ranker, self.seed)
        self.signals = Signals(self.make, self.config).fit(matrix)
        return self

    def _labelled(self, rest: sparse.csr_matrix, hidden: sparse.csr_matrix) -> tuple[Lists, np.ndarray]:
        """Lists from scorers of `rest`, and which of their items are `hidden`."""
        users = np.random.default_rng(self.seed).permutation(np.flatnonzero(np.diff(hidden.indptr)))
        users = np.sort(users[: self.config.max_users])
        signals = Signals(self.make, self.config).fit(rest)
        lists = concat([signals.lists(block) for block in blocks(users, rest.shape[1], CELLS)])
        return lists, hits(lists.items, users, hidden)

    def scores(self, users: Int[np.ndarray, " b"]) -> Float[np.ndarray, "b items"]:
        """The ranker's probabilities; 0 for items that are no candidates."""
        found = np.zeros((len(users), self.signals.matrix.shape[1] + 1), np.float32)
        for rows in blocks(np.arange(len(users)), found.shape[1], CELLS):
            lists = self.signals.lists(users[rows])
            found[rows[:, None], lists.items] = self.ranker.probabilities(lists, self.vectors)
        return found[:, :-1]


class Signals:
    """Scorers of one matrix and the candidate lists made from them."""

    def __init__(self, make: Mapping[str, Callable[[], Scorer]], config: Stacking) -> None:
        self.make, self.config = make, config

    def fit(self, matrix: sparse.csr_matrix) -> Self:
        """Fit new scorers."""
        self.matrix = matrix
        self.scorers = {name: make().fit(matrix) for name, make in self.make.items()}
        self.history = np.log1p(np.diff(matrix.indptr))
        self.popularity = np.log1p(np.bincount(matrix.indices, minlength=matrix.shape[1]))
        self.taste = np.asarray(matrix @ self.popularity).ravel() / np.maximum(np.diff(matrix.indptr), 1)
        return self

    def lists(self, users: Int[np.ndarray, " b"]) -> Lists:
        """Candidates that the users do not have, with signals in the order of `make`."""
        everything = np.ones(self.matrix.shape[1], bool)
        found = [exclude(of.scores(users), users, everything, self.matrix) for of in self.scorers.values()]
        items = self._candidates(found)
        mask, places = items >= 0, np.maximum(items, 0)
        signals = [standardise(np.take_along_axis(scores, places, 1), mask) for scores in found]
        facts = [self.history[users, None], self.taste[users, None], self.popularity[places]]
        context = np.stack([np.broadcast_to(fact / 5, items.shape) for fact in facts], 2).astype(np.float32)
        return Lists(users, items, np.stack(signals, 2), context, np.diff(self.matrix.indptr)[users] == 0)

    def _candidates(self, found: list[Float[np.ndarray, "b n"]]) -> Int[np.ndarray, "b m"]:
        """Reciprocal rank fusion (Cormack et al., 2009) of what each scorer proposes; -1 where there are fewer."""
        fused = np.full(found[0].shape, -np.inf, np.float32)
        worth = 1 / (DISCOUNT + np.arange(1, self.config.proposed + 1))
        for scores in found:
            items, _ = top_k(scores, self.config.proposed)
            row, rank = np.nonzero(items >= 0)
            column = items[row, rank]
            fused[row, column] = np.maximum(fused[row, column], 0) + worth[rank]
        return top_k(fused, self.config.candidates)[0]


def folds(
    matrix: sparse.csr_matrix, count: int, share: float, seed: int
) -> Iterator[tuple[sparse.csr_matrix, sparse.csr_matrix]]:
    """What is left and what is hidden, `count` times; each fold hides another `share` of the interactions."""
    pairs = matrix.tocoo()
    place = np.random.default_rng(seed).permutation(pairs.nnz) / max(1, pairs.nnz)
    for fold in range(count):
        hidden = (place >= fold * share) & (place < (fold + 1) * share)
        yield _part(pairs, ~hidden), _part(pairs, hidden)


def _part(pairs: sparse.coo_matrix, kept: Bool[np.ndarray, " n"]) -> sparse.csr_matrix:
    return sparse.csr_matrix((pairs.data[kept], (pairs.row[kept], pairs.col[kept])), pairs.shape)


def concat(parts: list[Lists]) -> Lists:
    """Lists of one width as one."""
    names = Lists.__dataclass_fields__
    return Lists(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
