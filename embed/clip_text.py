"""The text tower that belongs to an image model: what its pictures are matched with."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import open_clip
import torch

from embed.config import ImageModel, TextModel
from embed.image import named_clip
from embed.ops import half_precision, l2_normalise, model_fingerprint, resolve_device
from embed.text import PACKAGED, TextEncoder
from kg.errors import ConfigError

BATCH = 64


class TextTower(Protocol):
    """One vector a text."""

    @property
    def fingerprint(self) -> str:
        """A digest of the weights and of what else changes a vector."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """float32[texts, dim], rows of length 1."""


def text_tower(config: ImageModel, device: str) -> TextTower:
    """MiniLM as it comes for the packaged model, for a named one its own."""
    return TextEncoder(TextModel(), device) if config.model == PACKAGED else ClipText(config, device)


class ClipText:
    """Texts in the space of a named open_clip model's pictures."""

    def __init__(self, config: ImageModel, device: str = "auto") -> None:
        """Load the model and its tokenizer; `ConfigError` where either is not to be had."""
        self.device = resolve_device(device)
        self.model, _ = named_clip(config)
        self.model.visual = None
        self.model.eval().requires_grad_(False).to(self.device)
        try:
            self.tokenizer = open_clip.get_tokenizer(config.model)
        except (OSError, ValueError, KeyError) as error:
            raise ConfigError(f"embed.image.clip: {config.model!r} has no tokenizer here; set it to null") from error

    @property
    def logit_scale(self) -> float:
        """What the model multiplies cosines with, as a logarithm."""
        return float(self.model.logit_scale)

    @property
    def fingerprint(self) -> str:
        """A digest of the weights."""
        return model_fingerprint(self.model, "text")

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """float32[texts, dim] in the order given, rows of length 1."""
        found = [self._batch(list(texts[start : start + BATCH])) for start in range(0, len(texts), BATCH)]
        return np.concatenate(found) if found else np.zeros((0, 0), np.float32)

    def _batch(self, texts: list[str]) -> np.ndarray:
        with half_precision(self.device):
            vectors = self.model.encode_text(self.tokenizer(texts).to(self.device))
        with torch.inference_mode():
            found: np.ndarray = l2_normalise(vectors.float()).cpu().numpy()
        return found
