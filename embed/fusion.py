"""From views to one vector. A missing view is masked: it has no say, whatever its row holds.

Each view is brought to length 1 first, so that none drowns the others.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from embed.ops import l2_normalise

Fusion = Literal["attention", "concat", "mean"]


class AttentionFusion(nn.Module):
    r"""Attention over the views of a node, after Yang et al. (2016), eq. 8 to 10, with a bias by view.

    .. math:: z_i = \sum_v \operatorname{softmax}_v(u^\top \tanh(W x_{iv} + b) + c_v) \, x_{iv}
    """

    def __init__(self, views: int, dim: int) -> None:
        """`u` starts at zero: training starts from the plain mean."""
        super().__init__()
        self.linear = nn.Linear(dim, dim)
        self.context = nn.Parameter(torch.zeros(dim))
        self.bias = nn.Parameter(torch.zeros(views))

    def weights(self, views: Float[Tensor, "nodes views d"], mask: Bool[Tensor, "nodes views"]) -> Tensor:
        """float[nodes, views]: what each view counts for; rows sum to 1, or to 0 where all are missing."""
        logits = torch.tanh(self.linear(l2_normalise(views))) @ self.context + self.bias
        return masked_softmax(logits, mask)

    def forward(
        self, views: Float[Tensor, "nodes views d"], mask: Bool[Tensor, "nodes views"]
    ) -> Float[Tensor, "nodes d"]:
        """Length 1; zeros where all views are missing."""
        return l2_normalise(torch.einsum("nv,nvd->nd", self.weights(views, mask), l2_normalise(present(views, mask))))


class MeanFusion(nn.Module):
    r"""Mean of the present views with one learned weight a view.

    .. math:: z_i = \sum_v \operatorname{softmax}_v(c_v) \, x_{iv}
    """

    def __init__(self, views: int, dim: int) -> None:
        """All weights start equal; `dim` is taken for the sake of one signature."""
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(views))

    def forward(
        self, views: Float[Tensor, "nodes views d"], mask: Bool[Tensor, "nodes views"]
    ) -> Float[Tensor, "nodes d"]:
        """Length 1; zeros where all views are missing."""
        weights = masked_softmax(self.bias.expand(mask.shape), mask)
        return l2_normalise(torch.einsum("nv,nvd->nd", weights, l2_normalise(present(views, mask))))


class ConcatFusion(nn.Module):
    r"""A linear map of all views side by side; in a missing view's place stands a learned vector.

    .. math:: z_i = W [x_{i1}, …, x_{iV}] + b
    """

    def __init__(self, views: int, dim: int) -> None:
        """Starts as the plain mean of the views."""
        super().__init__()
        self.missing = nn.Parameter(torch.zeros(views, dim))
        self.linear = nn.Linear(views * dim, dim)
        with torch.no_grad():
            self.linear.weight.copy_(torch.eye(dim).repeat(1, views) / views)
            self.linear.bias.zero_()

    def forward(
        self, views: Float[Tensor, "nodes views d"], mask: Bool[Tensor, "nodes views"]
    ) -> Float[Tensor, "nodes d"]:
        """Length 1; zeros where all views are missing."""
        filled = torch.where(mask[..., None], l2_normalise(present(views, mask)), self.missing)
        return l2_normalise(self.linear(filled.flatten(1)) * mask.any(1, keepdim=True))


def present(views: Float[Tensor, "nodes views d"], mask: Bool[Tensor, "nodes views"]) -> Tensor:
    """Zeros where masked, even over NaN."""
    return torch.where(mask[..., None], views, torch.zeros((), dtype=views.dtype, device=views.device))


def masked_softmax(logits: Float[Tensor, "nodes views"], mask: Bool[Tensor, "nodes views"]) -> Tensor:
    """Softmax over the present views; a row without any is zero, and passes no NaN back."""
    logits = torch.where(mask, logits, torch.full_like(logits, -torch.inf))
    safe = torch.where(mask.any(1, keepdim=True), logits, torch.zeros_like(logits))
    return torch.softmax(safe, dim=1) * mask


def make_fusion(kind: Fusion, views: int, dim: int) -> nn.Module:
    """The fusion of that name."""
    return {"attention": AttentionFusion, "concat": ConcatFusion, "mean": MeanFusion}[kind](views, dim)
