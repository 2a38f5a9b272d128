"""Link prediction losses: a user's item against other items of the item's own domain."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def sampled_softmax(
    users: Float[Tensor, "n d"],
    items: Float[Tensor, "m d"],
    edges: Int[Tensor, "2 e"],
    pool: Int[Tensor, " p"],
    temperature: float,
) -> Float[Tensor, ""]:
    r"""Cross entropy of the true item among itself and a pool drawn uniformly (Wu et al., 2024), over the edges.

    .. math:: -\log \frac{e^{u \cdot i / \tau}}{\sum_{n \in P \cup \{i\}} e^{u \cdot n / \tau}}

    `edges` holds rows of `users` and of `items`, `pool` distinct rows of `items`. All edges of a user share one sum
    over the pool.
    """
    who, position = torch.unique(edges[0], return_inverse=True)
    against = torch.logsumexp(users[who] @ items[pool].T / temperature, dim=1)[position]
    positive = (users[edges[0]] * items[edges[1]]).sum(1) / temperature
    inside = torch.isin(edges[1], pool)
    return (torch.where(inside, against, torch.logaddexp(positive, against)) - positive).mean()


def bpr(
    users: Float[Tensor, "n d"],
    items: Float[Tensor, "m d"],
    edges: Int[Tensor, "2 e"],
    pool: Int[Tensor, " p"],
    temperature: float,
) -> Float[Tensor, ""]:
    r"""Bayesian personalised ranking, Rendle et al. (2009): each edge against one item of the pool, in turn.

    .. math:: -\ln \sigma((u \cdot i - u \cdot n) / \tau)
    """
    negative = pool[torch.arange(edges.shape[1], device=pool.device) % len(pool)]
    difference = (users[edges[0]] * (items[edges[1]] - items[negative])).sum(1) / temperature
    return torch.nn.functional.softplus(-difference).mean()


def sample_negatives(start: int, stop: int, count: int, generator: torch.Generator) -> Int[Tensor, " pool"]:
    """`count` distinct indices out of start … stop-1 in random order, or all of them where there are fewer."""
    if count * 4 < stop - start:
        # Drawn with replacement and made distinct: no permutation of a million items at every step.
        drawn = torch.randint(start, stop, (count,), generator=generator).unique()
        return drawn[torch.randperm(len(drawn), generator=generator)]
    return torch.randperm(stop - start, generator=generator)[:count] + start
