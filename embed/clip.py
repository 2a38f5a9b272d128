"""Catalogue CLIP: pictures and texts of a catalogue's own items brought into one space, by open_clip's loss.

The towers stay as they are, so their features are computed once (and come from the cache), and training, which sees
projections and the scale of the logits alone, takes seconds. A tower's features are rows of length 1: a projection is
linear and its result brought to length 1, which makes the length of what comes in irrelevant.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import open_clip
import torch
from jaxtyping import Float
from pyarrow import fs
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from embed.config import CatalogueClip
from embed.image import packaged_clip
from embed.ops import l2_normalise, seed_everything
from embed.retrieval import chance, recall
from kg.errors import ConfigError

START = math.log(1 / 0.07)
"""The scale of the logits that open_clip starts from, as a logarithm."""
MOST = math.log(100)
"""Where open_clip's training cuts the scale off."""
LEAST = 20
"""Pairs below which nothing can be learned and held out."""


class Projections(nn.Module):
    """open_clip's last layer of either tower, without bias, and the scale of the logits."""

    def __init__(self, images: int, texts: int, dim: int) -> None:
        """Widths of the towers' features and of the joint space; random as open_clip's text projections are."""
        super().__init__()
        self.image, self.text = nn.Linear(images, dim, bias=False), nn.Linear(texts, dim, bias=False)
        for layer in (self.image, self.text):
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
        self.logit_scale = nn.Parameter(torch.tensor(START))

    @classmethod
    def as_trained(cls, width: int, logit_scale: float) -> "Projections":
        """Those that leave a model that is trained already as it is; `logit_scale` as a logarithm."""
        found = cls(width, width, width)
        nn.init.eye_(found.image.weight)
        nn.init.eye_(found.text.weight)
        nn.init.constant_(found.logit_scale, logit_scale)
        return found

    def project_images(self, vectors: Float[np.ndarray, "n images"]) -> Float[np.ndarray, "n dim"]:
        """Image features in the joint space, rows of length 1."""
        return _project(self.image, vectors)

    def project_texts(self, vectors: Float[np.ndarray, "n texts"]) -> Float[np.ndarray, "n dim"]:
        """Text features in the joint space, rows of length 1."""
        return _project(self.text, vectors)

    def save(self, filesystem: fs.FileSystem, path: str) -> None:
        """Write a safetensors file."""
        tensors = {name: of.detach().cpu().contiguous() for name, of in self.state_dict().items()}
        with filesystem.open_output_stream(path) as stream:
            stream.write(save_tensors(tensors))


def _project(layer: nn.Linear, vectors: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        found: np.ndarray = l2_normalise(layer.cpu()(torch.from_numpy(np.ascontiguousarray(vectors)))).numpy()
    return found


@dataclass(frozen=True)
class Pairs:
    """What the towers make of items that have both a picture and a text: row i of one belongs to row i of the other."""

    images: Float[np.ndarray, "n images"]
    texts: Float[np.ndarray, "n texts"]

    def __len__(self) -> int:
        """How many there are."""
        return len(self.images)

    def take(self, rows: np.ndarray) -> "Pairs":
        """Some of them."""
        return Pairs(self.images[rows], self.texts[rows])


def fit(
    pairs: Pairs, config: CatalogueClip, seed: int, trained: Projections | None = None
) -> tuple[Projections, dict[str, Any]]:
    """Projections learned from pairs, of the epoch with the lowest loss on held-out ones; and figures.

    `trained` is what to start from, at random without it. `figures`: losses by epoch, and how often held-out pictures
    find their texts and texts their pictures, before and after, beside an order at random. One seed, one result.
    `ConfigError` for fewer than `LEAST` pairs.
    """
    if len(pairs) < LEAST:
        raise ConfigError(f"embed.image.clip: {len(pairs)} items have a picture and a text, expected {LEAST}; set null")
    seed_everything(seed)
    generator = np.random.default_rng(seed)
    test, valid, learned = (pairs.take(rows) for rows in split(len(pairs), config.held_out, generator))
    projections = trained or Projections(pairs.images.shape[1], pairs.texts.shape[1], config.dim)
    figures: dict[str, Any] = {"pairs": len(learned), "held_out": len(test), "chance": chance(len(test))}
    figures["before"] = retrieval(projections, test)
    figures |= _descend(projections, learned, valid, config, generator)
    figures["after"] = retrieval(projections, test)
    return projections.eval().requires_grad_(False), figures


def split(count: int, held_out: float, generator: np.random.Generator) -> list[np.ndarray]:
    """Rows to report by, to stop by and to learn from, in this order; the same of generators of one seed."""
    held = max(round(held_out * count / 2), 1)
    return np.split(generator.permutation(count), [held, 2 * held])


def retrieval(projections: Projections, pairs: Pairs) -> dict[str, dict[str, float]]:
    """`recall` both ways among `pairs`."""
    images, texts = projections.project_images(pairs.images), projections.project_texts(pairs.texts)
    return {"image_to_text": recall(images, texts), "text_to_image": recall(texts, images)}


def _descend(
    projections: Projections, learned: Pairs, valid: Pairs, config: CatalogueClip, generator: np.random.Generator
) -> dict[str, Any]:
    loss = open_clip.ClipLoss()
    groups: list[dict[str, Any]] = [
        {"params": [projections.image.weight, projections.text.weight], "weight_decay": config.weight_decay},
        {"params": [projections.logit_scale], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=config.learning_rate)
    best, lowest, state = 0, _loss(loss, projections, valid, 0.0).item(), _copy(projections)
    losses, held_out = [], [lowest]
    for epoch in range(1, config.epochs + 1):
        found = []
        for rows in _batches(len(learned), config.batch_size, generator):
            value = _loss(loss, projections, learned.take(rows), config.dropout)
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            projections.logit_scale.data.clamp_(0, MOST)
            found.append(value.item())
        losses.append(float(np.mean(found)))
        held_out.append(_loss(loss, projections, valid, 0.0).item())
        if held_out[-1] < lowest:
            best, lowest, state = epoch, held_out[-1], _copy(projections)
        elif epoch - best >= config.patience:
            break
    projections.load_state_dict(state)
    return {"loss": losses, "held_out_loss": held_out, "best_epoch": best}


def _loss(loss: nn.Module, projections: Projections, pairs: Pairs, dropout: float) -> Tensor:
    sides = (projections.image, pairs.images), (projections.text, pairs.texts)
    images, texts = (
        l2_normalise(layer(nn.functional.dropout(torch.from_numpy(vectors), dropout))) for layer, vectors in sides
    )
    found: Tensor = loss(images, texts, projections.logit_scale.exp())
    return found


def _copy(projections: Projections) -> dict[str, Tensor]:
    return {name: of.detach().clone() for name, of in projections.state_dict().items()}


def _batches(count: int, size: int, generator: np.random.Generator) -> list[np.ndarray]:
    """All rows in batches of about one size: a small last one would be told apart too easily."""
    return np.array_split(generator.permutation(count), max(round(count / size), 1))


def assembled(projections: Projections) -> nn.Module:
    """The packaged towers with these projections, as an open_clip model (`encode_image`, `encode_text`)."""
    model, _ = packaged_clip(projections.image.out_features)
    weights = {
        "visual.head.proj.weight": projections.image.weight,
        "text.proj.weight": projections.text.weight,
        "logit_scale": projections.logit_scale,
    }
    with torch.no_grad():
        for name, values in weights.items():
            model.get_parameter(name).copy_(values)
    return model.eval().requires_grad_(False)
