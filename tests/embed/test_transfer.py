from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pyarrow.fs import LocalFileSystem

from embed.checkpoint import read, save
from embed.config import EmbedConfig
from embed.inputs import View, Views
from embed.layers import slot
from embed.snapshot import Snapshot
from embed.train import Trained, fit
from embed.transfer import transfer
from kg.errors import ConfigError
from kg.interactions import Catalogue, Interactions
from tests.embed.planted import GROUPS, LIKES, READS, SMALL, hold_out


def alone(
    snapshot: Snapshot, views: Views, catalogue: Catalogue, rows: Interactions, label: str
) -> tuple[Snapshot, Views, Catalogue, Interactions]:
    """The planted graph with the items of one label, its users under keys of their own, and no entities."""
    other, edge = {"Film": ("Book", LIKES), "Book": ("Film", READS)}[label]
    users = snapshot.nodes["User"]
    keys = [f"{label}-{key}" for key in users["key"].to_pylist()]
    nodes = {"User": users.set_column(0, users.schema.field(0), [keys]).select(["key", "text", "image"])}
    nodes[label] = snapshot.nodes[label].select(["key", "text", "image"])
    part = replace(
        snapshot, nodes=nodes, edges={edge: snapshot.edges[edge]}, edge_meta={edge: snapshot.edge_meta[edge]}
    )
    span = catalogue.span(label)
    mine = rows.take((rows.item >= span.start) & (rows.item < span.stop))
    mine = replace(mine, item=mine.item - span.start, n_items=span.stop - span.start)
    ids = type(catalogue.users)("User", keys)
    small = Catalogue(ids, {label: catalogue.items[label]}, {label: catalogue.domains[label]})
    assert other not in nodes
    return part, Views({"v": {label: texts(small.n_items, seed=ord(label[0]))}}), small, mine


def texts(count: int, seed: int) -> View:
    """What an item is about is a third of its text; the rest says nothing."""
    about = np.eye(GROUPS)[np.arange(count) % GROUPS]
    rest = np.random.default_rng(seed).standard_normal((count, 12)) * 0.45
    rows = np.concatenate([about, rest], axis=1)
    return View((rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), np.ones(count, bool))


@pytest.fixture(scope="module")
def films(snapshot: Snapshot, views: Views, catalogue: Catalogue, interactions: Interactions) -> Trained:
    return fit(*alone(snapshot, views, catalogue, interactions, "Film"), SMALL)


def test_taste_learned_from_films_by_their_texts_ranks_books(
    films: Trained, snapshot: Snapshot, views: Views, catalogue: Catalogue, interactions: Interactions
) -> None:
    """No user, item or entity is shared; a fifth of the books' events are known, and nothing is learned from them."""
    part, told, small, rows = alone(snapshot, views, catalogue, interactions, "Book")
    rest, few = hold_out(rows, 0.2)
    held = rest.take(np.isin(rest.user, few.user))
    still = EmbedConfig.model_validate(SMALL.model_dump() | {"learning_rate": 1e-9})
    found = {}
    for name, pretrained in (("transferred", films), ("untrained", None)):
        scores = fit(part, told, small, few, still, epochs=1, pretrained=pretrained).embed(few).scores()
        best = np.argsort(-scores, axis=1)[:, :5]
        found[name] = np.mean([item in best[user] for user, item in zip(held.user, held.item, strict=True)])
    # Five of twenty at random would hit a quarter.
    assert found["transferred"] > found["untrained"] + 0.1


def test_what_means_the_same_is_copied_and_nothing_else(
    films: Trained, snapshot: Snapshot, views: Views, catalogue: Catalogue, interactions: Interactions
) -> None:
    part, told, small, rows = alone(snapshot, views, catalogue, interactions, "Book")
    books = fit(part, told, small, rows, SMALL, epochs=1, seed=3)
    before = books.network.ids[slot("Book")].clone()
    assert transfer(books, films) > 0
    ours, theirs = books.network, films.network
    assert torch.equal(ours.project["v"].weight, theirs.project["v"].weight)
    assert torch.equal(ours.base[slot("Book")], theirs.base[slot("Film")])
    assert torch.equal(ours.fusion["item"].context, theirs.fusion["item"].context)
    assert torch.equal(ours.ids[slot("Book")], before)


def test_shared_users_bring_their_vectors(
    films: Trained, snapshot: Snapshot, views: Views, catalogue: Catalogue, interactions: Interactions
) -> None:
    again = fit(*alone(snapshot, views, catalogue, interactions, "Film"), SMALL, epochs=1, seed=3)
    transfer(again, films)
    assert torch.equal(again.network.ids[slot("User")], films.network.ids[slot("User")])


def test_a_model_on_disk_is_as_good_a_start_as_one_in_memory(
    films: Trained, snapshot: Snapshot, views: Views, catalogue: Catalogue, interactions: Interactions, tmp_path: Path
) -> None:
    save(films, LocalFileSystem(), str(tmp_path))
    part = alone(snapshot, views, catalogue, interactions, "Book")
    starts = (films, read(LocalFileSystem(), str(tmp_path)), None)
    found = [fit(*part, SMALL, epochs=1, pretrained=start).history.losses for start in starts]
    assert found[0] == found[1] != found[2]


def test_another_width_is_refused(
    films: Trained, snapshot: Snapshot, views: Views, catalogue: Catalogue, interactions: Interactions
) -> None:
    wide = EmbedConfig.model_validate(SMALL.model_dump() | {"graph": {"dim": 32}})
    with pytest.raises(ConfigError, match="32 cannot start from a model of width 16"):
        fit(*alone(snapshot, views, catalogue, interactions, "Book"), wide, epochs=1, pretrained=films)
