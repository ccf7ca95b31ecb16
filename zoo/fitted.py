"""Tokenizers that learn nothing beforehand and fit a network to every clip that they encode."""

from __future__ import annotations

from typing import NoReturn

import torch
from torch import Tensor

from zoo.errors import UsageError
from zoo.tokenizer import Tokenizer

__all__ = ["FittedTokenizer", "turn"]


class FittedTokenizer(Tokenizer):
    """Its weights are where every fit begins; the budget of a fit is in its configuration."""

    trainable = False
    decode_side = ()

    def forward(self, x: Tensor) -> NoReturn:
        raise UsageError(
            f"{self.name or self.family()} is fitted to every clip that it encodes",
            hint="call encode; the budget is in its configuration",
        )


def turn(step: int, batch: int, frames: int, device: torch.device) -> Tensor:
    """Which frames a step of a fit looks at: all of them in turn."""
    return (step * batch + torch.arange(batch, device=device)) % frames
