"""A whole clip as one vector, by layers whose mixers are exchangeable.

State spaces cost as much as the clip is long, attention as much as its square (Video Mamba Suite);
the encoder is the same in both cases.

    ClipEncoder(dim=64, heads=4, depth=4, mixers=("ssm",))(tokens)    # (B, 64), of length one
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from zoo.layers.attention import grid_positions
from zoo.layers.backbone import Backbone, BackboneConfig, View
from zoo.reduction.base import flat, grid_of, reduces

__all__ = ["ClipEncoder"]


@reduces("video-mamba-suite")
class ClipEncoder(nn.Module):
    """Tokens (B, T, N, D) to vectors (B, D)."""

    def __init__(self, dim: int, heads: int, depth: int, mixers: tuple[str, ...] = ("ssm",)):
        super().__init__()
        self.layers = Backbone(BackboneConfig(dim, depth, heads, mixers=mixers))

    def forward(self, tokens: Tensor) -> Tensor:
        grid = grid_of(tokens)
        x = self.layers(flat(tokens), View(grid_positions(grid, tokens.device), grid))
        return functional.normalize(x.mean(1), dim=-1)
