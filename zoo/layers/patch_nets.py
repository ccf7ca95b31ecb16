"""Transformers between pixels and features of patches, for families that see a window at once.

encoder = PatchEncoder(dim=16, patch=(2, 8), width=64, heads=4, layers=("space", "time"))
encoder(x)                     # (B, 3, T, H, W) to (B, 16, T/2, H/8, W/8)
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from zoo.layers.attention import GridTransformer, Pattern
from zoo.layers.patches import FromPatches, ToPatches
from zoo.tokenizer import State

__all__ = ["PatchDecoder", "PatchEncoder"]


class PatchEncoder(nn.Module):
    """(B, 3, T, H, W) to (B, dim, T', h, w); `patch` is (frames, pixels)."""

    def __init__(
        self, dim: int, patch: tuple[int, int], width: int, heads: int, layers: Sequence[Pattern]
    ):
        super().__init__()
        self.stem = ToPatches(width, *patch)
        self.stack = GridTransformer(width, heads, tuple(layers))
        self.head = nn.Linear(width, dim)

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        return self.head(self.stack(self.stem(x))).movedim(-1, 1)


class PatchDecoder(nn.Module):
    """(B, dim, T', h, w) to (B, 3, T, H, W)."""

    def __init__(
        self, dim: int, patch: tuple[int, int], width: int, heads: int, layers: Sequence[Pattern]
    ):
        super().__init__()
        self.stem = nn.Linear(dim, width)
        self.stack = GridTransformer(width, heads, tuple(layers))
        self.head = FromPatches(width, *patch)

    def forward(self, z: Tensor, state: State | None = None) -> Tensor:
        return self.head(self.stack(self.stem(z.movedim(1, -1))))
