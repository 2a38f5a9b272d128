import numpy as np
import pytest

from embed.config import Health
from embed.drift import measure, overlap, problems
from tests.embed.test_infer import random_embeddings

LIMITS = Health()


def on_circle(*degrees: float) -> np.ndarray:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_overlap_by_hand() -> None:
    before = on_circle(0, 10, 30, 70)
    # Two nearest of each: 0: {1, 2}, 1: {0, 2}, 2: {1, 0}, 3: {2, 1}.
    after = on_circle(0, 10, 80, 70)
    # Now: 0: {1, 3}, 1: {0, 3}, 2: {3, 1}, 3: {2, 1}: shared 1, 1, 1 and 2 of 2 each.
    assert overlap(before, after, neighbours=2) == (1 + 1 + 1 + 2) / 8
    assert overlap(before, before, neighbours=2) == 1
    # With more neighbours than other items, all are.
    assert overlap(before, after) == 1


def test_a_turned_space_has_the_same_neighbours_and_another_has_those_of_chance() -> None:
    rows = np.random.default_rng(0).standard_normal((500, 16)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    turn, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((16, 16)))
    assert overlap(rows, (rows @ turn).astype(np.float32)) > 0.999
    assert overlap(rows, rows[::-1].copy()) == pytest.approx(10 / 499, abs=0.01)


def test_a_sample_tells_nearly_what_all_items_tell() -> None:
    rows = np.random.default_rng(0).standard_normal((2000, 8)).astype(np.float32)
    other = rows + 0.3 * np.random.default_rng(1).standard_normal(rows.shape).astype(np.float32)
    rows, other = (found / np.linalg.norm(found, axis=1, keepdims=True) for found in (rows, other))
    whole, part = overlap(rows, other, asked=2000), overlap(rows, other, asked=300)
    assert whole is not None and 0.2 < whole < 0.8
    assert part == pytest.approx(whole, abs=0.05) and part != whole
    assert overlap(rows, other, pool=1000) == pytest.approx(whole, abs=0.1)


def test_what_cannot_be_compared() -> None:
    one = random_embeddings(0).items["z"]
    assert overlap(one[:1], one[:1]) is None
    with pytest.raises(ValueError, match="rows of the same items, found 2 and 3"):
        overlap(one[:2], one[:3])
    found = measure("v1", one[:1], one[:1], 0.3, None)
    assert (found.compared, found.overlap, found.drop) == (1, None, None)
    assert problems(found, LIMITS) == []


def test_neighbours_that_are_gone_hold_a_version_back() -> None:
    rows = np.eye(100, dtype=np.float32) + 0.1
    unrelated = np.random.default_rng(0).standard_normal((100, 8)).astype(np.float32)
    found = measure("v1", np.random.default_rng(1).standard_normal((100, 8)).astype(np.float32), unrelated, 0.3, 0.3)
    [problem] = problems(found, LIMITS)
    assert problem.setting == "min_overlap"
    assert "were so in the last version, at least 20.0% are wanted" in problem.text
    assert problems(found, Health(min_overlap=0)) == []
    assert problems(measure("v1", rows, rows, 0.3, 0.3), LIMITS) == []


@pytest.mark.parametrize(("now", "before", "held"), [(0.27, 0.3, False), (0.269, 0.3, True), (0.4, 0.3, False)])
def test_a_worse_model_is_held_back(now: float, before: float, held: bool) -> None:
    rows = random_embeddings(0).items["z"]
    found = measure("v1", rows, rows, now, before)
    assert found.drop == pytest.approx((before - now) / before)
    assert [problem.setting for problem in problems(found, Health(max_drop=0.1001))] == ["max_drop"] * held
    assert problems(found, Health(max_drop=1)) == []
