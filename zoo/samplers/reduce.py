"""Fewer tokens in the layers of a transformer, without training (AsymRnR).

In each mixer, tokens that resemble the one before them are left out, and take the answer of the
last one that stayed. Neighbours in a video are so alike that much work is saved by little loss.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.errors import UsageError
from zoo.layers.backbone import Backbone, Block
from zoo.layers.mixers import Full, View
from zoo.tokenizer import State

__all__ = ["Reduced", "reduced"]


class Reduced(nn.Module):
    """A mixer that sees a share of `1 - ratio` of the tokens and answers all."""

    def __init__(self, inner: nn.Module, ratio: float):
        super().__init__()
        self.inner, self.ratio = inner, ratio
        self.count = 0

    def forward(self, x: Tensor, view: View, state: State | None) -> Tensor:
        self.count = max(1, round(x.shape[1] * (1 - self.ratio)))
        if self.count == x.shape[1]:
            return self.inner(x, view, state)
        alike = functional.cosine_similarity(x[:, 1:], x[:, :-1], dim=-1).mean(0)
        alike = torch.cat([alike.new_full((1,), -torch.inf), alike])
        stays = alike.argsort(stable=True)[: self.count].sort().values
        line = replace(view, positions=view.positions[stays], grid=())
        if view.mask is not None:
            line = replace(line, mask=view.mask[..., stays, :][..., stays])
        if view.valid is not None:
            line = replace(line, valid=view.valid[:, stays])
        made = self.inner(x[:, stays], line, state)
        source = torch.searchsorted(stays, torch.arange(x.shape[1], device=x.device), right=True)
        return made[:, source - 1]


@contextmanager
def reduced(model: nn.Module, ratio: float) -> Iterator[list[Reduced]]:
    """Within, every layer of `model` that mixes all with all leaves out a share of the tokens."""
    if not 0 <= ratio < 1:
        raise UsageError(f"a share of {ratio} is left out", allowed="0 up to, not with, 1")
    blocks = [
        block
        for part in model.modules()
        if isinstance(part, Backbone)
        for block in part.blocks
        if isinstance(block, Block) and isinstance(block.mixer, Full)
    ]
    around = [Reduced(block.mixer, ratio) for block in blocks]
    for block, mixer in zip(blocks, around, strict=True):
        block.mixer = mixer
    try:
        yield around
    finally:
        for block, mixer in zip(blocks, around, strict=True):
            block.mixer = mixer.inner
