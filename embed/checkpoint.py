"""Trained networks on disk: tensors as safetensors, everything else as JSON; nothing that runs code when it is read."""

import json
from dataclasses import asdict
from typing import Any

import torch
from pyarrow import fs
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from embed.config import EmbedConfig
from embed.features import Features
from embed.inputs import Views
from embed.model import Network, Shape
from embed.ops import resolve_device
from embed.snapshot import Snapshot
from embed.train import History, Trained
from kg.errors import ContractError
from kg.interactions import Catalogue

FORMAT = 2
TENSORS = "model.safetensors"
SETTINGS = "model.json"


def save(trained: Trained, filesystem: fs.FileSystem, folder: str) -> None:
    """Write `model.safetensors` and `model.json` into `folder` (of a stage's draft)."""
    filesystem.create_dir(folder, recursive=True)
    tensors = {name: values.detach().cpu().contiguous() for name, values in trained.network.state_dict().items()}
    settings = {
        "format": FORMAT,
        "config": trained.config.model_dump(mode="json"),
        "shape": trained.network.shape.model_dump(mode="json"),
        "features": trained.features.model_dump(mode="json"),
        "id_keys": trained.id_keys,
        "history": asdict(trained.history),
    }
    with filesystem.open_output_stream(f"{folder}/{TENSORS}") as stream:
        stream.write(save_tensors(tensors))
    with filesystem.open_output_stream(f"{folder}/{SETTINGS}") as stream:
        stream.write(json.dumps(settings).encode())


def load(
    filesystem: fs.FileSystem,
    folder: str,
    snapshot: Snapshot,
    views: Views,
    catalogue: Catalogue,
    device: str | None = None,
) -> Trained:
    """The network that `save` wrote, ready for `embed` on a snapshot with the same labels.

    It goes to `device`, by default to a GPU where there is one: where it was trained does not matter. Nodes that
    training has not seen get their vectors from what they bring and whom they meet. `ContractError` for a
    folder of another format or for weights that do not fit their description.
    """
    with filesystem.open_input_stream(f"{folder}/{SETTINGS}") as stream:
        settings: dict[str, Any] = json.loads(stream.read())
    if settings.get("format") != FORMAT:
        raise ContractError(folder, f"a model of format {FORMAT}", f"found {settings.get('format')}")
    config = EmbedConfig.model_validate(settings["config"])
    network = Network(Shape.model_validate(settings["shape"]), config)
    try:
        with filesystem.open_input_stream(f"{folder}/{TENSORS}") as stream:
            network.load_state_dict(load_tensors(stream.read()))
    except (SafetensorError, RuntimeError) as error:
        raise ContractError(f"{folder}/{TENSORS}", "the weights that model.json describes", str(error)) from error
    network.to(resolve_device("auto" if device is None else device)).eval()
    features = Features.model_validate(settings["features"])
    history = History(**settings["history"])
    return Trained(network, config, features, settings["id_keys"], history, snapshot, views, catalogue)


def same_weights(one: Trained, other: Trained) -> bool:
    """Whether two models hold equal tensors under equal names."""
    left, right = one.network.state_dict(), other.network.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)
