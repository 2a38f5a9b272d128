"""What is published, what is held back, and the way back: outputs of planted vectors, and a real Neo4j."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from embed.health import examine
from embed.infer import Embeddings
from flows.cli import app
from flows.embed import RANKER, TRAINED
from flows.publish import in_service, publish, version_of, would_publish
from flows.tasks import opened
from flows.vectors import write_vectors
from kg.errors import ConfigError, CrossGraphError, QualityError, StoreError
from kg.schema import node_schema
from kg.server_home import Connection
from kg.store import Store
from kg.tables import Draft, Output, Workspace
from kg.versions import rollback
from recommend.config import Ranker, RecommendConfig
from recommend.model import Recommender, fit_ranker
from tests.kg.small_graph import plain
from tests.recommend import planted

PROJECT = """\
name: tiny
sources: {rows: {format: csv, path: rows.csv}}
nodes:
  User: {source: rows, key: user}
  Film: {source: rows, key: film, domain: films}
  Book: {source: rows, key: book, domain: books}
relationships:
  RATED: {source: rows, from: {User: user}, to: {Film: film}, interaction: true}
  READ: {source: rows, from: {User: user}, to: {Book: book}, interaction: true}
"""
META = {
    "labels": {
        "User": {"side": "user", "domain": None},
        "Film": {"side": "item", "domain": "films"},
        "Book": {"side": "item", "domain": "books"},
    },
    "edges": {
        "User-RATED-Film": {"interaction": True, "target": True},
        "User-READ-Book": {"interaction": True, "target": True},
    },
}
EVENTS = planted.cut().train
FIRST = planted.model().embed(EVENTS)


def with_z(rows: np.ndarray) -> Embeddings:
    """The first vectors with others for the items."""
    return replace(FIRST, items=FIRST.items | {"z": FIRST.items["z"][rows]})


ITEMS = planted.FILMS + planted.BOOKS
OTHER = with_z(np.random.default_rng(0).permutation(ITEMS))
FIVEFOLD = with_z(np.arange(ITEMS) // 5)


@pytest.fixture(scope="module")
def recommender() -> Recommender:
    cut = planted.cut()
    config = RecommendConfig(ranker=Ranker(epochs=1))
    return fit_ranker(planted.catalogue(), planted.model().embed, cut.train, cut.valid, config, seed=0)


@dataclass
class Tiny:
    """The project, as a user would have it, with a Neo4j of its own that holds its nodes."""

    path: str
    workspace: Workspace
    connection: Connection
    recommender: Recommender
    graph: Output

    def made(self, name: str, embeddings: Embeddings, validation: float = 0.3) -> list[Output]:
        """The outputs `trained/user_time` and `embeddings` of a model."""

        def train(draft: Draft) -> None:
            self.recommender.save(draft.filesystem, draft.location(RANKER))
            draft.figures["history"] = {"metrics": [validation / 2, validation, validation / 3], "best_epoch": 2}

        def embed(draft: Draft) -> None:
            write_vectors(draft, embeddings, planted.catalogue())
            draft.meta |= {"model": "graphsage", "weights": name}
            draft.figures["health"] = examine(embeddings, EVENTS)

        with opened(self.path, [], "embed") as run:
            return [run.stage(TRAINED["user_time"], [name], [], train), run.stage("embeddings", [name], [], embed)]

    def publish(self, outputs: list[Output], *overrides: str) -> dict[str, Any]:
        with opened(self.path, list(overrides), "embed") as run:
            publish(run, self.graph, *outputs)
        return self.figures()

    def figures(self) -> dict[str, Any]:
        return json.loads((Path(self.workspace.root) / "run.json").read_text())

    def current(self) -> str | None:
        found = plain(self.connection, "MATCH (v:EmbeddingVersion) RETURN v.version")
        return str(found[0][0]) if found else None

    def everything(self) -> list[list[Any]]:
        return plain(self.connection, "MATCH (n) RETURN labels(n), properties(n) ORDER BY elementId(n)")

    def command(self, *arguments: str, error: type[CrossGraphError] | None = None) -> str:
        done = CliRunner().invoke(app, ["embed", self.path, *arguments])
        assert type(done.exception) is (error or type(None)), (done.output, done.exception)
        return f"{done.output}{done.exception or ''}"


@pytest.fixture
def tiny(
    tmp_path: Path, clean_connection: Connection, recommender: Recommender, monkeypatch: pytest.MonkeyPatch
) -> Tiny:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(PROJECT)
    for name, value in (("URI", clean_connection.uri), ("PASSWORD", clean_connection.password)):
        monkeypatch.setenv(f"CROSSGRAPH_NEO4J__{name}", value)
    monkeypatch.setenv("CROSSGRAPH_HOME", str(tmp_path / "home"))
    workspace = Workspace(tmp_path / "runs/tiny")
    with Store(clean_connection) as store:
        store.claim("tiny")
    nodes = planted.catalogue()
    with workspace.stage("graph").create("graph") as draft:
        for label, ids in {"User": nodes.users, **nodes.items}.items():
            schema = node_schema([])
            keys = ids.keys.to_pylist()
            columns = {name: keys if name == "key" else [None] * len(keys) for name in schema.names}
            draft.write(f"nodes/{label}", pa.table(columns, schema), schema)
            side = "" if label == "User" else ":Item"
            plain(clean_connection, f"UNWIND $keys AS key CREATE (:{label}{side} {{key: key, _hash: 1}})", keys=keys)
        draft.meta |= META
    graph = workspace.stage("graph").current()
    assert graph
    return Tiny(str(tmp_path / "tiny.yaml"), workspace, clean_connection, recommender, graph)


def nearly(embeddings: Embeddings, seed: int) -> Embeddings:
    """What another night's training gives: items a little elsewhere, the whole turned."""
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.standard_normal((planted.WIDTH, planted.WIDTH)))

    def moved(rows: np.ndarray) -> np.ndarray:
        found = (rows + 0.05 * rng.standard_normal(rows.shape)) @ turn
        return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)

    views = {view: moved(rows) for view, rows in embeddings.items.items()}
    return replace(embeddings, items=views, users={view: moved(rows) for view, rows in embeddings.users.items()})


