"""Start a network from one that was trained on another graph, with other labels and nothing but languages in common.

What a parameter is for decides where it goes: users stand for users, items for items of whatever label, interactions
for interactions, each view for itself. What belongs to single properties or nodes stays behind, but for nodes of one
label and key, such as users of both.
"""

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor, nn

from embed.fusion import AttentionFusion, ConcatFusion, MeanFusion
from embed.layers import Canonical, slot
from embed.model import Network
from kg.errors import ConfigError


class Learned(Protocol):
    """What a network learned, without a snapshot to apply it to: `Trained` and `Checkpoint` are such."""

    network: Network
    id_keys: dict[str, list[str]]
    """External ids of the nodes that have a vector of their own, by label, in row order."""


@torch.no_grad()
def transfer(target: Learned, source: Learned) -> int:
    """Copy into `target` what `source` learned that has a meaning there; how many numbers were copied.

    `ConfigError` unless both are of one width. A view that only one of them has, or by encoders of other widths, and
    relations that only one of them has, are left as they are.
    """
    ours, theirs = target.network, source.network
    if ours.dim != theirs.dim:
        raise ConfigError(f"embed.graph.dim: {ours.dim} cannot start from a model of width {theirs.dim}")
    copied = 0
    for mine, other in _modules(ours, theirs):
        if mine.shape == other.shape:
            mine.copy_(other)
            copied += mine.numel()
    return copied + _copy_own_vectors(target, source)


def _modules(ours: Network, theirs: Network) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs of parameters that mean the same."""
    label_of = _labels(ours, theirs)
    relation_of = _relations(ours, theirs, label_of)
    for view in ours.shape.views:
        if view in theirs.shape.views:
            for name in ("from_view", "project"):
                yield from _parameters(getattr(ours, name)[view], getattr(theirs, name)[view])
    for label, other in label_of.items():
        yield ours.base[slot(label)], theirs.base[slot(other)]
        if slot(label) in ours.mix and slot(other) in theirs.mix:
            yield from _parameters(ours.mix[slot(label)], theirs.mix[slot(other)])
    for mine, other_layer in zip([*ours.attributes, *ours.layers], [*theirs.attributes, *theirs.layers], strict=False):
        for relation, other_relation in relation_of.items():
            if (name := slot(*relation)) in mine.convs and (twin := slot(*other_relation)) in other_layer.convs:
                yield from _parameters(mine.convs[name], other_layer.convs[twin])
        for part in ("own", "norm"):
            for label, other in label_of.items():
                if hasattr(mine, part) and slot(label) in getattr(mine, part) and hasattr(other_layer, part):
                    yield from _parameters(getattr(mine, part)[slot(label)], getattr(other_layer, part)[slot(other)])
    for side in ("user", "item"):
        yield from _fusions(ours, theirs, side)


def _labels(ours: Network, theirs: Network) -> dict[str, str]:
    """By label of ours the one of theirs in its place."""
    found = {label: label for label in ours.shape.labels if label in theirs.shape.labels}
    found[ours.shape.user] = theirs.shape.user
    return found | {item: found.get(item, theirs.shape.items[0]) for item in ours.shape.items}


def _relations(ours: Network, theirs: Network, label_of: dict[str, str]) -> dict[Canonical, Canonical]:
    """By relation of ours the one of theirs in its place: of one name, or the interaction between the same sides."""
    between = {(source, target): (source, type_, target) for source, type_, target in theirs.shape.interactions}
    found: dict[Canonical, Canonical] = {}
    for relation in ours.shape.relations:
        ends = label_of.get(relation[0]), label_of.get(relation[2])
        if relation in ours.shape.interactions and ends in between:
            found[relation] = between[ends]
        elif (twin := (ends[0], relation[1], ends[1])) in theirs.shape.relations:
            found[relation] = twin
    return found


def _fusions(ours: Network, theirs: Network, side: str) -> Iterator[tuple[Tensor, Tensor]]:
    mine, other = ours.fusion[side], theirs.fusion[side]
    places = [(i, theirs.views.index(view)) for i, view in enumerate(ours.views) if view in theirs.views]
    if isinstance(mine, AttentionFusion) and isinstance(other, AttentionFusion):
        yield from _parameters(mine.linear, other.linear)
        yield mine.context, other.context
    if isinstance(mine, AttentionFusion | MeanFusion) and type(mine) is type(other):
        yield from ((mine.bias[i], other.bias[j]) for i, j in places)
    if isinstance(mine, ConcatFusion) and isinstance(other, ConcatFusion):
        yield mine.linear.bias, other.linear.bias
        for i, j in places:
            yield mine.missing[i], other.missing[j]
            dim = ours.dim
            yield mine.linear.weight[:, i * dim : (i + 1) * dim], other.linear.weight[:, j * dim : (j + 1) * dim]


def _copy_own_vectors(target: Learned, source: Learned) -> int:
    """The vectors of nodes that both have, by label and key; how many numbers."""
    copied = 0
    for label, keys in target.id_keys.items():
        row = {key: i for i, key in enumerate(source.id_keys.get(label, []))}
        shared = [(i, row[key]) for i, key in enumerate(keys) if key in row]
        if shared:
            mine, theirs = (torch.tensor(rows) for rows in zip(*shared, strict=True))
            vectors = source.network.ids[slot(label)][theirs]
            target.network.ids[slot(label)][mine] = vectors.to(target.network.device)
            copied += len(shared) * target.network.dim
    return copied


def _parameters(ours: nn.Module, theirs: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
    other = dict(theirs.named_parameters())
    for name, mine in ours.named_parameters():
        if name in other:
            yield mine, other[name]
