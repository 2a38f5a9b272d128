from dataclasses import replace

import numpy as np
import pytest

from embed.health import examine
from embed.infer import Embeddings
from kg.errors import QualityError
from tests.embed.test_infer import random_embeddings


def broken(rows: np.ndarray) -> Embeddings:
    good = random_embeddings(0)
    return replace(good, items=good.items | {"z": rows})


def test_good_vectors_pass() -> None:
    report = examine(random_embeddings(0))
    assert report["items.z"]["covered"] == 1 and 5 < report["items.z"]["effective_rank"] <= 6


def test_a_masked_row_may_be_zero() -> None:
    good = random_embeddings(0)
    rows, mask = good.users["h"].copy(), np.ones(20, bool)
    rows[4], mask[4] = 0, False
    found = examine(replace(good, users=good.users | {"h": rows}, user_masks=good.user_masks | {"h": mask}))
    assert found["users.h"]["covered"] == 0.95
    with pytest.raises(QualityError, match=r"users\.h: 1 vectors are not of length 1"):
        examine(replace(good, users=good.users | {"h": rows}))


def test_bad_vectors_are_refused() -> None:
    rows = random_embeddings(0).items["z"].copy()
    rows[2, 1] = np.nan
    with pytest.raises(QualityError, match=r"items\.z: 1 vectors are not finite"):
        examine(broken(rows))
    point = np.tile(random_embeddings(0).items["z"][:1], (30, 1))
    with pytest.raises(QualityError, match="collapsed"):
        examine(broken(point))
    line = point * np.where(np.arange(30) % 2, 1, -1)[:, None]
    with pytest.raises(QualityError, match="collapsed"):
        examine(broken(line.astype(np.float32)))
