"""Encoded views and the tensors that nodes enter the network with."""

from dataclasses import dataclass, field

import dgl
import numpy as np
import torch
from torch import Tensor

from embed.features import Features
from embed.model import Inputs, Shape
from embed.ops import l2_normalise
from embed.snapshot import Snapshot


@dataclass(frozen=True)
class View:
    """An encoder's vectors for the nodes of one label."""

    vectors: np.ndarray
    """float32[nodes, width]; rows of length 1, zeros where masked"""
    mask: np.ndarray
    """bool[nodes]: whether the node has the view"""


@dataclass(frozen=True)
class Views:
    """All encoded views of a snapshot: by view (`v` from text, `c` from images), then label."""

    by_view: dict[str, dict[str, View]] = field(default_factory=dict)

    @property
    def widths(self) -> dict[str, int]:
        """Width of the encoder's vectors by view; views that no node has are left out."""
        return {
            view: next(iter(labels.values())).vectors.shape[1]
            for view, labels in self.by_view.items()
            if any(found.mask.any() for found in labels.values())
        }


def make_inputs(
    snapshot: Snapshot,
    views: Views,
    features: Features,
    id_keys: dict[str, list[str]],
    graph: dgl.DGLHeteroGraph,
    shape: Shape,
    device: torch.device,
) -> Inputs:
    """Everything by node of the snapshot; nodes that training has not seen have id row -1."""
    found = {view: views.by_view.get(view, {}) for view in shape.views}
    return Inputs(
        {label: features.encode(snapshot, label).to(device) for label in shape.labels},
        {
            view: {label: torch.from_numpy(v.vectors).to(device) for label, v in by.items()}
            for view, by in found.items()
        },
        {view: {label: torch.from_numpy(v.mask).to(device) for label, v in by.items()} for view, by in found.items()},
        {label: _id_rows(snapshot, label, keys).to(device) for label, keys in id_keys.items()},
        {label: scale.to(device) for label, scale in _scales(graph, shape).items()},
    )


def _id_rows(snapshot: Snapshot, label: str, keys: list[str]) -> Tensor:
    row = {key: i for i, key in enumerate(keys)}
    return torch.tensor([row.get(key, -1) for key in snapshot.keys(label).to_pylist()], dtype=torch.int64)


def _scales(graph: dgl.DGLHeteroGraph, shape: Shape) -> dict[str, Tensor]:
    """1/sqrt(degree) over interactions, 1 for a node without."""
    return {label: degree.clamp(min=1).rsqrt() for label, degree in interactions_of(graph, shape).items()}


def interactions_of(graph: dgl.DGLHeteroGraph, shape: Shape) -> dict[str, Tensor]:
    """How many interactions each node has, by label: float32[nodes]."""
    degrees = {label: torch.zeros(graph.num_nodes(label)) for label in shape.labels}
    for relation in shape.interactions:
        degrees[relation[2]] += graph.in_degrees(etype=relation)
    return degrees


def principal_axes(views: Views, dim: int) -> dict[str, tuple[Tensor, Tensor]]:
    """By view the mean and the first `dim` principal axes of its vectors: where projections start from."""
    axes = {}
    for view in views.widths:
        rows = torch.from_numpy(np.concatenate([v.vectors[v.mask] for v in views.by_view[view].values()]))
        mean = rows.mean(0)
        centred = rows - mean
        _, basis = torch.linalg.eigh(centred.T @ centred / max(len(rows), 1))
        axes[view] = mean, l2_normalise(basis.flip(1)[:, :dim].T)
    return axes
