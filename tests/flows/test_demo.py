import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from flows.demo import TRUTH, generate, is_generated


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("demo")
    return folder, generate(folder, scale=0.1)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_one_seed_one_set_of_bytes(made, tmp_path):
    folder, _ = made
    generate(tmp_path / "again", scale=0.1)
    assert files(folder) == files(tmp_path / "again")
    generate(tmp_path / "again", seed=8, scale=0.1)
    assert files(folder).keys() != files(tmp_path / "again").keys() or files(folder) != files(tmp_path / "again")


def test_complete_data_is_known_by_its_seed_and_scale(made, tmp_path):
    folder, _ = made
    assert is_generated(folder, scale=0.1)
    assert not is_generated(folder, scale=0.2)
    assert not is_generated(tmp_path)


def test_users_choose_and_like_what_was_planted(made):
    folder, truth = made
    ratings = pq.read_table(folder / "film_ratings.parquet").to_pylist()
    known = [r for r in ratings if r["film_id"] in truth["items"]["films"] and r["user_id"] in truth["likes"]]
    fits = np.array([truth["items"]["films"][r["film_id"]] in truth["likes"][r["user_id"]] for r in known])
    scores = np.array([r["rating"] for r in known])
    # Two of twelve themes are liked: by chance a sixth of the events would fit.
    assert fits.mean() > 0.5
    assert scores[fits].mean() > scores[~fits].mean() + 0.5


def test_the_dirt_is_as_the_truth_says(made):
    folder, truth = made
    ratings = [tuple(sorted(r.items())) for r in pq.read_table(folder / "film_ratings.parquet").to_pylist()]
    dirty = truth["dirty"]["film_ratings"]
    assert len(ratings) - len(set(ratings)) == dirty["duplicate"]
    assert sum(dict(r)["rating"] > 5 for r in ratings) == dirty["rule"]
    users = set(truth["likes"])
    lost = [r for r in ratings if dict(r)["film_id"] not in truth["items"]["films"] or dict(r)["user_id"] not in users]
    assert len(lost) == dirty["unknown_end"]
    reads = (folder / "book_reads.tsv").read_text().splitlines()[1:]
    assert sum(n - 1 for n in Counter(reads).values()) == truth["dirty"]["book_reads"]["duplicate"]
    assert len(truth["doubles"]) >= 6


def test_pictures_decode_but_for_the_broken_one(made):
    folder, _ = made
    broken = []
    for path in sorted((folder / "covers").iterdir()):
        try:
            with Image.open(path) as image:
                image.load()
                assert image.size == (96, 128)
        except OSError:
            broken.append(path.name)
    assert broken == ["f0001.jpg"]


def test_some_items_and_users_are_cold(made):
    folder, truth = made
    ratings = pq.read_table(folder / "film_ratings.parquet")
    touched = set(ratings["film_id"].to_pylist())
    assert set(truth["items"]["films"]) - touched
    assert json.loads((folder / TRUTH).read_text()) == truth
