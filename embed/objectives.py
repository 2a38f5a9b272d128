"""Link prediction losses: a user's item against other items of the item's own domain."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from embed.config import EmbedConfig
from embed.model import Fused

VIEW_POOL = 4
"""A single view is told from so many times fewer items than `z`: with as many, its losses were half of a step."""


def link_loss(
    users: Fused, items: Fused, edges: Int[Tensor, "2 e"], pool: Int[Tensor, " p"], config: EmbedConfig
) -> Float[Tensor, ""]:
    """Link prediction as `config.objectives` weighs it: on `z`, and by each view alone where both ends have it.

    `edges` holds rows of users and of items, `pool` rows of the items that they are told from.
    """
    total = _weighed(users.z, items.z, edges, pool, config)
    if not config.objectives.views or users.views.shape[1] == 1:
        return total
    for view in range(users.views.shape[1]):
        mine = edges[:, users.mask[edges[0], view] & items.mask[edges[1], view]]
        others = pool[items.mask[pool, view]][: max(1, len(pool) // VIEW_POOL)]
        if mine.shape[1] and len(others):
            found = _weighed(users.views[:, view], items.views[:, view], mine, others, config)
            total = total + config.objectives.views * found * mine.shape[1] / edges.shape[1]
    return total


def _weighed(users: Tensor, items: Tensor, edges: Tensor, pool: Tensor, config: EmbedConfig) -> Tensor:
    weights = config.objectives
    parts = []
    if weights.softmax:
        parts.append(weights.softmax * sampled_softmax(users, items, edges, pool, config.temperature))
    if weights.bpr:
        parts.append(weights.bpr * bpr(users, items, edges, pool, config.temperature))
    return torch.stack(parts).sum() if parts else users.sum() * 0


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


def sample_negatives(rows: Int[Tensor, " n"], count: int, generator: torch.Generator) -> Int[Tensor, " pool"]:
    """`count` distinct ones of `rows` in random order, or all of them where there are fewer."""
    if count * 4 < len(rows):
        # Drawn with replacement and made distinct: no permutation of a million items at every step.
        drawn = torch.randint(len(rows), (count,), generator=generator).unique()
        return rows[drawn[torch.randperm(len(drawn), generator=generator)]]
    return rows[torch.randperm(len(rows), generator=generator)[:count]]
