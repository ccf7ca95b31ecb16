"""A sampler that learns where a clip is hard to guess: AdaMAE's, and a selector made of it.

Few tokens are shown to a network that guesses the others. Where it guesses badly there is more to
see, and the sampler learns to look there: its density rises with the error. What it has learned
selects the informative tokens of a clip (S5).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.errors import UsageError
from zoo.reduction.base import Reduced, flat, gather, kept_only, reduces

__all__ = ["AdaptiveMasking", "Sampler"]


@reduces("s5")
class Sampler(nn.Module):
    """A density over the tokens of a clip, and the share of them that it puts highest."""

    def __init__(self, dim: int, hidden: int = 64):
        super().__init__()
        self.score = nn.Sequential(
            nn.Linear(2 * dim, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU()
        )
        self.out = nn.Linear(hidden, 1)

    def density(self, tokens: Tensor) -> Tensor:
        """(B, N) summing to one. A token is judged by itself and by how it differs from its clip's
        mean at that place."""
        return self.logits(tokens).softmax(-1)

    def logits(self, tokens: Tensor) -> Tensor:
        usual = tokens.mean(1, keepdim=True).expand_as(tokens)
        seen = torch.cat([flat(tokens), flat(tokens - usual)], dim=-1)
        return self.out(self.score(seen)).squeeze(-1)

    def forward(self, tokens: Tensor, share: float) -> Reduced:
        """The `share` of tokens with the highest density, in order."""
        density = self.density(tokens)
        order = density.argsort(dim=1, descending=True, stable=True)
        return kept_only(tokens, order[:, : _many(share, density.shape[1])].sort(1).values)


@reduces("adamae")
class AdaptiveMasking(nn.Module):
    """A masked autoencoder with its sampler; `forward` gives the losses of both.

    Args:
        count: tokens of a clip.
        share: of the tokens is shown.
    """

    def __init__(self, dim: int, count: int, *, share: float = 0.05, hidden: int = 64):
        super().__init__()
        self.share = share
        self.sampler = Sampler(dim, hidden)
        self.places = nn.Parameter(torch.randn(count, hidden) * 0.02)
        self.read = nn.Sequential(nn.Linear(dim + hidden, hidden), nn.GELU())
        self.guess = nn.Sequential(nn.Linear(2 * hidden, hidden), nn.GELU(), nn.Linear(hidden, dim))

    def forward(self, tokens: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Mean error of the guesses, less the density where they were bad."""
        line = flat(tokens)
        density = self.sampler.density(tokens)
        count = _many(self.share, line.shape[1])
        shown = torch.multinomial(density.detach(), count, generator=generator)
        places = self.places.expand(len(line), -1, -1)
        known = torch.cat([gather(line, shown), gather(places, shown)], dim=-1)
        summary = self.read(known).mean(1, keepdim=True).expand_as(places)
        guessed = self.guess(torch.cat([places, summary], dim=-1))
        hidden = torch.ones_like(density).scatter(1, shown, 0)
        error = functional.mse_loss(guessed, line, reduction="none").mean(-1) * hidden
        reward = (density.clamp(min=1e-9).log() * error.detach()).sum(1) / hidden.sum(1)
        return (error.sum(1) / hidden.sum(1) - reward).mean()

    def sample(self, tokens: Tensor, generator: torch.Generator | None = None) -> Reduced:
        """Tokens drawn by the density."""
        density = self.sampler.density(tokens)
        count = _many(self.share, density.shape[1])
        return kept_only(
            tokens, torch.multinomial(density, count, generator=generator).sort(1).values
        )


def _many(share: float, tokens: int) -> int:
    if not 0 < share <= 1:
        raise UsageError(f"a share of {share:g}", allowed="more than 0, at most 1")
    return max(1, round(share * tokens))
