"""Fit a network on a snapshot and the training side of a cut: link prediction, self-supervision, or both."""

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import dgl
import pyarrow as pa
import torch
from jaxtyping import Int
from torch import Tensor, nn

from embed.batches import Batch, full_graph_batches, sampled_batches, step_size
from embed.config import EmbedConfig, SelfSupervisedWeights
from embed.distributed import ALONE, World
from embed.features import Features
from embed.graph import reverse_types, to_hetero, weigh_messages, without_leaves
from embed.infer import Embeddings, embed_graph
from embed.inputs import Views, interactions_of, make_inputs, principal_axes
from embed.model import Fused, Inputs, Network, Shape
from embed.objectives import link_loss
from embed.ops import seed_everything
from embed.selfsupervised import Decoder, self_supervised_losses
from embed.snapshot import Placement, Snapshot, target_edges
from embed.transfer import Learned, transfer
from kg.interactions import Catalogue, Interactions
from kg.schema import EdgeType

Progress = Callable[[int, int], None]


@dataclass
class History:
    """What training did, epoch by epoch."""

    losses: list[float] = field(default_factory=list)
    metrics: list[float] = field(default_factory=list)
    """The validation figure after each epoch; empty without a validation callable."""
    best_epoch: int = 0
    """Epochs trained when the kept weights were reached; counts from 1."""
    seconds: float = 0.0
    stopped: str = "epochs"
    """Why it ended: `epochs`, `patience` or `seconds`."""
    processes: int = 1
    """How many shared the steps out; a step predicts up to so many times `batch_size` edges."""
    pretraining: list[float] = field(default_factory=list)
    """Losses of the epochs before, without link prediction; `seconds` counts them."""


@dataclass
class Trained:
    """A fitted network with what it takes to apply it to a snapshot."""

    network: Network
    config: EmbedConfig
    features: Features
    id_keys: dict[str, list[str]]
    """External ids of the nodes that have a vector of their own, by label, in row order."""
    history: History
    snapshot: Snapshot
    views: Views
    catalogue: Catalogue

    def embed(self, interactions: Interactions | None) -> Embeddings:
        """Vectors of all users and items when these are the interactions to pass messages along."""
        return self.embed_on(*self.prepare(interactions))

    def prepare(self, interactions: Interactions | None) -> tuple[dgl.DGLHeteroGraph, Inputs]:
        """The graph that the network sees and what its nodes bring with them."""
        return self.seen(interactions)[:2]

    def seen(
        self, interactions: Interactions | None
    ) -> tuple[dgl.DGLHeteroGraph, Inputs, dict[str, Int[Tensor, " n"]]]:
        """As `prepare`, and which of the snapshot's nodes these are, by label."""
        graph = to_hetero(self.snapshot, self.catalogue, interactions, self.config.graph.max_relations)
        shape, device, chosen = self.network.shape, self.network.device, self.config.graph
        if chosen.edge_weights or chosen.half_life is not None:
            weigh_messages(graph, shape.interactions, chosen.edge_weights, chosen.half_life)
        inputs = make_inputs(self.snapshot, self.views, self.features, self.id_keys, graph, shape, device)
        graph, rows = without_leaves(graph, bare_labels(self.views, self.catalogue, shape.features))
        return graph, inputs.take(rows), rows

    def embed_on(self, graph: dgl.DGLHeteroGraph, inputs: Inputs) -> Embeddings:
        """The same on what `prepare` made."""
        whole = graph.num_edges() <= self.config.graph.full_graph_edges
        placement = Placement.of(self.snapshot, self.catalogue)
        return embed_graph(self.network, graph, inputs, placement, None if whole else self.config.batch_size)


