"""Several streams through their quantizers at once, in one training step."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from zoo.layers.quantizers import Quantizer

__all__ = ["quantize_streams"]


def quantize_streams(
    quantizers: Mapping[str, Quantizer], latents: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """Values and ids by stream, and losses by name, averaged over the streams that have them."""
    made = {name: quantizers[name](value) for name, value in latents.items()}
    losses: dict[str, list[Tensor]] = {}
    for one in made.values():
        for key, value in one.losses.items():
            losses.setdefault(key, []).append(value)
    ids = {name: one.ids for name, one in made.items() if one.ids is not None}
    values = {name: one.values for name, one in made.items()}
    return values, {key: torch.stack(parts).mean() for key, parts in losses.items()}, ids
