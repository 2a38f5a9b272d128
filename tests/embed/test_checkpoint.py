import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pyarrow import fs

from embed.checkpoint import load, read, same_weights, save
from embed.inputs import Views
from embed.snapshot import Snapshot
from embed.train import fit
from kg.errors import ContractError
from kg.interactions import Catalogue, Interactions
from tests.embed.planted import SMALL


def test_a_model_goes_where_it_is_wanted_not_where_it_was_trained(
    tmp_path: Path, snapshot: Snapshot, views: Views, catalogue: Catalogue, interactions: Interactions
) -> None:
    trained = fit(snapshot, views, catalogue, interactions, SMALL, epochs=1)
    elsewhere = replace(trained, config=SMALL.model_copy(update={"device": "cuda:99"}))
    local = fs.LocalFileSystem()
    save(elsewhere, local, str(tmp_path / "model"))
    here = load(local, str(tmp_path / "model"), snapshot, views, catalogue)
    assert np.isfinite(here.embed(interactions).users["z"]).all()
    # The one other device that every machine has.
    there = load(local, str(tmp_path / "model"), snapshot, views, catalogue, device="meta")
    assert {weights.device.type for weights in there.network.state_dict().values()} == {"meta"}


def test_round_trip(
    tmp_path: Path, snapshot: Snapshot, views: Views, catalogue: Catalogue, interactions: Interactions
) -> None:
    trained = fit(snapshot, views, catalogue, interactions, SMALL, epochs=2)
    local = fs.LocalFileSystem()
    save(trained, local, str(tmp_path / "model"))
    again = load(local, str(tmp_path / "model"), snapshot, views, catalogue)
    assert same_weights(trained, again) and again.history == trained.history and again.config == SMALL
    one, two = trained.embed(interactions), again.embed(interactions)
    assert np.array_equal(one.users["z"], two.users["z"]) and np.array_equal(one.items["z"], two.items["z"])
    assert sorted(p.suffix for p in (tmp_path / "model").iterdir()) == [".json", ".safetensors"]

    settings = tmp_path / "model" / "model.json"
    found = json.loads(settings.read_text())
    settings.write_text(json.dumps(found | {"format": 99}))
    with pytest.raises(ContractError, match="format 2; found 99"):
        load(local, str(tmp_path / "model"), snapshot, views, catalogue)
    settings.write_text(json.dumps(found))
    (tmp_path / "model" / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(ContractError, match="the weights"):
        load(local, str(tmp_path / "model"), snapshot, views, catalogue)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "model.json; there is none"),
        ("torn {", "JSON"),
        ("[]", "a model of format 2"),
        ('{"format": 2}', "the description of a model; 'config'"),
        ('{"format": 2, "config": {"epochs": 0}}', "the description of a model"),
    ],
)
def test_a_folder_that_is_no_model_says_so(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / "model.json").write_text(content)
    with pytest.raises(ContractError, match=said):
        read(fs.LocalFileSystem(), str(tmp_path))
