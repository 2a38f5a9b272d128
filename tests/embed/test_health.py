from dataclasses import replace

import numpy as np
import pytest

from embed.config import Health
from embed.health import Problem, effective_rank, examine, in_blocks, mean_cosine, problems, require_sound
from embed.infer import Embeddings
from kg.errors import QualityError
from kg.interactions import Interactions
from tests.embed.test_infer import random_embeddings

LIMITS = Health()


def events(user: np.ndarray, item: np.ndarray) -> Interactions:
    n = len(user)
    return Interactions(user, item, np.ones(n, np.float32), np.zeros(n, np.int64), np.ones(n, bool), 20, 30)


ALL = events(np.arange(30) % 20, np.arange(30))


def with_items(rows: np.ndarray) -> Embeddings:
    good = random_embeddings(0)
    return replace(good, items=good.items | {"z": rows.astype(np.float32)})


def held_back(embeddings: Embeddings, limits: Health = LIMITS, told: Interactions = ALL) -> list[str]:
    return [problem.setting for problem in problems(examine(embeddings, told), embeddings.dim, limits)]


def test_good_vectors_pass() -> None:
    good = random_embeddings(0)
    require_sound(good)
    report = examine(good, ALL)
    assert report["items.z"]["covered"] == 1 and 5 < report["items.z"]["effective_rank"] <= 6
    assert report["items.z"]["informed"] == 30 and report["items.z"]["blocked"] == 0
    assert problems(report, good.dim, LIMITS) == []


def test_a_masked_row_may_be_zero() -> None:
    good = random_embeddings(0)
    rows, mask = good.users["h"].copy(), np.ones(20, bool)
    rows[4], mask[4] = 0, False
    masked = replace(good, users=good.users | {"h": rows}, user_masks=good.user_masks | {"h": mask})
    require_sound(masked)
    assert examine(masked, ALL)["users.h"]["covered"] == 0.95
    with pytest.raises(QualityError, match=r"users\.h: 1 vectors are not of length 1"):
        require_sound(replace(good, users=good.users | {"h": rows}))


def test_vectors_that_are_none_are_refused() -> None:
    rows = random_embeddings(0).items["z"].copy()
    rows[2, 1] = np.nan
    with pytest.raises(QualityError, match=r"items\.z: 1 vectors are not finite"):
        require_sound(with_items(rows))


def test_collapsed_vectors_are_held_back() -> None:
    good = random_embeddings(0).items["z"]
    point = np.tile(good[:1], (30, 1))
    assert held_back(with_items(point)) == ["min_rank", "max_cosine", "max_blocks"]
    line = point * np.where(np.arange(30) % 2, 1, -1)[:, None]
    assert held_back(with_items(line)) == ["min_rank", "max_blocks"]
    cone = good + 9 * good[0]
    cone /= np.linalg.norm(cone, axis=1, keepdims=True)
    assert held_back(with_items(cone)) == ["min_rank", "max_cosine"]
    assert held_back(with_items(cone), Health(max_cosine=1, min_rank=1)) == []
    [problem] = problems(examine(with_items(cone), ALL), 6, Health(min_rank=1))
    assert problem == Problem("max_cosine", problem.text)
    assert problem.text.startswith("items have a mean cosine of 0.9") and "at most 0.95" in problem.text


def test_effective_rank_is_the_exponential_of_an_entropy() -> None:
    # Singular values 2 and 1 of two orthogonal directions: shares 2/3 and 1/3, entropy ln 3 - 2/3 ln 2.
    rows = np.array([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    assert effective_rank(rows) == pytest.approx(3 / 2 ** (2 / 3))
    assert effective_rank(np.eye(4)) == pytest.approx(4)
    assert effective_rank(np.zeros((0, 4))) == 0


def test_the_mean_cosine_is_that_of_all_pairs() -> None:
    # Cosines of the three pairs: 0, -1, 0.
    assert mean_cosine(np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])) == pytest.approx(-1 / 3)
    assert mean_cosine(np.ones((1, 1))) == 0


def test_a_block_is_five_rows_at_one_point() -> None:
    rows = np.eye(20)
    rows[1:5] = rows[0]
    assert in_blocks(rows) == 5 / 20
    rows[4] = np.eye(20)[4]
    assert in_blocks(rows) == 0


def test_who_brings_nothing_may_coincide() -> None:
    rows = random_embeddings(0).items["z"].copy()
    rows[:12] = rows[0]
    assert held_back(with_items(rows)) == ["max_blocks"]
    seen = np.arange(12, 30)
    assert held_back(with_items(rows), told=events(seen % 20, seen)) == []
    # Their texts are information again.
    good = with_items(rows)
    told = replace(
        good, items=good.items | {"v": good.items["h"]}, item_masks=good.item_masks | {"v": np.ones(30, bool)}
    )
    told = replace(
        told, users=told.users | {"v": told.users["h"]}, user_masks=told.user_masks | {"v": np.ones(20, bool)}
    )
    assert held_back(told, told=events(seen % 20, seen)) == ["max_blocks"]
