"""Reasons as sentences, and the shared entities that they speak of."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from kg.ids import IdMap
from kg.interactions import Catalogue
from kg.tables import Output, Workspace
from recommend.attributes import Attributes, read_attributes
from recommend.candidates import SIGNALS
from recommend.explain import Explainer, humanise, shares

ITEMS = {"Book": ["b0", "b1"], "Film": ["f0", "f1", "f2"]}
CATALOGUE = Catalogue(
    IdMap("User", ["u0"]), {k: IdMap(k, v) for k, v in ITEMS.items()}, {"Book": "books", "Film": "films"}
)
NODES = {
    "Book": pa.table({"key": ["b0", "b1"], "title": ["Dune", None]}),
    "Film": pa.table({"key": ["f0", "f1", "f2"], "title": ["Heat", "Ronin", "Up"]}),
    "Person": pa.table({"key": ["p0", "p1"], "name": ["Michael Mann", "Robert De Niro"]}),
    "Genre": pa.table({"key": ["Crime", "m.0x1"]}),
    "User": pa.table({"key": ["u0"]}),
}
EDGES = {
    "User-RATED-Film": ([0], [0]),
    "Film-DIRECTED_BY-Person": ([0], [0]),
    "Person-film.actor.film-Film": ([1, 1], [0, 1]),
    "Film-HAS_GENRE-Genre": ([0, 1, 2, 2], [0, 0, 0, 1]),
    "Book-HAS_GENRE-Genre": ([0, 1], [1, 0]),
    "Film-ADAPTED_FROM-Book": ([2], [0]),
}


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Output:
    stage = Workspace(tmp_path_factory.mktemp("runs")).stage("graph")
    with stage.create("x") as draft:
        for label, nodes in NODES.items():
            draft.write(f"nodes/{label}", nodes, nodes.schema)
        for name, (src, dst) in EDGES.items():
            edges = pa.table({"src": pa.array(src, pa.int64()), "dst": pa.array(dst, pa.int64())})
            draft.write(f"edges/{name}", edges, edges.schema)
        draft.meta["edges"] = {name: {"interaction": name.startswith("User-")} for name in EDGES}
    output = stage.current()
    assert output
    return output


@pytest.fixture(scope="module")
def attributes(snapshot: Output) -> Attributes:
    return read_attributes(snapshot, CATALOGUE)


def facets(attributes: Attributes, item: int) -> set[tuple[str, str]]:
    return {(attributes.relations[f], attributes.names[f]) for f in attributes.matrix[[item]].indices}


def test_facets_are_what_the_edges_say(attributes: Attributes) -> None:
    heat, up, dune = 2, 4, 0
    assert facets(attributes, heat) == {
        ("DIRECTED_BY", "Michael Mann"), ("film.actor.film", "Robert De Niro"), ("HAS_GENRE", "Crime"),
    }  # fmt: skip
    # An item linked to an item: both have the target as a facet, so they share it.
    assert ("ADAPTED_FROM", "Dune") in facets(attributes, up) & facets(attributes, dune)
    assert attributes.titles == ["Dune", "b1", "Heat", "Ronin", "Up"]


def test_rare_facets_weigh_more_and_rows_have_length_one(attributes: Attributes) -> None:
    weighted = attributes.weighted().toarray()
    np.testing.assert_allclose(np.linalg.norm(weighted, axis=1)[[0, 2, 3, 4]], 1, rtol=1e-5)
    heat = dict(zip([attributes.names[f] for f in range(weighted.shape[1])], weighted[2], strict=True))
    assert heat["Michael Mann"] > heat["Robert De Niro"] > 0


def sentences(attributes: Attributes | None, liked: list[int], weights: np.ndarray, items: list[int]) -> list[str]:
    explainer = Explainer(CATALOGUE, attributes, lambda h, n: weights)
    return explainer.reasons(np.array(liked), np.array(items), bits(["popular"] * len(items)))


def bits(names: list[str]) -> np.ndarray:
    return np.array([1 << list(SIGNALS).index(name) for name in names], np.uint8)


def test_strongest_liked_item_and_the_rarest_shared_facet(attributes: Attributes) -> None:
    # Ronin for a user of Dune and Heat: Heat speaks more for it; they share De Niro (2 films) and Crime (3 films).
    found = sentences(attributes, [0, 2], np.array([[0.1, 0.0], [0.4, 0.0]]), [3, 1])
    assert found == ["because you liked «Heat»: same film, Robert De Niro", "popular now"]


def test_a_liked_item_of_another_domain_is_named_so(attributes: Attributes) -> None:
    found = sentences(attributes, [0], np.array([[0.3, 0.2]]), [4, 3])
    assert found == [
        "because you liked «Dune» (books): same adapted from, Dune",
        "because you liked «Dune» (books): liked by the same people",
    ]


def test_without_attributes_items_are_called_by_key() -> None:
    assert sentences(None, [2], np.array([[1.0]]), [3]) == ["because you liked «f0»: liked by the same people"]


def test_what_proposed_it_where_no_liked_item_speaks(attributes: Attributes) -> None:
    explainer = Explainer(CATALOGUE, attributes, lambda h, n: np.zeros((len(h), len(n))))
    none = np.empty(0, np.int64)
    found = explainer.reasons(none, np.array([2, 3, 4]), bits(["popular", "vector", "content"]))
    assert found == ["popular now", "close to your tastes", "close in text or picture to what you liked"]
    assert explainer.reasons(none, none, none) == []


@pytest.mark.parametrize(
    ("relation", "words"),
    [
        ("HAS_GENRE", "genre"),
        ("DIRECTED_BY", "directed by"),
        ("DIRECTOR_OF", "director"),
        ("film.film.production_companies", "production companies"),
    ],
)
def test_humanise(relation: str, words: str) -> None:
    assert humanise(relation) == words


def test_what_is_shared_reads_as_a_sentence() -> None:
    assert shares("DIRECTED_BY", "Ada Dahl") == "both directed by Ada Dahl"
    assert shares("DIRECTED_BY", "m.04ctbw8") == "both directed by the same"
    assert shares("HAS_GENRE", "Drama") == "same genre, Drama"
    assert shares("GENRE", "m.04ctbw8") == "same genre"


def test_facets_of_an_empty_snapshot(tmp_path: Path) -> None:
    stage = Workspace(tmp_path).stage("graph")
    with stage.create("x") as draft:
        for label, nodes in NODES.items():
            draft.write(f"nodes/{label}", nodes, nodes.schema)
        draft.meta["edges"] = {}
    output = stage.current()
    assert output and read_attributes(output, CATALOGUE).matrix.shape == (5, 0)
