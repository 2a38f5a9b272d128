import torch

from embed.fusion import AttentionFusion, masked_softmax
from tests.contracts import FusionContract


class TestAttention(FusionContract):
    kind = "attention"


class TestConcat(FusionContract):
    kind = "concat"


class TestMean(FusionContract):
    kind = "mean"


def test_masked_softmax_by_hand() -> None:
    logits = torch.log(torch.tensor([[1.0, 3.0, 6.0]] * 3))
    mask = torch.tensor([[True, True, True], [True, True, False], [False, False, False]])
    expected = torch.tensor([[0.1, 0.3, 0.6], [0.25, 0.75, 0.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(masked_softmax(logits, mask), expected)


def test_untrained_attention_is_the_plain_mean() -> None:
    views = torch.tensor([[[3.0, 0.0], [0.0, 5.0]]])
    z = AttentionFusion(2, 2)(views, torch.ones(1, 2, dtype=torch.bool))
    torch.testing.assert_close(z, torch.full((1, 2), 0.5**0.5))
