import numpy as np
import pytest

from embed.infer import Embeddings
from flows.vectors import read_vectors, write_vectors
from kg.ids import IdMap
from kg.interactions import Catalogue
from kg.tables import Workspace


@pytest.fixture
def catalogue() -> Catalogue:
    items = {"Book": IdMap("Book", ["x", "y"]), "Film": IdMap("Film", ["x", "z", "w"])}
    return Catalogue(IdMap("User", ["u", "v"]), items, {"Book": "books", "Film": "films"})


@pytest.fixture
def embeddings() -> Embeddings:
    rng = np.random.default_rng(0)
    rows = {"users": 2, "items": 5}
    vectors = {side: {v: rng.random((n, 3), np.float32) for v in ("v", "z")} for side, n in rows.items()}
    masks = {side: {"v": np.arange(n) != 1, "z": np.ones(n, bool)} for side, n in rows.items()}
    for side in rows:
        vectors[side]["v"][~masks[side]["v"]] = 0
    return Embeddings(vectors["users"], vectors["items"], masks["users"], masks["items"])


def written(tmp_path, embeddings: Embeddings, catalogue: Catalogue):
    stage = Workspace(tmp_path).stage("embeddings")
    with stage.create("f") as draft:
        write_vectors(draft, embeddings, catalogue)
    output = stage.current()
    assert output is not None
    return output


def test_what_is_written_is_read(tmp_path, catalogue, embeddings):
    found = read_vectors(written(tmp_path, embeddings, catalogue), catalogue)
    for side in ("users", "items", "user_masks", "item_masks"):
        for view, rows in getattr(embeddings, side).items():
            np.testing.assert_array_equal(getattr(found, side)[view], rows)


def test_vectors_follow_their_keys_into_a_later_catalogue(tmp_path, catalogue, embeddings):
    output = written(tmp_path, embeddings, catalogue)
    items = {"Book": IdMap("Book", ["new", "y"]), "Film": IdMap("Film", ["w", "x"])}
    later = Catalogue(IdMap("User", ["t", "v"]), items, catalogue.domains)
    found = read_vectors(output, later)
    assert found.user_masks["z"].tolist() == [False, True]
    assert found.item_masks["z"].tolist() == [False, True, True, True]
    np.testing.assert_array_equal(found.users["z"][1], embeddings.users["z"][1])
    np.testing.assert_array_equal(found.items["z"][1:], embeddings.items["z"][[1, 4, 2]])
    assert not found.items["z"][0].any()
