"""TokenLearner: many places pooled into few tokens by learned maps of attention."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["TokenLearner"]


class TokenLearner(nn.Module):
    """(B, N, width) to (B, tokens, width): every token is a weighted mean over the N places."""

    def __init__(self, width: int, tokens: int):
        super().__init__()
        self.maps = nn.Sequential(
            nn.RMSNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, tokens)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.maps(x).softmax(dim=1).transpose(1, 2) @ x
