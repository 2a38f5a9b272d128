import torch
import torch.nn.functional as F

from embed.ops import l2_normalise


def test_rows_of_length_one_whose_gradients_a_row_of_zeros_passes_as_they_are() -> None:
    rows = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    rows[2] = 0
    x, y = rows.clone().requires_grad_(), rows.clone().requires_grad_()
    weights = torch.arange(15.0).view(5, 3)
    # As the network does: a view, its fusion, and the loss each normalise.
    found, wanted = l2_normalise(l2_normalise(l2_normalise(x))), F.normalize(y)
    torch.testing.assert_close(found, wanted)
    (found * weights).sum().backward()
    (wanted * weights).sum().backward()
    assert x.grad is not None and y.grad is not None
    some = torch.tensor([0, 1, 3, 4])
    torch.testing.assert_close(x.grad[some], y.grad[some])
    assert x.grad[2].tolist() == [6.0, 7.0, 8.0]
