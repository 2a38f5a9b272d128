"""The export's contract, saving and loading, and the reasons that it gives."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pytest
from pyarrow import fs

from kg.interactions import Catalogue
from kg.schema import RECOMMENDATION
from kg.tables import Output, Workspace
from recommend import export as exporting
from recommend.export import CSV, TABLE, export
from recommend.model import Recommender, load
from tests.recommend import planted


@pytest.fixture(scope="module")
def exported(recommender: Recommender, tmp_path_factory: pytest.TempPathFactory) -> Output:
    stage = Workspace(tmp_path_factory.mktemp("runs")).stage("recommendations")
    with stage.create("x") as draft:
        draft.figures["rows"] = export(recommender, draft, "test-model", n=7)
    output = stage.current()
    assert output
    return output


@pytest.fixture(scope="module")
def rows(exported: Output) -> pa.Table:
    return exported.read(TABLE)


def test_every_user_and_domain_has_n_rows(rows: pa.Table, exported: Output) -> None:
    assert rows.schema.equals(RECOMMENDATION)
    assert rows.num_rows == planted.USERS * 2 * 7 == exported.manifest.figures["rows"]
    assert set(rows["domain"].to_pylist()) == {"films", "books"} and set(rows["model"].to_pylist()) == {"test-model"}
    lists = rows.group_by(["user_id", "domain"], use_threads=False).aggregate([("rank", "list"), ("score", "list")])
    for rank, score in zip(lists["rank_list"].to_pylist(), lists["score_list"].to_pylist(), strict=True):
        assert rank == [1, 2, 3, 4, 5, 6, 7]
        assert score == sorted(score, reverse=True) and score[-1] > 0 and sum(score) <= 1 + 1e-5


def test_no_seen_item_and_no_item_twice(rows: pa.Table, recommender: Recommender, catalogue: Catalogue) -> None:
    user = catalogue.users.encode(rows["user_id"])
    item = np.array([catalogue.item_keys.to_pylist().index(key) for key in rows["item_id"].to_pylist()])
    assert not np.asarray(recommender.signals.seen[user, item]).any()
    assert len(np.unique(user * catalogue.n_items + item)) == len(user)
    domains = np.array([catalogue.domains[label] for label in catalogue.item_labels[item]])
    assert domains.tolist() == rows["domain"].to_pylist()


def test_csv_holds_the_same_rows(rows: pa.Table, exported: Output) -> None:
    with exported.filesystem.open_input_stream(exported.location(CSV)) as stream:
        found = pacsv.read_csv(stream)
    assert found.column_names == RECOMMENDATION.names
    for column in ("user_id", "item_id", "rank", "reason"):
        assert found[column].to_pylist() == rows[column].to_pylist()


def test_reasons_name_a_liked_item(rows: pa.Table, recommender: Recommender, catalogue: Catalogue) -> None:
    liked = [r for r in rows["reason"].to_pylist() if r.startswith("because you liked «")]
    assert len(liked) > rows.num_rows / 2
    for row in rows.slice(0, 50).to_pylist():
        if row["reason"].startswith("because"):
            key = row["reason"].split("«")[1].split("»")[0]
            user = int(catalogue.users.encode([row["user_id"]])[0])
            own = recommender.signals.matrix[[user]].indices
            assert key in catalogue.item_keys.take(pa.array(own)).to_pylist()


def test_blocks_change_nothing(rows: pa.Table, recommender: Recommender, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "BLOCK", 7)
    found = pa.Table.from_batches(exporting.batches(recommender, 7, ["films", "books"], "test-model"))
    key = [("user_id", "ascending"), ("domain", "ascending"), ("rank", "ascending")]
    assert found.sort_by(key)["item_id"].to_pylist() == rows.sort_by(key)["item_id"].to_pylist()


def test_too_few_items_are_padded_with_minus_one(recommender: Recommender) -> None:
    found = recommender.recommend(np.array([0, 1]), "books", planted.BOOKS)
    fewer = (found.items >= 0).sum(1)
    assert (fewer < planted.BOOKS).all() and (fewer > 20).all()
    assert not found.scores[found.items < 0].any()


def test_seen_items_stay_when_asked(recommender: Recommender) -> None:
    config = recommender.config.model_copy(update={"exclude_seen": False})
    found = replace(recommender, config=config).recommend(np.arange(20), "films", 10)
    assert np.asarray(recommender.signals.seen[np.repeat(np.arange(20), 10), found.items.ravel()]).any()


def test_unknown_domain(recommender: Recommender, tmp_path: Path) -> None:
    config = recommender.config.model_copy(update={"domains": ("flims",)})
    with pytest.raises(ValueError, match="flims"), Workspace(tmp_path).stage("x").create("y") as draft:
        export(replace(recommender, config=config), draft, "m")


def test_loaded_recommends_the_same(recommender: Recommender, catalogue: Catalogue, tmp_path: Path) -> None:
    recommender.save(fs.LocalFileSystem(), str(tmp_path / "ranker"))
    signals = recommender.signals
    again = load(fs.LocalFileSystem(), str(tmp_path / "ranker"), catalogue, signals.embeddings, signals.interactions)
    assert again.online == recommender.online and again.config == recommender.config
    users = np.arange(planted.USERS)
    one, two = recommender.recommend(users, "films", 5), again.recommend(users, "films", 5)
    np.testing.assert_array_equal(one.items, two.items)
    np.testing.assert_allclose(one.scores, two.scores, rtol=1e-5)