def test_a_version_like_the_last_is_published_with_its_figures(tiny: Tiny) -> None:
    first, second = tiny.made("1", FIRST), tiny.made("2", nearly(FIRST, 1), 0.29)
    found = tiny.publish(first)["stages"]["published"]["figures"]
    assert (found["drift"], found["problems"]) == (None, [])
    assert found["written"] > 0
    found = tiny.publish(second)["stages"]["published"]["figures"]
    assert found["drift"]["since"] == version_of(*first)
    assert found["drift"]["compared"] == ITEMS
    assert 0.5 < found["drift"]["overlap"] < 1
    assert found["drift"]["drop"] == pytest.approx(0.01 / 0.3)
    assert tiny.current() == version_of(*second)
    # Again, nothing is to be done, and a version is no longer held against itself.
    assert tiny.publish(second)["skipped"] == ["published"]


@pytest.mark.parametrize(
    ("new", "validation", "setting", "said"),
    [
        (
            OTHER,
            0.3,
            "min_overlap=0",
            r"nearest items \d+\.\d% were so in the last version, at least 20\.0% are wanted",
        ),
        (nearly(FIRST, 1), 0.2, "max_drop=0.4", r"validation gave 0\.2000 after 0\.3000, 33\.3% less, at most 10\.0%"),
        (FIVEFOLD, 0.3, "max_blocks=1", r"100\.0% of the items lie in blocks"),
    ],
    ids=["elsewhere", "worse", "blocks"],
)
def test_what_fails_is_not_published_until_the_limits_allow_it(
    tiny: Tiny, new: Embeddings, validation: float, setting: str, said: str
) -> None:
    first = tiny.made("1", FIRST)
    tiny.publish(first)
    before = tiny.everything()
    second = tiny.made("2", new, validation)
    for _ in range(2):  # a rerun fails in the same way
        with pytest.raises(QualityError, match=said) as raised:
            tiny.publish(second, *(["embed.health.min_overlap=0"] if setting.startswith("max_blocks") else []))
        assert f"version {version_of(*first)} stays" in str(raised.value)
        assert f"--set embed.health.{setting.partition('=')[0]}=" in str(raised.value)
        stage = tiny.figures()["stages"]["published"]
        assert stage["failed"] and len(stage["figures"]["problems"]) == 1
        assert stage["figures"]["drift"]["validation"] == validation
        assert tiny.everything() == before
    # What readers see is what recommendations are made of.
    with opened(tiny.path, [], "recommend") as run:
        assert [output.path for output in in_service(run)] == [output.path for output in first]
    tiny.publish(second, f"embed.health.{setting}", "embed.health.min_overlap=0")
    assert tiny.current() == version_of(*second)


