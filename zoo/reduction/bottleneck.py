"""Heavy work on a few tokens that exchange with the whole grid: LookupViT."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from zoo.layers.attention import Attention, TransformerLayer
from zoo.reduction.base import Reduced, counted, flat, grid_of, reduces

__all__ = ["LookupBlock", "LookupEncoder"]


class LookupBlock(nn.Module):
    """The few read the grid, work among each other, and tell the grid what they found."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.reads, self.tells = (Attention(dim, heads, context=dim) for _ in range(2))
        self.norms = nn.ModuleList(nn.RMSNorm(dim) for _ in range(4))
        self.works = TransformerLayer(dim, heads)
        self.light = nn.Sequential(nn.RMSNorm(dim), nn.Linear(dim, dim // 2), nn.GELU())
        self.back = nn.Linear(dim // 2, dim)

    def forward(self, few: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
        few = self.works(few + self.reads(self.norms[0](few), self.norms[1](grid)))
        grid = grid + self.tells(self.norms[2](grid), self.norms[3](few))
        return few, grid + self.back(self.light(grid))


@reduces("lookupvit")
class LookupEncoder(nn.Module):
    """Blocks over tokens of any number; how many are compressed to is asked anew at every call."""

    def __init__(self, dim: int, heads: int, depth: int):
        super().__init__()
        self.blocks = nn.ModuleList(LookupBlock(dim, heads) for _ in range(depth))

    def forward(self, tokens: Tensor, count: int) -> Reduced:
        return self.both(tokens, count)[0]

    def both(self, tokens: Tensor, count: int) -> tuple[Reduced, Tensor]:
        """The `count` compressed tokens, and the grid as they left it, shaped as it came."""
        grid = flat(tokens)
        counted(count, grid.shape[1])
        few = functional.adaptive_avg_pool1d(grid.transpose(1, 2), count).transpose(1, 2)
        for block in self.blocks:
            few, grid = block(few, grid)
        weights = few.new_full(few.shape[:2], grid.shape[1] / count)
        return Reduced(few, weights, None, grid_of(tokens)), grid.view(tokens.shape)
