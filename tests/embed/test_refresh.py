"""What a change reaches gets the vectors that all nodes computed anew would have, and the rest is not touched."""

import copy
from dataclasses import replace
from functools import cache
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest
import torch
from pyarrow import fs

from embed import refresh as under_test
from embed.checkpoint import load, save
from embed.config import EmbedConfig
from embed.infer import Embeddings, turned
from embed.model import Network
from embed.refresh import Refreshed, refresh
from embed.seen import seen
from embed.train import Trained, fit
from kg.errors import ConfigError
from kg.interactions import Catalogue
from kg.schema import EdgeType
from tests.embed.growing import CHANGES, CIRCLES, Data, World, world

GRAPH = {"dim": 16, "dropout": 0.0, "heads": 2}
SETTINGS: dict[str, dict[str, Any]] = {
    "lightgcn": {"model": "lightgcn"},
    "graphsage": {"model": "graphsage", "layers": 1},
    "gcn": {"model": "gcn"},
    "gat": {"model": "gat", "attribute_layers": 2},
    "gcn in batches": {"model": "gcn", "attribute_layers": 2, "full_graph_edges": 0},
    "without attributes": {"attribute_layers": 0, "layers": 1},
}
TURN = np.linalg.qr(np.random.default_rng(3).standard_normal((16, 16)))[0].astype(np.float32)


@cache
def checkpoint(**graph: Any) -> tuple[TemporaryDirectory[str], Data]:
    """A model on disk, and what it was trained on."""
    data = world().data()
    config = EmbedConfig.model_validate({"graph": {**GRAPH, **graph}})
    trained = fit(data.snapshot, data.views, data.catalogue, data.events, config, epochs=1)
    with torch.no_grad():  # one step leaves maps at zero that start there, which would hide what they are told
        for parameter in trained.network.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    folder = TemporaryDirectory()
    save(trained, fs.LocalFileSystem(), folder.name)
    return folder, data


def on(data: Data, **graph: Any) -> Trained:
    """The checkpoint on other data."""
    folder, _ = checkpoint(**graph)
    return load(fs.LocalFileSystem(), folder.name, data.snapshot, data.views, data.catalogue)


def carried(old: Embeddings, before: Catalogue, now: Catalogue) -> Embeddings:
    """The rows of `old` in another catalogue's order, masked where there is none."""

    def keys(of: Catalogue) -> Any:
        return of.item_keys  # unique over labels here

    parts = []
    for rows, masks, ids, wanted in (
        (old.users, old.user_masks, before.users.keys, now.users.keys),
        (old.items, old.item_masks, keys(before), keys(now)),
    ):
        place = pc.index_in(wanted, value_set=ids).to_numpy(zero_copy_only=False)
        known = ~np.isnan(place)
        at = np.where(known, place, 0).astype(np.int64)
        parts.append(
            ({v: r[at] * known[:, None] for v, r in rows.items()}, {v: m[at] & known for v, m in masks.items()})
        )
    return Embeddings(parts[0][0], parts[1][0], parts[0][1], parts[1][1])


def refreshed(after: World, **graph: Any) -> tuple[Refreshed, Embeddings, Embeddings]:
    """What a refresh after a change gives, the old vectors, and all computed anew; turned, as when published."""
    data, before = after.data(), checkpoint(**graph)[1]
    first = on(before, **graph)
    parts = first.seen(before.events)
    old = turned(first.embed(before.events), TURN)
    trained = on(data, **graph)
    kept = carried(old, before.catalogue, data.catalogue)
    told = seen(*parts, before.snapshot, first.network.shape)
    return refresh(trained, data.events, kept, told, TURN), kept, turned(trained.embed(data.events), TURN)


def differing(one: Embeddings, other: Embeddings) -> int:
    """How many users and items have another row in any view, bit by bit."""
    found = 0
    for mine, theirs in ((one.users, other.users), (one.items, other.items)):
        found += int(np.any([(mine[view] != theirs[view]).any(1) for view in mine], axis=0).sum())
    return found


def require_equal(found: Embeddings, wanted: Embeddings) -> None:
    for part in ("users", "items"):
        for view, rows in getattr(wanted, part).items():
            np.testing.assert_allclose(getattr(found, part)[view], rows, atol=1e-5, rtol=0, err_msg=f"{part}.{view}")
    for part in ("user_masks", "item_masks"):
        for view, mask in getattr(wanted, part).items():
            assert np.array_equal(getattr(found, part)[view], mask), f"{part}.{view}"