def test_new_nodes_are_compared_by_key(tiny: Tiny) -> None:
    """Items that came, went and moved in the catalogue: those in both are compared with themselves."""
    first = tiny.made("1", FIRST)
    tiny.publish(first)
    plain(tiny.connection, "MATCH (n:Film) WHERE n.key IN ['f0', 'f9'] REMOVE n.z_a")
    plain(tiny.connection, "MATCH (n:Book {key: 'b3'}) DETACH DELETE n")
    second = tiny.made("2", FIRST)
    with pytest.raises(CrossGraphError, match="b3"):  # it is in no graph: that is found before anything is written
        tiny.publish(second)
    found = tiny.figures()["stages"]["published"]["figures"]["drift"]
    assert (found["compared"], found["overlap"]) == (ITEMS - 3, 1)


def test_there_is_nothing_to_go_back_to(tiny: Tiny) -> None:
    assert "no earlier version" in tiny.command("--rollback", error=StoreError)
    tiny.publish(tiny.made("1", FIRST))
    before = tiny.everything()
    assert "no earlier version" in tiny.command("--rollback", error=StoreError)
    assert tiny.everything() == before
    plain(tiny.connection, "MATCH (p:CrossGraphProject) SET p.name = 'other'")
    assert "holds project 'other'" in tiny.command("--rollback", error=StoreError)


def test_a_rollback_holds_until_there_is_a_new_version(tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    def unchanged(outputs: list[Output], kept: list[Output]) -> None:
        """A run that makes these outputs does nothing, and these are what readers see."""
        before = tiny.everything()
        figures = tiny.publish(outputs)
        assert (figures["skipped"], figures["did"]["vectors_written"]) == (["published"], 0)
        assert tiny.everything() == before
        with opened(tiny.path, [], "recommend") as run:
            assert [output.path for output in in_service(run)] == [output.path for output in kept]

    first = tiny.made("1", FIRST)
    tiny.publish(first)
    second = tiny.made("2", nearly(FIRST, 2))
    tiny.publish(second)
    old, new = version_of(*first), version_of(*second)
    told = tiny.command("--rollback")
    assert told.startswith(f"readers see version {old} again, and no longer {new}\n")
    assert "`crossgraph recommend tiny`" in told
    assert tiny.current() == old
    unchanged(second, first)
    assert f"version {new} was rolled back and is not published again: {old} stays" in capsys.readouterr().err
    assert not would_publish(tiny.workspace.stage("published").current(), new)
    assert tiny.command("--rollback").startswith(f"readers see version {new} again, and no longer {old}\n")
    unchanged(second, second)
    assert would_publish(tiny.workspace.stage("published").current(), old)
    tiny.command("--rollback")
    third = tiny.made("3", nearly(FIRST, 3))
    figures = tiny.publish(third)["stages"]["published"]["figures"]
    # It is held against what readers saw last, not against what they were spared.
    assert figures["drift"]["since"] == old
    unchanged(third, third)


def test_a_rollback_that_was_killed_before_its_record_holds(tiny: Tiny) -> None:
    first = tiny.made("1", FIRST)
    tiny.publish(first)
    second = tiny.made("2", nearly(FIRST, 2))
    tiny.publish(second)
    with Store(tiny.connection) as store:
        rollback(store)
    assert tiny.publish(second)["skipped"] == ["published"]
    assert tiny.current() == version_of(*first)
    with opened(tiny.path, [], "recommend") as run:
        assert [output.path for output in in_service(run)] == [output.path for output in first]


def test_what_a_published_version_was_made_of_stays_in_the_workspace(tiny: Tiny) -> None:
    first = tiny.made("1", FIRST)
    tiny.publish(first)
    for name in ("2", "3", "4"):  # three runs whose vectors were held back
        tiny.made(name, OTHER)
    with opened(tiny.path, [], "recommend") as run:
        assert [output.path for output in in_service(run)] == [output.path for output in first]
    assert len(tiny.workspace.stage("embeddings").outputs()) == 3
    for output in first:
        tiny.workspace.stage("embeddings").discard(output)
    with opened(tiny.path, [], "recommend") as run, pytest.raises(ConfigError, match=version_of(*first)):
        in_service(run)
