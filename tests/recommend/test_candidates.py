"""Candidates are the union of what the sources propose, and the features compare within a list."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from recommend.candidates import SIGNALS, propose
from recommend.config import Sources
from recommend.features import build, standardise

OFF = dict.fromkeys(Sources.model_fields, 0)
EVERY = np.ones(5, bool)
USERS = np.array([0, 1])
SIGNAL = {
    "z": np.array([[0.9, 0.1, 0.5, 0.0, -0.5], [0, 0, 0, 0, 0]], np.float32),
    "popular": np.array([[1, 5, 2, 3, 4], [1, 5, 2, 3, 4]], np.float32),
}
VECTOR, POPULAR = (1 << list(SIGNALS).index(name) for name in ("vector", "popular"))


def test_union_names_its_sources_and_pads() -> None:
    sizes = Sources(**(OFF | {"vector": 2, "popular": 2}))
    found = propose(SIGNAL, USERS, EVERY, None, sizes)
    # user 0: nearest are items 0 and 2, most popular 1 and 4; user 1 has no vector: popular ones alone
    assert found.items.tolist() == [[0, 1, 2, 4], [1, 4, -1, -1]]
    assert found.sources.tolist() == [[VECTOR, POPULAR, VECTOR, POPULAR], [POPULAR, POPULAR, 0, 0]]


def test_both_sources_of_one_item() -> None:
    found = propose(SIGNAL, USERS, EVERY, None, Sources(**(OFF | {"vector": 3, "popular": 1})))
    assert dict(zip(found.items[0].tolist(), found.sources[0].tolist(), strict=True))[1] == VECTOR | POPULAR


def test_a_source_switched_off_proposes_nothing() -> None:
    found = propose(SIGNAL, USERS, EVERY, None, Sources(**(OFF | {"vector": 5})))
    assert found.items.tolist() == [[0, 1, 2], [-1, -1, -1]]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_neither_seen_nor_foreign_items(seed: int) -> None:
    rng = np.random.default_rng(seed)
    signals = {name: rng.normal(size=(4, 9)).astype(np.float32) for name in ("z", "walk", "ease", "popular", "text")}
    seen = sparse.csr_matrix((rng.random((6, 9)) < 0.4).astype(np.float32))
    mask, users = rng.random(9) < 0.6, rng.permutation(6)[:4]
    found = propose(signals, users, mask, seen, Sources(**dict.fromkeys(OFF, 3)))
    for user, items, sources in zip(users, found.items, found.sources, strict=True):
        kept = items[items >= 0]
        assert mask[kept].all() and not seen[[user]].toarray()[0, kept].any()
        assert (np.diff(kept) > 0).all() and (sources[items >= 0] > 0).all() and not sources[items < 0].any()


def test_standardise_by_hand() -> None:
    # 1, 3, 5: mean 3, deviation sqrt(8/3); the fourth place is padding
    values = np.array([[1.0, 3.0, 5.0, 99.0], [7.0, 7.0, 7.0, 7.0]])
    found = standardise(values, np.array([[True, True, True, False], [True, True, True, True]]))
    np.testing.assert_allclose(found, [[-np.sqrt(1.5), 0, np.sqrt(1.5), 0], [0, 0, 0, 0]], rtol=1e-6)


def test_features_name_sources_and_the_missing_history() -> None:
    candidates = propose(SIGNAL, USERS, EVERY, None, Sources(**(OFF | {"vector": 2, "popular": 2})))
    lists = build(candidates, SIGNAL, ("z", "absent"), np.array([3, 0]))
    assert lists.signals.shape == (2, 4, 2) and not lists.signals[:, :, 1].any()
    place = list(SIGNALS).index("vector")
    assert lists.context[0, :, place].tolist() == [1, 0, 1, 0]
    assert lists.context[:, 0, -1].tolist() == [np.float32(np.log(4) / 5), 0] and lists.cold.tolist() == [False, True]
