"""Answers from a real Neo4j alone: the planted graph is loaded, its vectors and the small ranker published."""

import hashlib
from pathlib import Path

import neo4j
import numpy as np
import pyarrow as pa
import pytest

from kg.errors import StoreError, UnknownIdError
from kg.interactions import Catalogue
from kg.load import load
from kg.schema import INSTANT, embedding_schema, node_schema, relationship_schema
from kg.server_home import Connection
from kg.store import Store
from kg.tables import Output, Workspace
from kg.write_back import Provenance, write_back
from recommend.model import Recommender
from recommend.query import pointer, recommend_for
from tests.recommend import planted

TYPES = {"Film": "RATED", "Book": "READ"}
TITLED = node_schema([pa.field("title", pa.string())])
EDGES = {f"User-{name}-{label}": {"interaction": True, "target": True} for label, name in TYPES.items()} | {
    "Film-ABOUT-Topic": {"interaction": False, "target": False}
}
META = {
    "labels": {
        "User": {"side": "user", "domain": None},
        "Film": {"side": "item", "domain": "films"},
        "Book": {"side": "item", "domain": "books"},
        "Topic": {"side": "entity", "domain": None},
    },
    "edges": EDGES,
}


def _nodes(keys: list[str], schema: pa.Schema, **columns: list[str]) -> pa.Table:
    return pa.table({name: columns.get(name, [None] * len(keys)) for name in schema.names} | {"key": keys}, schema)


def _edges(pairs: list[tuple[str, str]], schema: pa.Schema, **columns: pa.Array) -> pa.Table:
    given = {
        "row_id": [hashlib.sha256("|".join(pair).encode()).hexdigest() for pair in pairs],
        "from_key": [a for a, _ in pairs],
        "to_key": [b for _, b in pairs],
        **columns,
    }
    return pa.table({name: given[name] for name in schema.names}, schema)


def tables(folder: Path, recommender: Recommender) -> Output:
    """Stage `tables` of what the recommender knows."""
    catalogue, known = recommender.catalogue, recommender.signals.interactions
    items = catalogue.item_keys.to_pylist()
    stage = Workspace(folder).stage("tables")
    with stage.create("x") as draft:
        users = catalogue.users.keys.to_pylist()
        draft.write("nodes/User", _nodes(users, node_schema([])), node_schema([]))
        topics = [f"t{n}" for n in range(planted.TASTES)]
        named = [f"Topic {'abcdefgh'[n]}" for n in range(planted.TASTES)]
        draft.write("nodes/Topic", _nodes(topics, TITLED, title=named), TITLED)
        for label, name in TYPES.items():
            keys = catalogue.items[label].keys.to_pylist()
            draft.write(f"nodes/{label}", _nodes(keys, TITLED, title=[f"{label} {key}" for key in keys]), TITLED)
            rows = known.take(catalogue.item_labels[known.item] == label)
            schema = relationship_schema([], interaction=True)
            time = pa.array(rows.time, pa.int64()).cast(pa.timestamp("us")).cast(INSTANT)
            pairs = [(users[u], items[i]) for u, i in zip(rows.user, rows.item, strict=True)]
            table = _edges(
                pairs, schema, count=pa.array(np.ones(len(rows), np.int64)), first=time, last=time,
                weight=pa.array(np.ones(len(rows))), positive=pa.array(rows.positive),
            )  # fmt: skip
            draft.write(f"relationships/User-{name}-{label}", table, schema)
        about = [(f"f{n}", f"t{n % planted.TASTES}") for n in range(planted.FILMS)]
        schema = relationship_schema([], interaction=False)
        draft.write("relationships/Film-ABOUT-Topic", _edges(about, schema), schema)
        draft.meta |= META
    output = stage.current()
    assert output
    return output


def vectors(recommender: Recommender) -> dict[str, pa.Table]:
    catalogue, embeddings = recommender.catalogue, recommender.signals.embeddings

    def table(keys: pa.Array, z: np.ndarray) -> pa.Table:
        return pa.table({"key": keys, "z": pa.array(list(z), pa.list_(pa.float32()))}, embedding_schema(["z"]))

    items = {
        label: table(ids.keys, embeddings.items["z"][catalogue.span(label)]) for label, ids in catalogue.items.items()
    }
    return {"User": table(catalogue.users.keys, embeddings.users["z"]), **items}


