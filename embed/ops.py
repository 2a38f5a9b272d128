"""Devices, seeds and small tensor operations that several modules need."""

import copy
import hashlib
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import dgl
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from kg.errors import ConfigError


def resolve_device(name: str) -> torch.device:
    """`auto` is a GPU where there is one; `ConfigError` for a device that this machine lacks."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {name!r} is not to be had here, expected auto, cpu or cuda") from error
    return device


def seed_everything(seed: int) -> None:
    """Seed torch, DGL, Python and numpy's global generator (DGL 1.1.3's loader shuffles by the latter)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    dgl.seed(seed)


def l2_normalise(x: Float[Tensor, "*batch d"], eps: float = 1e-12) -> Float[Tensor, "*batch d"]:
    """Rows of length 1; a row of zeros stays one, and gradients pass it as they are.

    Divided by `eps` in its place they would grow by 1e12 each time that such a row is normalised: squared, that is
    infinite, and Adam would never again change what led to the row.
    """
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x / torch.where(length > eps, length, torch.ones_like(length))


def cpu_has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 natively; elsewhere autocast is slower than float32."""
    flags = Path("/proc/cpuinfo")
    return flags.exists() and any(f in flags.read_text("utf-8") for f in ("avx512_bf16", "amx_bf16"))


def half_type(device: torch.device) -> torch.dtype | None:
    """The half-width type that the device multiplies faster than float32, if any: on a GPU, or a CPU with bfloat16."""
    if device.type == "cpu":
        return torch.bfloat16 if cpu_has_bfloat16() else None
    return torch.float16 if device.type == "cuda" else torch.bfloat16


@contextmanager
def half_precision(device: torch.device) -> Iterator[None]:
    """Inference with half-width products where the device is faster with them."""
    dtype = half_type(device)
    with torch.inference_mode(), torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
        yield


def halved(model: nn.Module, device: torch.device) -> nn.Module:
    """The model for `half_precision`: a copy whose products' weights are half-width; itself where float32 is used.

    Results are the same, for autocast would narrow these weights (but keeps no frozen ones) in every call.
    """
    dtype = half_type(device)
    if dtype is None:
        return model
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.to(dtype)
    return model


@contextmanager
def workers(count: int, cores: int) -> Iterator[ThreadPoolExecutor]:
    """A pool of `count` threads in which torch uses `cores` each.

    torch keeps the number by thread, but threads started later take over the one set last: hence set back at the end.
    """
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(count, initializer=partial(torch.set_num_threads, cores)) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)


def model_fingerprint(model: torch.nn.Module, *settings: object) -> str:
    """A digest of a model's weights, in order and with their names, and of settings."""
    digest = hashlib.blake2b(digest_size=16)
    for name, weights in model.state_dict().items():
        digest.update(f"{name}{tuple(weights.shape)}{weights.dtype}".encode())
        digest.update(weights.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    digest.update(repr(settings).encode())
    return digest.hexdigest()
