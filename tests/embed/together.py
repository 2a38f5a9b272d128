"""What torchrun runs for `test_distributed`: processes learn the planted graph and write down what they have."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from embed.config import EmbedConfig
from embed.distributed import World, join
from embed.infer import Embeddings
from embed.inputs import Views
from embed.snapshot import Snapshot, own_interactions
from embed.train import Trained, fit
from kg.interactions import Catalogue, Interactions
from tests.embed import planted

BATCH = 24
FINE = {"dim": 16, "dropout": 0.0, "id_dropout": 0.0, "cold": 0.0}
EXACT = EmbedConfig.model_validate(
    # Steps too small to change anything: the last step's gradient is that of the first weights.
    {"graph": FINE, "objectives": {"views": 0}, "batch_size": BATCH, "hidden": 1, "learning_rate": 1e-9, "epochs": 1}
)
"""Nothing in it is drawn at random but the order of edges: all items are negatives."""
JOINED = EXACT.model_copy(update={"batch_size": 2 * BATCH})
"""What one process must do to take the steps of two."""
LEARNING = planted.SMALL.model_copy(update={"batch_size": 32, "epochs": 8})
SAMPLED = EmbedConfig.model_validate(
    LEARNING.model_dump() | {"graph": LEARNING.graph.model_dump() | {"full_graph_edges": 0, "fanout": 5}}
)
CONFIGS = {
    "exact": EXACT,
    "learning": LEARNING,
    "sampled": SAMPLED,
    "again": LEARNING.model_copy(update={"epochs": 2}),
    "sampled again": SAMPLED.model_copy(update={"epochs": 2}),
}


class Planted:
    """The planted graph's pieces, and a validation on a part held out."""

    def __init__(self, folder: Path) -> None:
        output = planted.write(folder)
        self.snapshot: Snapshot = Snapshot.read(output)
        self.catalogue: Catalogue = planted.make_catalogue(self.snapshot)
        self.views: Views = planted.make_views(self.snapshot)
        train, self.held = planted.hold_out(own_interactions(self.snapshot, self.catalogue))
        # An odd number: two processes cannot share the last step out evenly.
        self.train = few(train, len(train) // 2 * 2 - 1)

    def fit(self, config: EmbedConfig, **more: Any) -> Trained:
        return fit(self.snapshot, self.views, self.catalogue, self.train, config, **more)

    def hits(self, found: Embeddings) -> float:
        scores = found.scores()
        scores[self.train.user, self.train.item] = -2
        return planted.hit_rate(scores, self.held)


def few(rows: Interactions, count: int) -> Interactions:
    return rows.take(np.arange(count))


def keep(trained: Trained, folder: Path, name: str, rank: int) -> None:
    """A process's weights, last gradients and history."""
    found = {
        "weights": trained.network.state_dict(),
        "gradients": {key: p.grad for key, p in trained.network.named_parameters()},
        "losses": trained.history.losses,
        "metrics": trained.history.metrics,
        "stopped": trained.history.stopped,
        "random": torch.rand(4),
    }
    torch.save(found, folder / f"{name}-{rank}.pt")


def lead(world: World, folder: Path) -> None:
    graph = Planted(folder / "first")
    for name, config in CONFIGS.items():
        keep(graph.fit(config, validate=graph.hits, world=world), folder, name, 0)
    # An edge for one process and none for the other.
    graph.train = few(graph.train, 1)
    keep(graph.fit(SAMPLED, epochs=2, world=world), folder, "uneven", 0)
    keep(graph.fit(LEARNING, epochs=2, world=world), folder, "uneven-whole", 0)


def follow(world: World, folder: Path) -> None:
    """As `embed.distributed.serve`, but writes down what it has."""
    names = iter([*CONFIGS, "uneven", "uneven-whole"])
    while call := world.awaited():
        function, args, kwargs = call
        keep(function(*args, **kwargs, world=world), folder, next(names), world.rank)


def fail(world: World, folder: Path) -> None:
    """The first process fails in the midst of training, while the other waits for it."""

    def validate(_: Embeddings) -> float:
        raise RuntimeError("planted failure")

    graph = Planted(folder / "first")
    graph.fit(LEARNING, validate=validate, world=world)


def main(leader: Callable[[World, Path], None], folder: Path) -> None:
    world = join()
    (folder / f"pid-{world.rank}").write_text(json.dumps(os.getpid()))
    if world.rank:
        follow(world, folder)
    else:
        leader(world, folder)
        world.dismiss()


if __name__ == "__main__":
    main({"lead": lead, "fail": fail}[sys.argv[1]], Path(sys.argv[2]))
