"""Metrics against derivations by hand and against ir-measures."""

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_measures import RR, R, nDCG
from scipy import sparse

from recommend.metrics import by_user, coverage, hits, mrr, ndcg, recall

# Two users, five ranks. User 0 has 3 relevant items, hits at ranks 2 and 4. User 1 has 7, hits at 1, 2, 3, 4, 5.
Y = np.array([[0, 1, 0, 1, 0], [1, 1, 1, 1, 1]], bool)
N = np.array([3, 7])


def test_recall_by_hand() -> None:
    # 2 of 3; 5 of 7: the cutoff does not shorten the denominator.
    assert recall(Y, N).tolist() == pytest.approx([2 / 3, 5 / 7])


def test_ndcg_by_hand() -> None:
    # DCG = 1/log2(3) + 1/log2(5) = 0.6309298 + 0.4306766 = 1.0616063
    # ideal: hits at 1, 2, 3 = 1 + 0.6309298 + 0.5 = 2.1309298; NDCG = 0.4981892
    # user 1: all five ranks are hits and min(5, 7) = 5 can be, so 1 although two items are missing.
    assert ndcg(Y, N).tolist() == pytest.approx([0.4981892, 1.0], abs=1e-6)


def test_mrr_by_hand() -> None:
    # first hits at ranks 2 and 1; a user without hits has 0
    assert mrr(np.vstack([Y, np.zeros(5, bool)])).tolist() == [1 / 2, 1.0, 0.0]


def test_coverage_by_hand() -> None:
    # items 3, 5, 7 of 12; padding is no item
    assert coverage(np.array([[3, 5, -1], [5, 7, -1]]), 12) == 3 / 12


def test_users_without_relevant_items_have_zero() -> None:
    none, n = np.zeros((1, 5), bool), np.array([0])
    assert recall(none, n) == ndcg(none, n) == mrr(none) == 0


def test_padding_is_never_a_hit() -> None:
    relevant = sparse.csr_matrix(np.ones((1, 3), np.float32))
    assert hits(np.array([[2, -1, -1]]), np.array([0]), relevant).tolist() == [[True, False, False]]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), users=st.integers(1, 6), items=st.integers(20, 60))
def test_agrees_with_ir_measures(seed: int, users: int, items: int) -> None:
    rng = np.random.default_rng(seed)
    relevant = sparse.csr_matrix((rng.random((users, items)) < rng.uniform(0.02, 0.6)).astype(np.float32))
    judged = np.flatnonzero(np.diff(relevant.indptr))
    shown = np.stack([rng.permutation(items)[:20] for _ in judged]) if len(judged) else np.empty((0, 20), np.int64)
    ours = by_user(shown, judged, relevant)
    qrels = [
        ir_measures.Qrel(str(u), str(i), 1)
        for u in judged
        for i in relevant.indices[slice(*relevant.indptr[u : u + 2])]
    ]
    run = [
        ir_measures.ScoredDoc(str(u), str(i), float(-rank))
        for u, row in zip(judged, shown, strict=True)
        for rank, i in enumerate(row)
    ]
    theirs = {f"{m.measure}:{m.query_id}": m.value for m in ir_measures.iter_calc(MEASURES, qrels, run)} if run else {}
    for name, measure in NAMED.items():
        for u, value in zip(judged, ours[name], strict=True):
            assert value == pytest.approx(theirs[f"{measure}:{u}"], abs=1e-6), name


NAMED = {f"{name}@{k}": measure @ k for k in (10, 20) for name, measure in (("recall", R), ("ndcg", nDCG), ("mrr", RR))}
MEASURES = list(NAMED.values())
