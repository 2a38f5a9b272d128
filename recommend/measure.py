"""Measures recommenders on held-out positives, by user and target domain."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse

from kg.interactions import Catalogue, Interactions
from recommend.metrics import CUTOFFS, by_user, coverage
from recommend.topk import Scores, top_items

if TYPE_CHECKING:
    from embed.infer import Embeddings

DEPTH = max(CUTOFFS)


class Top(Protocol):
    """Whatever answers with the best items of some users in one domain."""

    def __call__(self, users: Int[np.ndarray, " u"], domain: str) -> Int[np.ndarray, "u k"]:
        """At least `DEPTH` items a user, best first, -1 where there are fewer."""
        ...


@dataclass(frozen=True)
class Measured:
    """Metrics of one recommender."""

    n_users: int
    users: dict[str, Int[np.ndarray, " u"]]
    """By domain: the users with a held-out positive in it."""
    values: dict[str, dict[str, Float[np.ndarray, " u"]]]
    """By domain and metric, one value for each of `users`."""
    items: dict[str, Int[np.ndarray, "u k"]]
    """By domain: what was recommended, for coverage."""
    sizes: dict[str, int]
    """By domain: how many items there are."""

    def of(self, domain: str | None, metric: str) -> tuple[Int[np.ndarray, " u"], Float[np.ndarray, " u"]]:
        """Users and a metric's values; without a domain, the mean over each user's domains."""
        if domain:
            return self.users[domain], self.values[domain][metric]
        total, count = np.zeros(self.n_users), np.zeros(self.n_users, np.int64)
        for name, users in self.users.items():
            total[users] += self.values[name][metric]
            count[users] += 1
        users = np.flatnonzero(count)
        return users, total[users] / count[users]

    def covered(self, domain: str | None, k: int, among: np.ndarray) -> float:
        """Coverage at k over the users in `among` (bool[n_users]); without a domain, over all items."""
        domains = [domain] if domain else list(self.items)
        shown = [self.items[name][among[self.users[name]], :k].ravel() for name in domains]
        return coverage(np.concatenate(shown)[:, None], sum(self.sizes[name] for name in domains))


def target_domains(catalogue: Catalogue) -> list[str]:
    """The domains of a catalogue in its order."""
    return list(dict.fromkeys(catalogue.domains[label] for label in catalogue.items))


def measure(top: Top, catalogue: Catalogue, labels: Interactions) -> Measured:
    """Metrics of `top` for every user and domain that `labels` holds a positive of."""
    relevant, users, values, items, sizes = labels.matrix(), {}, {}, {}, {}
    for domain in target_domains(catalogue):
        mask = catalogue.domain_mask(domain)
        wanted = sparse.csr_matrix(relevant @ sparse.diags(mask.astype(np.float32)))
        wanted.eliminate_zeros()
        users[domain] = np.flatnonzero(np.diff(wanted.indptr))
        items[domain] = top(users[domain], domain)
        values[domain] = by_user(items[domain], users[domain], wanted)
        sizes[domain] = int(mask.sum())
    return Measured(catalogue.n_users, users, values, items, sizes)


def exhaustive(
    scores: Scores, catalogue: Catalogue, known: Interactions, among: Bool[np.ndarray, " items"] | None = None
) -> Top:
    """Ranks all items of the domain (those in `among`) by `scores`, without those that `known` has an event with."""
    seen = known.seen()

    def top(users: Int[np.ndarray, " u"], domain: str) -> Int[np.ndarray, "u k"]:
        mask = catalogue.domain_mask(domain)
        return top_items(scores, users, DEPTH, mask if among is None else mask & among, seen)

    return top


def z_scores(embeddings: "Embeddings") -> Scores:
    """Cosine in z."""
    users, items = embeddings.users["z"], embeddings.items["z"]
    return lambda rows: users[rows] @ items.T


def mean(measured: Measured, metric: str = "ndcg@10", domain: str | None = None) -> float:
    """The mean over users; 0 when there are none."""
    values = measured.of(domain, metric)[1]
    return float(values.mean()) if len(values) else 0.0


def validation(catalogue: Catalogue, train: Interactions, valid: Interactions) -> Callable[["Embeddings"], float]:
    """What a trainer of embeddings stops by: NDCG@10 of z alone on `valid`, seen items left out."""
    return lambda embeddings: mean(measure(exhaustive(z_scores(embeddings), catalogue, train), catalogue, valid))
