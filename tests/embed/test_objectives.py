import math

import pytest
import torch

from embed.objectives import bpr, sample_negatives, sampled_softmax

USERS = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
ITEMS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])


def test_softmax_by_hand() -> None:
    # User 0, item 0 scores 1; the pool {1} scores 0: -log(e^1 / (e^1 + e^0)).
    loss = sampled_softmax(USERS, ITEMS, torch.tensor([[0], [0]]), torch.tensor([1]), 1.0)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-1)))
    # The item itself in the pool counts once.
    assert sampled_softmax(USERS, ITEMS, torch.tensor([[0], [0]]), torch.tensor([0, 1]), 1.0).item() == pytest.approx(
        loss.item()
    )


def test_softmax_equals_cross_entropy_edge_by_edge() -> None:
    torch.manual_seed(0)
    users, items = torch.randn(5, 4), torch.randn(9, 4)
    edges, pool = torch.tensor([[0, 0, 3, 4], [1, 2, 2, 8]]), torch.tensor([2, 5, 6])
    expected = []
    for user, item in edges.T.tolist():
        candidates = [item, *(n for n in pool.tolist() if n != item)]
        logits = (items[candidates] @ users[user] / 0.3)[None]
        expected.append(torch.nn.functional.cross_entropy(logits, torch.tensor([0])).item())
    assert sampled_softmax(users, items, edges, pool, 0.3).item() == pytest.approx(sum(expected) / 4, rel=1e-5)


def test_bpr_by_hand() -> None:
    # Scores 1 against 0 at temperature 0.5: -log sigmoid(2).
    loss = bpr(USERS, ITEMS, torch.tensor([[0], [0]]), torch.tensor([1]), 0.5)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-2)))


@pytest.mark.parametrize(("start", "stop", "count"), [(3, 10, 100), (3, 10, 4), (0, 1000, 20)])
def test_negatives_are_distinct_and_of_their_span(start: int, stop: int, count: int) -> None:
    drawn = sample_negatives(torch.arange(start, stop), count, torch.Generator().manual_seed(0)).tolist()
    assert len(set(drawn)) == len(drawn) <= min(count, stop - start)
    assert set(drawn) <= set(range(start, stop))
    assert len(drawn) >= min(count, stop - start) - 3
