"""Learned pooling: few tokens for each frame: TokenLearner."""

from __future__ import annotations

from torch import Tensor, nn

from zoo.layers.token_learner import TokenLearner
from zoo.reduction.base import Reduced, frames_of, grid_of, reduces

__all__ = ["LearnedPool"]


@reduces("tokenlearner")
class LearnedPool(nn.Module):
    """`tokens` for each frame, weighted means over its places by learned maps."""

    def __init__(self, dim: int, tokens: int = 8):
        super().__init__()
        self.learner = TokenLearner(dim, tokens)

    def forward(self, tokens: Tensor) -> Reduced:
        grid = frames_of(tokens)
        frames, places = grid_of(grid)
        left = self.learner(grid.flatten(0, 1)).unflatten(0, grid.shape[:2]).flatten(1, 2)
        share = frames * places / left.shape[1]
        return Reduced(left, left.new_full(left.shape[:2], share), None, (frames, places))
