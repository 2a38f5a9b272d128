"""Training batches. The edges that a batch predicts, and their reverses, are hidden from its message passing.

Negatives are drawn among items that somebody has: one that nobody has yet would be a negative whenever it is drawn, and
what is new would learn from that that nobody wants it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import dgl
import numpy as np
import torch
from torch import Tensor

from embed.config import EmbedConfig
from embed.distributed import ALONE, World
from embed.graph import Canonical, reverse_types
from embed.infer import relations
from embed.layers import Hop, Relation
from embed.model import Inputs, Network
from embed.objectives import sample_negatives
from kg.interactions import Catalogue
from kg.schema import EdgeType


@dataclass
class Task:
    """What a batch predicts in one domain."""

    edges: Tensor
    """int64[2, edges]: rows of users, and of items"""
    pool: Tensor
    """int64[pool]: rows of the negatives"""


@dataclass
class Batch:
    """What one step needs. Items are numbered through all of `labels` in that order."""

    hops: list[Hop]
    inputs: Inputs
    targets: list[dict[str, int]]
    labels: list[str]
    tasks: list[Task]


def _by_domain(catalogue: Catalogue, edges: dict[str, Tensor], pools: dict[str, Tensor]) -> list[Task]:
    """Gather edges and pools by label into one task a domain."""
    tasks = []
    for domain in sorted(set(catalogue.domains.values())):
        labels = [label for label in edges if catalogue.domains[label] == domain]
        if labels and sum(edges[label].shape[1] for label in labels):
            together = torch.cat([edges[label] for label in labels], dim=1)
            tasks.append(Task(together, torch.cat([pools[label] for label in labels])))
    return tasks


def _starts(labels: list[str], counts: dict[str, int]) -> dict[str, int]:
    """The first row of each label when their nodes are numbered through."""
    firsts = np.cumsum([0, *(counts[label] for label in labels)]).tolist()
    return dict(zip(labels, firsts, strict=False))


def _generators(world: World) -> tuple[torch.Generator, torch.Generator]:
    """One that shuffles, the same in all processes, and one that draws negatives, each process's own."""
    own = int(torch.randint(2**62, ()).item())
    shuffling = torch.Generator().manual_seed(world.agreed(own))
    return shuffling, torch.Generator().manual_seed(own) if world.rank else shuffling


def step_size(edges: int, config: EmbedConfig, world: World = ALONE) -> int:
    """Target edges by step and process: `batch_size`, but in all no larger share of them than `hidden`."""
    return max(1, min(config.batch_size, round(config.hidden * edges / world.size)))


def full_graph_batches(
    graph: dgl.DGLHeteroGraph,
    inputs: Inputs,
    catalogue: Catalogue,
    targets: dict[str, EdgeType],
    network: Network,
    world: World = ALONE,
) -> Iterator[Batch]:
    """Every target edge once, `step_size` at a time; messages pass over all other edges of the graph.

    Of several processes each predicts its share of the edges and hides what any of them predicts in the same step. The
    last step may leave some of them without a batch.
    """
    (shuffling, generator), device, back = _generators(world), inputs.device, reverse_types(graph)
    everything = {label: graph.num_nodes(label) for label in graph.ntypes}
    labels = [label for label in targets if everything[label]]
    starts = _starts(labels, everything)
    etypes = {label: (targets[label].source, targets[label].type, label) for label in labels}
    ends = {label: torch.stack(graph.edges(etype=etypes[label])) for label in labels}
    sizes = [ends[label].shape[1] for label in labels]
    order = torch.randperm(sum(sizes), generator=shuffling)
    owner = torch.repeat_interleave(torch.arange(len(labels)), torch.tensor(sizes))
    within = torch.cat([torch.arange(size) for size in sizes])
    fixed = relations(graph, device)
    warm = {label: torch.unique(ends[label][1]) for label in labels}
    config, hops = network.config, range(network.config.graph.hops)
    counts = [{label: everything[label] for label in network.labels_after(hop)} for hop in hops]
    counts[-1] = {label: everything[label] for label in [catalogue.user_label, *labels]}
    for hidden in order.split(step_size(len(order), config, world) * world.size):
        chosen = hidden[world.rank :: world.size]
        if not len(chosen):
            continue
        hop, edges, pools = dict(fixed), {}, {}
        for i, label in enumerate(labels):
            gone = within[hidden[owner[hidden] == i]].to(device)
            for etype in (etypes[label], back[etypes[label]]):
                hop[etype] = Relation(fixed[etype].edges.without(gone), fixed[etype].src, fixed[etype].dst)
            rows = within[chosen[owner[chosen] == i]]
            edges[label] = ends[label][:, rows] + torch.tensor([[0], [starts[label]]])
            pools[label] = sample_negatives(warm[label], config.negatives, generator) + starts[label]
        yield Batch([hop for _ in hops], inputs, counts, labels, _by_domain(catalogue, edges, pools))


