"""The learning rate over a run: a straight rise, then a cosine down to a share of it."""

from __future__ import annotations

import math

__all__ = ["rate_factor"]


def rate_factor(step: int, steps: int, warmup_steps: int, final: float) -> float:
    """What the learning rate is multiplied by at `step` of `steps` (the first is 0)."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    share = (step - warmup_steps) / max(1, steps - warmup_steps)
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
