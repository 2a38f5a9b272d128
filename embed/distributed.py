"""One model learned by several processes, which torchrun starts: the first leads, the others take part in its calls.

Every process holds the whole graph and the whole network. A step's target edges are shared out among them, each learns
from its own part, and the mean of their gradients, weighted by edges, moves the weights of all alike: that is what one
process would do with the edges of all. A process draws negatives and hides values by a seed of its own.

What the processes send each other is pickled and not encrypted: let no others reach their ports.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn

from embed.ops import resolve_device, seed_everything
from kg.errors import ConfigError

T = TypeVar("T")
Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]
PATIENCE = timedelta(days=7)
"""How long a process waits for the others, who may be ingesting; torchrun ends all when one of them fails."""
SEEDS_APART = 1_000_003
"""Between the seeds of two processes, so that the first seeds that people choose do not meet."""


@dataclass(frozen=True)
class World:
    """The processes that learn together, and which of them this is; by default one alone.

    All must make the same calls in the same order. After an error in one of them the others wait for it: let it end.
    """

    rank: int = 0
    """0 leads"""
    size: int = 1
    local_rank: int = 0
    """Its number on its machine, and so the number of its GPU."""
    local_size: int = 1
    """How many are on its machine."""

    def device(self, name: str) -> torch.device:
        """`resolve_device`, but a GPU for each process; `ConfigError` where there are fewer."""
        found = resolve_device(name)
        if self.size == 1 or found.type != "cuda":
            return found
        if (count := torch.cuda.device_count()) < self.local_size:
            raise ConfigError(f"{self.local_size} processes for {count} GPUs: start {count}, or choose the device cpu")
        torch.cuda.set_device(self.local_rank)
        return torch.device("cuda", self.local_rank)

    def invite(self, function: Callable[..., object], *args: object, **kwargs: object) -> None:
        """Let all others, who are in `serve`, call a module's function too; `world` is added to its keywords."""
        if self.size > 1 and self.rank == 0:
            self.agreed((function, args, kwargs))

    def awaited(self) -> Call | None:
        """What the first process invites to, None when it dismisses this one."""
        call: Call | None = self.agreed(None)
        if call is None:
            self.summed(0.0)
        return call

    def dismiss(self) -> None:
        """Let `serve` end in all others."""
        if self.size > 1:
            self.agreed(None)
            # Whoever ends first closes its connections: a sum shows that all have heard.
            self.summed(0.0)

    def agreed(self, value: T) -> T:
        """What the first process has for a value; whatever can be pickled."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    def summed(self, *values: float) -> list[float]:
        """The sums of all processes' values."""
        if self.size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total)
        found: list[float] = total.tolist()
        return found

    def begin(self, network: nn.Module, seed: int) -> None:
        """Give all the first one's weights, and each but the first a randomness of its own."""
        self.share(network)
        if self.rank:
            seed_everything(seed + self.rank * SEEDS_APART)

    def share(self, module: nn.Module) -> None:
        """Give all the first one's weights of what they all have."""
        if self.size > 1:
            for weights in module.state_dict().values():
                dist.broadcast(weights, src=0)

    def average(self, network: nn.Module, edges: int) -> None:
        """Replace gradients by their mean over all processes, weighted by how many edges each learned from.

        A parameter that no process has a gradient for keeps none, so that the optimiser leaves it alone.
        """
        if self.size == 1:
            return
        parameters = list(network.parameters())
        mine = [(torch.zeros_like(p) if p.grad is None else p.grad * edges).flatten() for p in parameters]
        counts = [*(float(p.grad is not None) for p in parameters), float(edges)]
        # One message a step: each costs more by being one than by its length.
        together = torch.cat([*mine, mine[0].new_tensor(counts)])
        dist.all_reduce(together)
        *gradients, learned = together.split([*(p.numel() for p in parameters), len(counts)])
        *there, total = learned.tolist()
        for parameter, gradient, count in zip(parameters, gradients, there, strict=True):
            parameter.grad = (gradient / total).view_as(parameter) if count else None


ALONE = World()


def join() -> World:
    """The world that torchrun made this process for; returns when all have joined, and at once when called again.

    Gradients travel by gloo on CPUs and by NCCL on GPUs, everything else by gloo.
    """
    if not dist.is_initialized():
        gpus = torch.cuda.is_available() and dist.is_nccl_available()
        dist.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo", timeout=PATIENCE)
    return World(
        dist.get_rank(), dist.get_world_size(), dist.get_node_local_rank(), int(os.environ["LOCAL_WORLD_SIZE"])
    )


def serve(world: World) -> None:
    """What all processes but the first do: take part in whatever it invites to, until it dismisses them."""
    while call := world.awaited():
        function, args, kwargs = call
        function(*args, **kwargs, world=world)