class _PoolSampler:
    """A shared pool of negatives by target type, handed to DGL as negative edges so that it computes their nodes."""

    def __init__(self, warm: dict[Canonical, Tensor], count: int, generator: torch.Generator) -> None:
        self.warm, self.count, self.generator = warm, count, generator

    def __call__(
        self, graph: dgl.DGLHeteroGraph, eids: dict[Canonical, Tensor]
    ) -> dict[Canonical, tuple[Tensor, Tensor]]:
        pools = {}
        for etype, ids in eids.items():
            pool = sample_negatives(self.warm[etype], self.count, self.generator)
            user = graph.find_edges(ids[:1], etype=etype)[0]
            pools[etype] = user.expand(len(pool)), pool
        return pools


def sampled_batches(
    graph: dgl.DGLHeteroGraph,
    inputs: Inputs,
    catalogue: Catalogue,
    targets: dict[str, EdgeType],
    network: Network,
    world: World = ALONE,
) -> Iterator[Batch]:
    """Every target edge once, `step_size` at a time; messages pass over `fanout` sampled neighbours by relation.

    Of several processes each predicts its share of the edges and hides what it predicts itself. One of them may have a
    batch less than another.
    """
    (shuffling, generator), device, config = _generators(world), inputs.device, network.config
    etypes = {(edge.source, edge.type, label): label for label, edge in targets.items()}
    seeds = {etype: torch.arange(graph.num_edges(etype)) for etype in etypes if graph.num_edges(etype)}
    warm = {etype: torch.unique(graph.edges(etype=etype)[1]) for etype in seeds}
    size = step_size(sum(map(len, seeds.values())), config, world)
    if world.size > 1 and not (seeds := _share(seeds, world, shuffling)):
        return
    sampler = dgl.dataloading.as_edge_prediction_sampler(
        _neighbour_sampler(graph, network),
        exclude="reverse_types",
        reverse_etypes=reverse_types(graph),
        negative_sampler=_PoolSampler(warm, config.negatives, generator),
    )
    loader = dgl.dataloading.DataLoader(graph, seeds, sampler, batch_size=size, shuffle=True)
    for rows, pairs, negatives, blocks in loader:
        counts = [
            {label: block.num_dst_nodes(label) for label in network.labels_after(i)} for i, block in enumerate(blocks)
        ]
        labels = [label for label in targets if counts[-1][label]]
        counts[-1] = {label: counts[-1][label] for label in [catalogue.user_label, *labels]}
        starts = _starts(labels, counts[-1])
        edges, pools = {}, {}
        for etype, label in etypes.items():
            if label in starts and pairs.num_edges(etype):
                edges[label] = torch.stack(pairs.edges(etype=etype)) + torch.tensor([[0], [starts[label]]])
                pools[label] = negatives.edges(etype=etype)[1] + starts[label]
        tasks = _by_domain(catalogue, edges, pools)
        yield Batch([relations(block, device) for block in blocks], inputs.take(rows), counts, labels, tasks)


def _share(seeds: dict[Canonical, Tensor], world: World, shuffling: torch.Generator) -> dict[Canonical, Tensor]:
    """A process's part of the numbers of edges by type; types without one are left out."""
    sizes = [len(ids) for ids in seeds.values()]
    chosen = torch.randperm(sum(sizes), generator=shuffling)[world.rank :: world.size]
    parts, start = {}, 0
    for etype, size in zip(seeds, sizes, strict=True):
        mine = seeds[etype][chosen[(chosen >= start) & (chosen < start + size)] - start]
        start += size
        if len(mine):
            parts[etype] = mine
    return parts


def _neighbour_sampler(graph: dgl.DGLHeteroGraph, network: Network) -> dgl.dataloading.NeighborSampler:
    """Samples by hop along the relations that the hop goes, and no others."""
    fanouts = []
    for hop in range(network.config.graph.hops):
        along = set(network.relations_of(hop))
        fanouts.append(
            {etype: network.config.graph.fanout if etype in along else 0 for etype in graph.canonical_etypes}
        )
    # DGL 1.1.3's fused sampler loses target nodes of a label that no sampled edge starts from.
    return dgl.dataloading.NeighborSampler(fanouts, fused=False)
