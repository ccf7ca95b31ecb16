"""A 3D convolution that is fast on CPUs too.

PyTorch's CPU kernels for `conv3d` are several times slower than those for `conv2d`. On a CPU the
frames under the kernel are therefore laid side by side as channels, and one 2D convolution with the
same weights does the work; elsewhere this is plain `nn.Conv3d`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Conv3d"]


class Conv3d(nn.Conv3d):
    """`nn.Conv3d` with zero padding, without dilation and groups."""

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return super().forward(x)
        front, rows, columns = self.padding
        taps, stride = self.kernel_size[0], self.stride[0]
        by_frame = x.transpose(1, 2)
        if front:
            by_frame = functional.pad(by_frame, (0, 0, 0, 0, 0, 0, front, front))
        batch, frames = by_frame.shape[:2]
        out = (frames - taps) // stride + 1
        last = (out - 1) * stride + 1
        beside = [by_frame[:, tap : tap + last : stride] for tap in range(taps)]
        stacked = torch.cat(beside, dim=2).flatten(0, 1)
        weight = self.weight.transpose(1, 2).flatten(1, 2)
        flat = functional.conv2d(stacked, weight, self.bias, self.stride[1:], (rows, columns))
        return flat.unflatten(0, (batch, out)).transpose(1, 2)