def fit(  # noqa: PLR0913 - the keywords are the boundary's own
    snapshot: Snapshot,
    views: Views,
    catalogue: Catalogue,
    train: Interactions,
    config: EmbedConfig,
    *,
    validate: Callable[[Embeddings], float] | None = None,
    epochs: int | None = None,
    pretrained: Learned | None = None,
    seed: int | None = None,
    device: str | None = None,
    progress: Progress | None = None,
    world: World = ALONE,
) -> Trained:
    """Learn from the positives of `train`, one model over all domains.

    With `validate` (higher is better) training stops early and keeps the best weights; without it, or with `epochs`,
    it runs that many epochs. A refit gives `epochs=trained.history.best_epoch` and no `validate`. The arguments
    `seed` and `device` stand for the configuration's where given. `progress` is told (epochs done, at most). With
    `pretrained`, a model of another graph, training starts from what `embed.transfer` can carry over.

    In a `world` of several processes (`embed.distributed.join`) the first calls this while the others `serve`. Each
    takes up to `batch_size` target edges a step: a step is one on `batch_size` times as many edges as there are
    processes. The first alone validates, reports progress and watches the time; all end with equal weights.
    """
    world.invite(fit, snapshot, views, catalogue, train, config, epochs=epochs, seed=seed, device=device)
    seed = config.seed if seed is None else seed
    seed_everything(seed)
    where = world.device(config.device if device is None else device)
    graph = to_hetero(snapshot, catalogue, train, config.graph.max_relations)
    features = Features.fit(snapshot)
    shape, id_keys = layout(snapshot, views, catalogue, graph, features, config)
    network = Network(shape, config)
    network.start_from(principal_axes(views, config.graph.dim), interactions_of(graph, shape))
    history = History(processes=world.size)
    trained = Trained(network.to(where), config, features, id_keys, history, snapshot, views, catalogue)
    if pretrained:
        transfer(trained, pretrained)
    world.begin(network, seed)
    _Loop(trained, train, epochs or config.epochs, validate, world).run(progress)
    return trained


def bare_labels(views: Views, catalogue: Catalogue, features: Mapping[str, int]) -> set[str]:
    """Labels of entities that bring nothing with them; `features` are widths of property matrices by label."""
    described = {label for by_label in views.by_view.values() for label in by_label}
    ends = {catalogue.user_label, *catalogue.items}
    return {label for label, width in features.items() if not width} - described - ends


def layout(
    snapshot: Snapshot,
    views: Views,
    catalogue: Catalogue,
    graph: dgl.DGLHeteroGraph,
    features: Features,
    config: EmbedConfig,
) -> tuple[Shape, dict[str, list[str]]]:
    """The network's shape for this snapshot, and whose vectors its id tables hold."""
    reverse = reverse_types(graph)
    forward = {(e.source, e.type, e.target) for e in target_edges(snapshot, catalogue).values()}
    interactions = [r for r in graph.canonical_etypes if r in forward or reverse[r] in forward]
    widths = {label: features.width(label) for label in graph.ntypes}
    id_keys: dict[str, list[str]] = {}
    if config.graph.ids:
        _, rows = without_leaves(graph, bare_labels(views, catalogue, widths))
        # A leaf's own vector would be one more of the node that it hangs on.
        id_keys = {label: snapshot.keys(label).take(pa.array(kept.numpy())).to_pylist() for label, kept in rows.items()}
    shape = Shape(
        user=catalogue.user_label,
        items=list(catalogue.items),
        labels=list(graph.ntypes),
        relations=list(graph.canonical_etypes),
        interactions=interactions,
        features=widths,
        views=views.widths,
        ids={label: len(keys) for label, keys in id_keys.items()},
    )
    return shape, id_keys


