"""Trained networks on disk: tensors as safetensors, everything else as JSON; nothing that runs code when it is read."""

import json
from dataclasses import asdict, dataclass
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


@dataclass
class Checkpoint:
    """What `save` wrote: a fitted network without a snapshot to apply it to."""

    network: Network
    config: EmbedConfig
    features: Features
    id_keys: dict[str, list[str]]
    history: History


def read(filesystem: fs.FileSystem, folder: str, device: str | None = None) -> Checkpoint:
    """The network that `save` wrote, whatever graph it is of.

    It goes to `device`, by default to a GPU where there is one: where it was trained does not matter.
    `ContractError` for a folder without one, of another format, or with weights that do not fit their description.
    """
    settings = _settings(filesystem, folder)
    try:
        config = EmbedConfig.model_validate(settings["config"])
        shape = Shape.model_validate(settings["shape"])
        features = Features.model_validate(settings["features"])
        history = History(**settings["history"])
        id_keys = dict(settings["id_keys"])
        network = Network(shape, config)
    except (KeyError, TypeError, ValueError) as error:
        raise ContractError(f"{folder}/{SETTINGS}", "the description of a model", str(error)) from error
    try:
        with filesystem.open_input_stream(f"{folder}/{TENSORS}") as stream:
            network.load_state_dict(load_tensors(stream.read()))
    except (FileNotFoundError, SafetensorError, RuntimeError) as error:
        raise ContractError(f"{folder}/{TENSORS}", "the weights that model.json describes", str(error)) from error
    if (found := {label: len(keys) for label, keys in id_keys.items()}) != shape.ids:
        raise ContractError(f"{folder}/{SETTINGS}", f"keys of as many nodes as have vectors, {shape.ids}", f"{found}")
    network.to(resolve_device("auto" if device is None else device)).eval()
    return Checkpoint(network, config, features, id_keys, history)


def _settings(filesystem: fs.FileSystem, folder: str) -> dict[str, Any]:
    try:
        with filesystem.open_input_stream(f"{folder}/{SETTINGS}") as stream:
            settings = json.loads(stream.read())
    except FileNotFoundError as error:
        raise ContractError(folder, f"a model's {SETTINGS}", "there is none") from error
    except ValueError as error:
        raise ContractError(f"{folder}/{SETTINGS}", "JSON", str(error)) from error
    found = settings.get("format") if isinstance(settings, dict) else settings
    if found != FORMAT:
        raise ContractError(folder, f"a model of format {FORMAT}", f"found {found}")
    return dict(settings)


def load(
    filesystem: fs.FileSystem,
    folder: str,
    snapshot: Snapshot,
    views: Views,
    catalogue: Catalogue,
    device: str | None = None,
) -> Trained:
    """The network that `save` wrote, ready for `embed` on a snapshot with the same labels; errors are those of `read`.

    Nodes that training has not seen get their vectors from what they bring and whom they meet.
    """
    found = read(filesystem, folder, device)
    return Trained(
        found.network, found.config, found.features, found.id_keys, found.history, snapshot, views, catalogue
    )


def same_weights(one: Trained, other: Trained) -> bool:
    """Whether two models hold equal tensors under equal names."""
    left, right = one.network.state_dict(), other.network.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)