@pytest.fixture(scope="module")
def published(connection: Connection, recommender: Recommender, tmp_path_factory: pytest.TempPathFactory) -> Connection:
    """The session's database, emptied, with the planted graph in it: this module only reads it."""
    with neo4j.GraphDatabase.driver(connection.uri, auth=(connection.user, connection.password)) as driver:
        driver.execute_query("MATCH (n) DETACH DELETE n")
    output = tables(tmp_path_factory.mktemp("runs"), recommender)
    with Store(connection) as store, Workspace(output.path).stage("published").create("x") as draft:
        load(store, output, draft, "planted")
        extra = pointer(recommender.catalogue, recommender.online, EDGES)
        write_back(store, vectors(recommender), Provenance("1", "m", "w", "i", "r", "2026"), draft, extra)
    return connection


@pytest.fixture
def store(published: Connection) -> Store:
    return Store(published)


def test_best_unseen_items_of_each_domain(store: Store, recommender: Recommender, catalogue: Catalogue) -> None:
    with store:
        for user in range(0, 40, 8):
            answers = recommend_for(store, f"u{user}", n=5)
            assert [a.domain for a in answers] == ["books"] * 5 + ["films"] * 5
            for part in (answers[:5], answers[5:]):
                scores = [a.score for a in part]
                assert scores == sorted(scores, reverse=True) and 0 < sum(scores) <= 1
            keys = catalogue.item_keys.take(pa.array(recommender.signals.seen[[user]].indices)).to_pylist()
            assert not {a.item_id for a in answers} & set(keys)
            assert all(a.title == f"{'Film' if a.domain == 'films' else 'Book'} {a.item_id}" for a in answers)


def test_finds_the_planted_taste(store: Store) -> None:
    own = []
    with store:
        for user in range(0, 150, 10):
            answers = recommend_for(store, f"u{user}", "films", 5)
            own += [int(a.item_id[1:]) % planted.TASTES == user % planted.TASTES for a in answers]
    assert np.mean(own) > 0.6  # by chance: 1 / 8


def test_reasons_name_a_liked_item_and_a_shared_topic(store: Store, recommender: Recommender) -> None:
    with store:
        reasons = [a.reason for u in range(0, 150, 15) for a in recommend_for(store, f"u{u}", "films", 5)]
    assert sum(r.startswith("because you liked «") for r in reasons) > len(reasons) / 2
    assert any(": same about, Topic " in r for r in reasons) and any("(books)" in r for r in reasons)


def test_paths_are_those_that_the_ranker_learned_from(
    store: Store, recommender: Recommender, catalogue: Catalogue
) -> None:
    from recommend.query import _candidates, _details, _Graph, _user

    with store:
        graph = _Graph.open(store)
        paths = _candidates(graph, _user(graph, "u3"))
        details = _details(graph, list(paths))
    known = recommender.signals.block(np.array([3]))["paths"][0]
    for item in details:
        index = int(catalogue.items[item["label"]].encode([item["key"]])[0]) + catalogue.offsets[item["label"]]
        assert np.log1p(paths[item["id"]]) == pytest.approx(known[index], rel=1e-5)
        assert item["popular"] == recommender.signals.popularity[index]


def test_cold_users_get_popular_items(store: Store, recommender: Recommender) -> None:
    with store:
        answers = recommend_for(store, f"u{planted.COLD[0]}", "films", 5)
    assert len(answers) == 5 and {a.reason for a in answers} == {"popular now"}


def test_unknown_user_and_domain(store: Store) -> None:
    with store:
        with pytest.raises(UnknownIdError, match="nobody"):
            recommend_for(store, "nobody")
        with pytest.raises(ValueError, match="flims"):
            recommend_for(store, "u0", "flims")


def test_before_anything_was_published(clean_connection: Connection) -> None:
    with Store(clean_connection) as store, pytest.raises(StoreError, match="no published embeddings"):
        recommend_for(store, "u0")