class _Loop:
    """The training loop of one fit."""

    def __init__(
        self,
        trained: Trained,
        train: Interactions,
        epochs: int,
        validate: Callable[[Embeddings], float] | None,
        world: World,
    ) -> None:
        self.trained, self.epochs, self.validate, self.world = trained, epochs, validate, world
        self.validated = world.agreed(validate is not None)
        self.config, self.network = trained.config, trained.network
        self.graph, self.inputs = trained.prepare(train)
        self.optimiser = _optimiser(self.network, self.config)
        self.decoder = self._decoder()
        self.learners = nn.ModuleList([self.network, self.decoder] if self.decoder else [self.network])
        self.targets: dict[str, EdgeType] = target_edges(trained.snapshot, trained.catalogue)

    def run(self, progress: Progress | None) -> None:
        history, started = self.trained.history, time.monotonic()
        best: dict[str, Tensor] | None = None
        self._pretrain(started, progress)
        before = len(history.pretraining)
        for epoch in range(1, self.epochs + 1):
            history.losses.append(self._epoch(self.config.objectives))
            if self.validated:
                history.metrics.append(self._figure())
                if history.metrics[-1] > max(history.metrics[:-1], default=-float("inf")):
                    best, history.best_epoch = copy.deepcopy(self.network.state_dict()), epoch
            if progress:
                progress(before + epoch, before + self.epochs)
            history.seconds = self.world.agreed(time.monotonic() - started)
            if self.validated and epoch - history.best_epoch >= self.config.patience:
                history.stopped = "patience"
                break
            if history.seconds > self.config.max_seconds:
                history.stopped = "seconds"
                break
        if best is not None:
            self.network.load_state_dict(best)
        else:
            history.best_epoch = len(history.losses)
        self.network.eval()

    def _figure(self) -> float:
        """The validation figure, found by the first process and heard by all."""
        found = self.validate(self.trained.embed_on(self.graph, self.inputs)) if self.validate else 0.0
        return self.world.agreed(found)

    def _pretrain(self, started: float, progress: Progress | None) -> None:
        """The epochs without link prediction, if any; they too end after `max_seconds`."""
        settings = self.config.pretraining
        if settings is None:
            return
        for epoch in range(1, settings.epochs + 1):
            self.trained.history.pretraining.append(self._epoch(settings))
            if progress:
                progress(epoch, settings.epochs + self.epochs)
            if self.world.agreed(time.monotonic() - started) > self.config.max_seconds:
                break

    def _decoder(self) -> Decoder | None:
        """What reconstruction needs beside the network; it learns with it and is not kept."""
        stages = (self.config.objectives, self.config.pretraining)
        if not any(weights.reconstruction for weights in stages if weights):
            return None
        decoder = Decoder(self.network.ends, self.network.dim, self.inputs)
        shared = {"params": list(decoder.parameters()), "lr": self.config.learning_rate * self.config.shared_rate}
        if shared["params"]:
            self.optimiser.add_param_group(shared)
        self.world.share(decoder)
        return decoder

    def _epoch(self, weights: SelfSupervisedWeights) -> float:
        self.network.train()
        total = edges = 0.0
        steps = self._shared_steps()
        for batch in self._batches():
            loss = self._loss(batch, weights)
            self.optimiser.zero_grad()
            loss.backward()
            size = sum(task.edges.shape[1] for task in batch.tasks)
            self.world.average(self.learners, size)
            self.optimiser.step()
            steps -= 1
            total += float(loss.detach()) * size
            edges += size
        for _ in range(steps):  # others have an edge more
            self.optimiser.zero_grad()
            self.world.average(self.learners, 0)
            self.optimiser.step()
        total, edges = self.world.summed(total, edges)
        return total / max(edges, 1.0)

    def _shared_steps(self) -> int:
        """Steps that all processes take in an epoch; 0 alone, where nobody waits."""
        etypes = [(edge.source, edge.type, label) for label, edge in self.targets.items()]
        edges = sum(self.graph.num_edges(etype) for etype in etypes)
        step = step_size(edges, self.config, self.world) * self.world.size
        return math.ceil(edges / step) if self.world.size > 1 else 0

    def _batches(self) -> Iterator[Batch]:
        whole = self.graph.num_edges() <= self.config.graph.full_graph_edges
        make = full_graph_batches if whole else sampled_batches
        return make(self.graph, self.inputs, self.trained.catalogue, self.targets, self.network, self.world)

    def _loss(self, batch: Batch, weights: SelfSupervisedWeights) -> Tensor:
        """The sum of all objectives that `weights` has; none that is 0 passes messages or draws anything."""
        fused = {}
        if weights.predicts or weights.alignment:
            fused = self.network(batch.hops, batch.inputs, batch.targets)
        losses = self._link_losses(batch, fused) if weights.predicts else []
        settings = self.config.self_supervision
        losses += self_supervised_losses(self.network, self.decoder, batch, fused, weights, settings)
        return torch.stack(losses).sum()

    def _link_losses(self, batch: Batch, fused: dict[str, Fused]) -> list[Tensor]:
        users, items = fused[self.network.shape.user], Fused.cat([fused[label] for label in batch.labels])
        total = sum(task.edges.shape[1] for task in batch.tasks)
        losses = []
        for task in batch.tasks:
            edges, pool = task.edges.to(users.z.device), task.pool.to(users.z.device)
            losses.append(link_loss(users, items, edges, pool, self.config) * edges.shape[1] / total)
        return losses


def _optimiser(network: Network, config: EmbedConfig) -> torch.optim.Optimizer:
    """Adam; maps that all nodes share take smaller steps than vectors of one node, which few edges reach."""
    own = {id(parameter) for parameter in network.ids.parameters()}
    shared = [parameter for parameter in network.parameters() if id(parameter) not in own]
    groups = [
        {"params": list(network.ids.parameters()), "lr": config.learning_rate},
        {"params": shared, "lr": config.learning_rate * config.shared_rate},
    ]
    return torch.optim.Adam([group for group in groups if group["params"]], weight_decay=config.weight_decay)
