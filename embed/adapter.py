"""What LoRA changes in a text encoder, on disk as peft itself writes it, and put into the encoder."""

import json
from dataclasses import dataclass
from typing import Any

from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
from pyarrow import fs
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from embed.config import LowRank
from embed.text import TextEncoder
from kg.errors import ContractError
from kg.tables import replace_file

TENSORS, SETTINGS, FIGURES = "adapter_model.safetensors", "adapter_config.json", "figures.json"


@dataclass(frozen=True)
class Adapter:
    """A low-rank change to each linear layer (Hu et al., 2022)."""

    settings: dict[str, Any]
    """peft's `LoraConfig`"""
    tensors: dict[str, Tensor]
    figures: dict[str, Any]
    """How it was learned."""


def lora(config: LowRank) -> LoraConfig:
    """A change to every linear layer that has a part in a text's vector."""
    return LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,  # type: ignore[arg-type] # any number will do, it is only divided
        lora_dropout=config.dropout,
        target_modules="all-linear",
        exclude_modules=".*pooler.*",  # it comes after what is read here
    )


def save(adapter: Adapter, filesystem: fs.FileSystem, folder: str) -> None:
    """Write an adapter, `figures.json` last: without it there is none. `PeftModel.from_pretrained` reads it too."""
    filesystem.create_dir(folder, recursive=True)
    settings = json.dumps(adapter.settings, default=sorted, indent=1)  # peft keeps names of layers in sets
    replace_file(filesystem, f"{folder}/{TENSORS}", save_tensors(adapter.tensors, metadata={"format": "pt"}))
    replace_file(filesystem, f"{folder}/{SETTINGS}", settings.encode())
    replace_file(filesystem, f"{folder}/{FIGURES}", json.dumps(adapter.figures).encode())


def load(filesystem: fs.FileSystem, folder: str) -> Adapter | None:
    """The adapter that `save` wrote; None where there is none, `ContractError` where it is damaged."""
    if filesystem.get_file_info(f"{folder}/{FIGURES}").type != fs.FileType.File:
        return None
    found = {}
    for name in (TENSORS, SETTINGS, FIGURES):
        with filesystem.open_input_stream(f"{folder}/{name}") as stream:
            found[name] = bytes(stream.read())
    try:
        return Adapter(json.loads(found[SETTINGS]), load_tensors(found[TENSORS]), json.loads(found[FIGURES]))
    except (SafetensorError, ValueError) as error:
        raise ContractError(folder, "an adapter as it was written; delete the folder", str(error)) from error


def merge(encoder: TextEncoder, adapter: Adapter) -> None:
    """Add the change to the encoder's weights: no slower than before, and with another fingerprint.

    `ContractError` for an adapter of another model.
    """
    model = get_peft_model(encoder.model, LoraConfig(**adapter.settings))
    try:
        found: Any = set_peft_model_state_dict(model, adapter.tensors)
        if found.unexpected_keys:
            raise RuntimeError(f"unknown layers {found.unexpected_keys[:3]}")
    except RuntimeError as error:
        encoder.model = model.unload()
        message = str(error).split("\n")[0]
        raise ContractError("adapter", f"one of {encoder.config.model!r}", message) from error
    encoder.model = model.merge_and_unload().eval().requires_grad_(False)
