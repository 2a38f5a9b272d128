r"""The ranker: probabilities over a user's candidates.

.. math:: p = \operatorname{softmax}_i\bigl(w_k^\top s_{ui} + g_k \, \mathrm{MLP}([z_u \odot z_i, s_{ui}, c_{ui}])\bigr)

with signals s (standardised within the list) and context c; k says whether the user has a history. The MLP's last layer
starts at zero and w at one signal alone, the first for users with a history and popularity for those without, so
training starts from the best single model and leaves it only where held-out users agree. Cold users' g starts at zero:
what the MLP learned from others' histories has no say for them until cold users' own labels give it one.
"""

import json
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors import torch as tensors
from torch import Tensor, nn

from recommend.features import Lists


class Network(nn.Module):
    """The formula above for one padded batch of lists."""

    def __init__(self, signals: tuple[str, ...], context: int, width: int, hidden: int, dropout: float) -> None:
        """`width` is the dimension of z; `signals` must name ``popular``."""
        super().__init__()
        starts = torch.tensor([0, signals.index("popular")])
        self.linear = nn.Parameter(torch.eye(len(signals))[starts])
        self.gate = nn.Parameter(torch.tensor([1.0, 0.0]))
        self.inner = nn.Linear(width + len(signals) + context, hidden)
        self.drop = nn.Dropout(dropout)
        self.outer = nn.Linear(hidden, 1)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(
        self,
        user: Float[Tensor, "b d"],
        items: Float[Tensor, "b m d"],
        signals: Float[Tensor, "b m s"],
        context: Float[Tensor, "b m c"],
        cold: Int[Tensor, " b"],
    ) -> Float[Tensor, "b m"]:
        """Logits; `cold` is 1 for a user without a history, else 0; those of padding mean nothing.

        The products are not written out: W (z_u * z_i) is (W * z_u) z_i, one small matrix a user. They count d
        times: coordinates of unit vectors are near d^-1/2, so the products get a deviation near 1.
        """
        width = user.shape[1]
        products, rest = self.inner.weight[:, :width], self.inner.weight[:, width:]
        inner = torch.baddbmm(self.inner.bias, items, (products * user[:, None, :] * width).transpose(1, 2))
        inner = inner + torch.cat([signals, context], dim=-1) @ rest.T
        deep = self.outer(self.drop(torch.relu(inner))).squeeze(-1)
        base = (signals @ self.linear[cold][:, :, None]).squeeze(-1)
        found: Tensor = base + self.gate[cold][:, None] * deep
        return found


@dataclass(frozen=True)
class Vectors:
    """The z of users and items that the products are made from."""

    users: Float[Tensor, "users d"]
    items: Float[Tensor, "items d"]

    @classmethod
    def of(cls, users: np.ndarray, items: np.ndarray, device: str) -> "Vectors":
        """From arrays, on a device."""
        return cls(torch.as_tensor(users, device=device), torch.as_tensor(items, device=device))


def logits(network: Network, lists: Lists, vectors: Vectors) -> Float[Tensor, "b m"]:
    """The network's logits, -inf in padding."""
    device = vectors.users.device
    found: Tensor = network(
        vectors.users[torch.as_tensor(lists.users, device=device)],
        vectors.items[torch.as_tensor(np.maximum(lists.items, 0), device=device)],
        torch.as_tensor(lists.signals, device=device),
        torch.as_tensor(lists.context, device=device),
        torch.as_tensor(lists.cold.astype(np.int64), device=device),
    )
    return found.masked_fill(~torch.as_tensor(lists.mask, device=device), -torch.inf)


@dataclass(frozen=True)
class Ranker:
    """A fitted network and the signals it reads, in order."""

    network: Network
    signals: tuple[str, ...]

    def probabilities(self, lists: Lists, vectors: Vectors) -> Float[np.ndarray, "b m"]:
        """Softmax over each list; 0 in padding and for an empty list."""
        with torch.inference_mode():
            found = torch.softmax(logits(self.network.eval(), lists, vectors), dim=1)
        return np.asarray(torch.nan_to_num(found).cpu().numpy(), np.float32)

    def to_bytes(self) -> bytes:
        """As safetensors, with the signals' names and sizes as metadata."""
        inner = self.network.inner
        layout = {"signals": self.signals, "context": inner.in_features, "hidden": inner.out_features}
        meta = {"layout": json.dumps(layout)}  # one entry: safetensors writes several in no fixed order
        return tensors.save({name: t.contiguous().cpu() for name, t in self.network.state_dict().items()}, meta)

    @classmethod
    def from_bytes(cls, data: bytes, device: str = "cpu") -> "Ranker":
        """Inverse of `to_bytes`."""
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
        layout = json.loads(header["layout"])
        signals = tuple(layout["signals"])
        network = Network(signals, layout["context"] - len(signals), 0, layout["hidden"], 0.0)
        network.load_state_dict(tensors.load(data))
        return cls(network.to(device), signals)
