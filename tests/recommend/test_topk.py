"""Exact top-k and what is excluded from it."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from recommend.filters import exclude, history
from recommend.topk import blocks, top_items, top_k


def by_sorting(row: np.ndarray, k: int) -> list[int]:
    """The definition: sort all by score descending, then by index, and drop what is excluded."""
    order = sorted((i for i in range(len(row)) if row[i] > -np.inf), key=lambda i: (-row[i], i))
    return (order + [-1] * k)[:k]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_equals_sorting_with_ties_and_exclusions(data: st.DataObject) -> None:
    rows, width, k = data.draw(st.tuples(st.integers(1, 5), st.integers(1, 12), st.integers(1, 15)))
    value = st.sampled_from([-np.inf, -1.0, 0.0, 0.0, 0.5, 2.0, np.nan])
    scores = np.array(
        data.draw(st.lists(st.lists(value, min_size=width, max_size=width), min_size=rows, max_size=rows))
    )
    items, values = top_k(scores.astype(np.float32), k)
    for row, found, of in zip(np.where(np.isnan(scores), -np.inf, scores), items, values, strict=True):
        assert found.tolist() == by_sorting(row, k)
        assert of.tolist() == [row[i] if i >= 0 else -np.inf for i in found]


def test_input_is_left_as_it_was() -> None:
    scores = np.array([[3.0, np.nan, 1.0]], np.float32)
    exclude(scores, np.array([0]), np.array([True, True, False]), None)
    top_k(scores, 2)
    assert np.isnan(scores[0, 1]) and scores[0, 2] == 1


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_blocks_change_nothing_and_seen_never_comes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, (9, 7)).astype(np.float32)
    seen = sparse.csr_matrix((rng.random((9, 7)) < 0.4).astype(np.float32))
    mask = rng.random(7) < 0.7
    users = rng.permutation(9)[:6]
    found = top_items(lambda rows: scores[rows], users, 4, mask, seen)
    for user, items in zip(users, found, strict=True):
        row = np.where(mask, scores[user], -np.inf)
        row[history(seen, int(user))] = -np.inf
        assert items.tolist() == by_sorting(row, 4)


@given(st.integers(0, 30), st.integers(1, 10), st.integers(1, 40))
def test_blocks_cover_users_in_order_within_their_bound(users: int, items: int, cells: int) -> None:
    found = list(blocks(np.arange(users), items, cells))
    assert np.concatenate([np.empty(0, np.int64), *found]).tolist() == list(range(users))
    assert all(len(block) * items <= max(cells, items) for block in found)