@pytest.mark.parametrize("model", ["lightgcn", "gcn"])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__.strip("_"))
def test_one_change_reaches_whom_it_should(model: str, change: Any) -> None:
    after = world()
    change(after, 20)
    made, old, wanted = refreshed(after, **SETTINGS[model])
    require_equal(made.embeddings, wanted)
    assert differing(made.embeddings, old) <= made.figures.recomputed < made.figures.of / 3
    assert made.figures.looked_at < made.figures.of_nodes / 2


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("setting", SETTINGS)
def test_many_changes_at_once(setting: str, seed: int) -> None:
    after, chosen = world(), np.random.default_rng(seed)
    circles = chosen.choice(np.arange(1, CIRCLES, 3), 4, replace=False)
    for circle, change in zip(circles, chosen.choice(len(CHANGES), 4, replace=False), strict=True):
        CHANGES[change](after, int(circle))
    made, old, wanted = refreshed(after, **SETTINGS[setting])
    require_equal(made.embeddings, wanted)
    assert differing(made.embeddings, old) <= made.figures.recomputed < made.figures.of
    assert made.figures.new == int((~old.user_masks["z"]).sum() + (~old.item_masks["z"]).sum())


def test_nothing_new_computes_nothing() -> None:
    made, old, _ = refreshed(world(), **SETTINGS["lightgcn"])
    assert (made.figures.recomputed, made.figures.looked_at) == (0, 0)
    assert differing(made.embeddings, old) == 0


def test_a_refresh_goes_on_from_a_refresh() -> None:
    """What it saw is what the next one is held against."""
    first, then = world(), world()
    CHANGES[0](first, 5)
    CHANGES[0](then, 5)
    CHANGES[8](then, 30)
    made, _, _ = refreshed(first, model="lightgcn")
    data, before = then.data(), first.data()
    trained = on(data, model="lightgcn")
    kept = carried(made.embeddings, before.catalogue, data.catalogue)
    again = refresh(trained, data.events, kept, made.seen, TURN)
    require_equal(again.embeddings, turned(trained.embed(data.events), TURN))
    assert 0 < again.figures.recomputed < refreshed(then, model="lightgcn")[0].figures.recomputed


@pytest.mark.parametrize("graph", [{"half_life": 10.0}, {"edge_weights": True}])
def test_messages_weighed_by_all_others_change_with_any(graph: dict[str, Any]) -> None:
    """Their mean is 1: an event more, and each weighs something else."""
    after = world()
    CHANGES[0](after, 20)
    made, _, wanted = refreshed(after, **graph)
    require_equal(made.embeddings, wanted)
    assert made.figures.recomputed > 0.9 * made.figures.of


@pytest.mark.parametrize("fault", ["a hop less", "no degrees"])
def test_the_reach_is_no_larger_than_it_must_be(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the last hop, or without the one more for degrees, vectors stay that should not."""
    right = under_test._reached

    def short(network: Network, graph: Any, change: dict[str, dict[str, np.ndarray]]) -> Any:
        if fault == "no degrees":
            none = {label: np.zeros_like(mask) for label, mask in change["interactions"].items()}
            return right(network, graph, change | {"interactions": none})
        less, config = copy.copy(network), network.config
        less.config = config.model_copy(update={"graph": config.graph.model_copy(update={"layers": 1})})
        return right(less, graph, change)

    after = world()
    CHANGES[6](after, 20)
    monkeypatch.setattr(under_test, "_reached", short)
    made, _, wanted = refreshed(after, model="lightgcn")
    with pytest.raises(AssertionError, match=r"users|items"):
        require_equal(made.embeddings, wanted)


def test_a_new_relation_is_ignored_and_said() -> None:
    after = world()
    seen_by = EdgeType("Film", "SHOWN_IN", "Topic")
    after.edges[seen_by] = {("f200", "t21"): 1.0}
    made, _, wanted = refreshed(after, model="lightgcn")
    assert made.figures.ignored == (seen_by.name,)
    require_equal(made.embeddings, wanted)


def test_another_layout_needs_training() -> None:
    data = world().data()
    trained = on(data, model="lightgcn")
    no_books = replace(data.catalogue, items={"Film": data.catalogue.items["Film"]}, domains={"Film": "films"})
    with pytest.raises(ConfigError, match=r"on the items \['Book', 'Film'\], found \['Film'\]: `crossgraph run`"):
        refresh(replace(trained, catalogue=no_books), data.events, trained.embed(data.events), {})
