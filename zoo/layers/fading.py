"""How ids are lost to noise, and what they may have been a moment earlier.

A share `lost` of the information is gone: 0 is the whole id, 1 is nothing of it. Of the noise a
share `masked` hides the id for good, the rest makes it any id of the codebook. The mask is the id
behind the last code. The laws of both kinds are those of D3PM (arXiv 2107.03006) and VQ-Diffusion
(arXiv 2111.14822), written for any pair of moments.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Fading", "divergence"]


@dataclass(frozen=True)
class Fading:
    """Noise of which a share `masked` hides ids, and the rest replaces them."""

    masked: float

    def whole(self, lost: Tensor) -> tuple[Tensor, Tensor]:
        """The chance that an id is no mask, and that one that is no mask was never replaced."""
        seen = 1 - self.masked * lost
        return seen, torch.where(seen > 0, (1 - lost) / seen.clamp(min=1e-12), 1.0)

    def faded(self, ids: Tensor, lost: Tensor, codes: int, dice: torch.Generator | None) -> Tensor:
        """Ids as they are when a share is lost."""
        seen, kept = self.whole(lost)
        device = ids.device
        rolls = torch.rand((2, *ids.shape), generator=dice, device=device)
        others = torch.randint(codes, ids.shape, generator=dice, device=device)
        return torch.where(rolls[0] >= seen, codes, torch.where(rolls[1] < kept, ids, others))

    def nothing(self, like: Tensor, codes: int, dice: torch.Generator) -> Tensor:
        """Ids of which nothing is left, from which drawing begins."""
        gone = torch.ones(like.shape, device=like.device)
        return self.faded(like, gone, codes, dice)

    def evidence(self, ids: Tensor, lost: Tensor, codes: int) -> Tensor:
        """Logarithms (..., codes) of how likely each whole id is to look as it does now."""
        _, kept = self.whole(lost.unsqueeze(-1))
        now = functional.one_hot(ids.clamp(max=codes - 1), codes)
        said = (kept * now + (1 - kept) / codes).clamp(min=1e-12).log()
        return torch.where((ids == codes).unsqueeze(-1), 0.0, said)

    def earlier(self, shares: Tensor, ids: Tensor, lost: Tensor, before: Tensor) -> Tensor:
        """The distribution (..., codes + 1) of ids when less was lost, the mask at its end.

        `shares` (..., codes) is what is thought of the whole ids, `ids` what is seen of them now.
        """
        codes = shares.shape[-1]
        lost, before = lost.unsqueeze(-1), before.unsqueeze(-1)
        (_, kept), (_, kept_before) = self.whole(lost), self.whole(before)
        uniform = (1 - kept_before) / codes
        hidden = before / lost.clamp(min=1e-12)
        from_mask = torch.cat(
            [(1 - hidden) * (kept_before * shares + uniform), hidden.expand_as(shares[..., :1])], -1
        )
        now = functional.one_hot(ids.clamp(max=codes - 1), codes).to(shares.dtype)
        if self.masked == 1:
            from_id = now
        else:
            since = kept / kept_before.clamp(min=1e-12)
            weight = shares / (kept * now + (1 - kept) / codes)
            replaced = uniform * weight.sum(-1, keepdim=True)
            from_id = (since * now + (1 - since) / codes) * (kept_before * weight + replaced)
        from_id = functional.pad(from_id, (0, 1))
        return torch.where((ids == codes).unsqueeze(-1), from_mask, from_id)


def divergence(wanted: Tensor, made: Tensor) -> Tensor:
    """Nats by which distributions (..., n) that are made differ from those wanted."""
    made = made.clamp(min=1e-12)
    return (torch.xlogy(wanted, wanted) - wanted * made.log()).sum(-1)
