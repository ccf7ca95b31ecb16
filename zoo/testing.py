"""What tests of tokenizers need: structured clips, and a short training on one batch.

x = clips(2, 8, 32)                      # (2, 3, 8, 32, 32) in -1..1
tokenizer = learned(create("video/triplane_tiny"), x, goal=0.02)
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
    """Smooth coloured backgrounds with a bright spot that moves on a path of its own."""
    dice = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batch, 3, 4, 4, generator=dice) * 1.2 - 0.6
    still = functional.interpolate(coarse, (side, side), mode="bilinear", align_corners=True)
    start, pace = torch.rand(2, batch, 2, 1, 1, 1, generator=dice)
    places = torch.linspace(0, 1, side)
    when = torch.arange(frames).view(-1, 1, 1) / frames
    centre = 0.5 + 0.4 * torch.sin(6.3 * start + 3 * (0.3 + pace) * when)
    apart = (places[:, None] - centre[:, 0]).square() + (places - centre[:, 1]).square()
    spot = torch.exp(-apart / 0.02).unsqueeze(1)
    return still.unsqueeze(2) * (1 - spot) + 0.9 * spot


def training_loss(tokenizer: Tokenizer, x: Tensor) -> Tensor:
    """The squared error of the output and the family's own losses, by their weights."""
    made = tokenizer(x)
    weights = tokenizer.loss_weights
    total = x.new_zeros(()) if made.output is None else functional.mse_loss(made.output, x)
    for name, value in made.losses.items():
        total = total + weights.get(name, 1.0) * value
    return total


def learned(
    tokenizer: Model, x: Tensor, goal: float = 0.0, steps: int = 200, rate: float = 2e-3
) -> Model:
    """`tokenizer`, trained on the one batch `x` until the loss is below `goal` or `steps` are over;
    in eval mode."""
    tokenizer.train()
    optimiser = torch.optim.AdamW(tokenizer.parameters(), rate, weight_decay=0.0, fused=True)
    for step in range(steps):
        torch.manual_seed(step)
        loss = training_loss(tokenizer, x)
        if float(loss.detach()) < goal:
            break
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(tokenizer.parameters(), 1.0)
        optimiser.step()
    return tokenizer.eval()
