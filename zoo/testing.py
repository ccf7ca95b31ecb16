"""What tests of tokenizers need: structured clips, and a short training on one batch.

x = clips(2, 8, 32)                      # (2, 3, 8, 32, 32) in -1..1
tokenizer = learned(create("video/triplane_tiny"), x, steps=100)
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.tokenizer import Tokenizer

__all__ = ["clips", "learned", "training_loss"]

Model = TypeVar("Model", bound=Tokenizer)


def clips(batch: int, frames: int, side: int, seed: int = 0) -> Tensor:
    """Smooth coloured backgrounds with a bright square that moves on a path of its own."""
    dice = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batch, 3, 4, 4, generator=dice) * 1.2 - 0.6
    still = functional.interpolate(coarse, (side, side), mode="bilinear", align_corners=True)
    x = still.unsqueeze(2).repeat(1, 1, frames, 1, 1)
    square = side // 4
    for clip in range(batch):
        row, column = torch.randint(0, side - square, (2,), generator=dice).tolist()
        for frame in range(frames):
            top, left = (row + frame) % (side - square), (column + 2 * frame) % (side - square)
            x[clip, :, frame, top : top + square, left : left + square] = 0.9
    return x


def training_loss(tokenizer: Tokenizer, x: Tensor) -> Tensor:
    """The squared error of the output and the family's own losses, by their weights."""
    made = tokenizer(x)
    weights = tokenizer.loss_weights
    total = x.new_zeros(()) if made.output is None else functional.mse_loss(made.output, x)
    for name, value in made.losses.items():
        total = total + weights.get(name, 1.0) * value
    return total


def learned(tokenizer: Model, x: Tensor, steps: int, rate: float = 4e-3) -> Model:
    """`tokenizer` after `steps` on the one batch `x`, in eval mode."""
    tokenizer.train()
    optimiser = torch.optim.AdamW(tokenizer.parameters(), rate, weight_decay=0.0)
    for step in range(steps):
        torch.manual_seed(step)
        optimiser.zero_grad()
        training_loss(tokenizer, x).backward()
        nn.utils.clip_grad_norm_(tokenizer.parameters(), 1.0)
        optimiser.step()
    return tokenizer.eval()
