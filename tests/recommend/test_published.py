"""The benchmark on published splits reads, measures and compares as it says."""

from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from recommend.collaborative import Collaborative, Tuner, grids
from tests.benchmarks import ranking, ranking_data, rivals
from tests.benchmarks.published import Known, published, read


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "train.txt").write_text("0 3 1\n2 0\n1\n")
    (tmp_path / "valid.txt").write_text("0 2\n")
    (tmp_path / "test.txt").write_text("2 1 4\n\n")
    return tmp_path


def test_files_become_matrices_of_one_shape(folder: Path) -> None:
    known, test = read(folder)
    assert known.train.toarray().tolist() == [[0, 1, 0, 1, 0], [0] * 5, [1, 0, 0, 0, 0]]
    assert known.valid.toarray().tolist() == [[0, 0, 1, 0, 0], [0] * 5, [0] * 5]
    assert test.toarray().tolist() == [[0] * 5, [0] * 5, [0, 1, 0, 0, 1]]
    assert published(known.train) == {}


@pytest.mark.parametrize("text", ["0 a\n", "0 -1\n", "0 1.5\n"])
def test_bad_files_are_named(folder: Path, text: str) -> None:
    (folder / "valid.txt").write_text(text)
    with pytest.raises(SystemExit, match=r"valid\.txt"):
        read(folder)


def test_measured_by_hand() -> None:
    # User 0 has two test items, found at ranks 1 and 3: recall 1, NDCG (1 + 1/2) / (1 + 1/log2(3)) = .9197.
    # User 1 has one, at rank 2: recall 1, NDCG 1/log2(3) = .6309. User 2 has none and does not count.
    test = sparse.csr_matrix(np.array([[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]], np.float32))
    items = np.full((3, 40), -1)
    items[0, :3], items[1, :2] = [0, 1, 2], [3, 1]
    found = ranking.measure(items, test)
    assert found["recall@10"] == found["recall@40"] == 1
    assert found["ndcg@10"] == pytest.approx((0.91972 + 0.63093) / 2, abs=1e-5)


def test_the_ideal_list_is_cut_at_k() -> None:
    test = sparse.csr_matrix(np.ones((1, 50), np.float32))
    found = ranking.measure(np.arange(40)[None], test)
    assert found["recall@10"] == 10 / 50 and found["ndcg@10"] == pytest.approx(1)


def test_bars_say_what_is_met() -> None:
    figures = {"recall@10": 0.18, "ndcg@10": 0.33, "minutes": 3.0, "gigabytes": 9.0}
    met = {bar["name"]: bar["met"] for bar in ranking.bars_of(figures, ranking.SMALL)}
    assert met == {"recall_at_10": True, "ndcg_at_10": False, "minutes": True, "gigabytes": False}


def known_of(seed: int = 0) -> tuple[Known, dict[str, list[np.ndarray]]]:
    parts = ranking_data.split(ranking_data.made(120, 80, 3000, seed))
    return Known(*(_matrix(parts[name]) for name in ("train", "valid"))), parts


def _matrix(rows: list[np.ndarray]) -> sparse.csr_matrix:
    dense = np.zeros((120, 80), np.float32)
    for user, row in enumerate(rows):
        dense[user, row] = 1
    return sparse.csr_matrix(dense)


def test_made_parts_are_different_items_of_each_user() -> None:
    _, parts = known_of()
    for train, valid, test in zip(parts["train"], parts["valid"], parts["test"], strict=True):
        row = np.concatenate([train, valid, test])
        assert len(np.unique(row)) == len(row) and len(train) > len(test) >= len(valid)


def test_written_data_are_read_again(tmp_path: Path) -> None:
    known, parts = known_of()
    ranking_data.write(parts, tmp_path)
    again, _ = read(tmp_path)
    np.testing.assert_array_equal(again.train.toarray(), known.train.toarray())


def test_the_best_of_the_grid_is_chosen() -> None:
    known, _ = known_of()
    tuner = Tuner(known.train, known.valid, 5000, 0)
    grid = grids(80, Collaborative(penalties=(1e6, 3.0)), 0)["linear"]
    values = [tuner.quality(make().fit(known.train).scores) for make in grid.values()]
    assert tuner.best("linear", grid)[0] == list(grid)[int(np.argmax(values))]


def test_rivals_stop_when_time_is_up() -> None:
    known, _ = known_of()
    one = rivals.ease(known, 0.0)[1]
    assert one == {"settings": rivals.EASE_PENALTIES[0], "trials": 1}
    assert rivals.ease(known, 60.0)[1]["trials"] == len(rivals.EASE_PENALTIES)


@pytest.mark.slow
def test_the_whole_command_on_made_data(tmp_path: Path) -> None:
    ranking_data.write(known_of()[1], tmp_path)
    names = ["ours", "popularity", "ease"]
    found = ranking.run(tmp_path, names)
    assert list(found["models"]) == names
    ours, popular = found["models"]["ours"], found["models"]["popularity"]
    assert ours["ndcg@10"] > popular["ndcg@10"] and ours["gigabytes"] < 4
    assert {bar["name"] for bar in found["bars"]} == set(ranking.LARGE)
