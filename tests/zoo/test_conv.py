"""The CPU route of a 3D convolution gives what PyTorch's own gives."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from zoo.layers.conv import Conv3d


@pytest.mark.parametrize("kernel", [(1, 1, 1), (3, 3, 3), (1, 3, 3), (4, 3, 1)])
@pytest.mark.parametrize("stride", [(1, 1, 1), (2, 1, 1), (2, 2, 2)])
@pytest.mark.parametrize("padding", [(0, 0, 0), (1, 1, 1)])
def test_values_and_gradients_agree(
    kernel: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    ours = Conv3d(3, 5, kernel, stride, padding)
    theirs = nn.Conv3d(3, 5, kernel, stride, padding)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, 7, 8, 9)
    one, other = ours(x), theirs(x)
    torch.testing.assert_close(one, other)
    one.square().sum().backward()
    other.square().sum().backward()
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad, rtol=1e-4, atol=1e-4)
