"""What the two kinds share whose codes are signs: ids from bits, and the entropy of bits.

A position has `bits` channels and every sign is one bit of its id, the first channel the most
significant. More bits than `id_bits` make several ids. No table of codes is ever made: with
independent bits the entropy of one position is the sum over its bits, exactly, and the entropy
of the batch is measured over groups of at most `entropy_bits`, which the bits of a group share.
Own code, because `LFQ` of `vector-quantize-pytorch` 1.32 keeps all 2^bits codes in memory and
leaves the batch entropy of several ranks unsummed (it drops the result of its all-reduce).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from zoo.errors import UsageError
from zoo.layers.quantizers._ranks import mean_over_ranks
from zoo.layers.quantizers.base import (
    Quantizer,
    QuantizerConfig,
    RawQuantized,
    projection,
    setting,
    straight_through,
)

__all__ = ["SignConfig", "SignQuantizer", "even_parts", "factor_ids", "join_ids"]


@dataclass(frozen=True, kw_only=True)
class SignConfig(QuantizerConfig):
    """The settings of kinds whose codes are signs."""

    bits: int = setting(18, least=1, most=256)
    id_bits: int = setting(18, least=1, most=30)
    """An id holds at most so many bits; the others go into further ids of the position."""
    entropy_bits: int = setting(9, least=1, most=14)
    """Bits whose joint use in a batch is measured together."""
    temperature: float = setting(0.01, least=1e-6)
    """How soft a bit is in the entropy loss: small means that only latents near 0 count."""
    diversity: float = setting(1.0, least=0.0)
    """Weight of the batch entropy, which is to be high, against that of positions."""


class SignQuantizer(Quantizer):
    """Signs of projected latents, at `scale`."""

    def __init__(self, config: SignConfig, scale: float) -> None:
        super().__init__(config)
        self.scale = scale
        self.sharpness = 4 * scale / config.temperature
        self.diversity = config.diversity
        self.widths = even_parts(config.bits, config.id_bits)
        self.entropy_widths = even_parts(config.bits, config.entropy_bits)
        self.levels = tuple(2**width for width in self.widths)
        self.into = projection(config.dim, config.bits)
        self.out = projection(config.bits, config.dim)

    def _latents(self, z: Tensor) -> Tensor:
        return self.into(z)

    def _quantize(self, z: Tensor) -> RawQuantized:
        latents = self._latents(z)
        ids = self._ids(latents)
        codes = self._codes(ids)
        losses = {
            "commitment": functional.mse_loss(latents, codes),
            "entropy": self._entropy(latents),
        }
        return self.out(straight_through(latents, codes)), ids, losses

    def _encode(self, z: Tensor) -> Tensor:
        return self._ids(self._latents(z))

    def _decode(self, columns: Tensor) -> Tensor:
        return self.out(self._codes(columns))

    def _ids(self, latents: Tensor) -> Tensor:
        bits = (latents > 0).split(self.widths, -1)
        return torch.stack([_from_bits(part) for part in bits], -1)

    def _codes(self, ids: Tensor) -> Tensor:
        columns = zip(ids.unbind(-1), self.widths, strict=True)
        bits = torch.cat([_to_bits(column, width) for column, width in columns], -1)
        return (bits * 2.0 - 1.0) * self.scale

    def _entropy(self, latents: Tensor) -> Tensor:
        """Nats a position has, minus `diversity` times the nats of the batch: low is confident
        positions that together use every code."""
        logits = latents.reshape(-1, latents.shape[-1]) * self.sharpness
        position = (functional.softplus(logits) - logits * logits.sigmoid()).sum(-1).mean()
        groups = logits.split(self.entropy_widths, -1)
        batch = torch.stack([_joint_entropy(group) for group in groups]).sum()
        return position - self.diversity * batch


def _joint_entropy(logits: Tensor) -> Tensor:
    """Entropy of the mean distribution over the 2^bits codes of `logits (N, bits)`."""
    width = logits.shape[-1]
    ones = _to_bits(torch.arange(2**width, device=logits.device), width).to(logits.dtype)
    log_chances = functional.logsigmoid(logits) @ ones.T
    log_chances = log_chances + functional.logsigmoid(-logits) @ (1 - ones).T
    mean = mean_over_ranks(log_chances.exp().mean(0))
    return -torch.special.xlogy(mean, mean.clamp_min(1e-12)).sum()


def even_parts(total: int, most: int) -> list[int]:
    """`total` cut into the fewest nearly equal parts of at most `most`."""
    count = -(-total // most)
    return [total // count + (index < total % count) for index in range(count)]


def factor_ids(ids: Tensor, widths: tuple[int, ...]) -> Tensor:
    """Ids of `sum(widths)` bits as sub-ids of those widths, most significant first: `(..., n)`.

    A generator predicts the two 2^9 halves of a 2^18 vocabulary more easily than the whole.
    """
    shifts = [sum(widths[place + 1 :]) for place in range(len(widths))]
    parts = [(ids >> shift) & (2**width - 1) for shift, width in zip(shifts, widths, strict=True)]
    return torch.stack(parts, -1)


def join_ids(parts: Tensor, widths: tuple[int, ...]) -> Tensor:
    """The ids that `factor_ids` took apart."""
    if parts.shape[-1] != len(widths):
        raise UsageError(f"{parts.shape[-1]} sub-ids of {len(widths)} widths")
    ids = torch.zeros_like(parts[..., 0])
    for part, width in zip(parts.unbind(-1), widths, strict=True):
        ids = (ids << width) | part
    return ids


def _from_bits(bits: Tensor) -> Tensor:
    weights = 2 ** torch.arange(bits.shape[-1] - 1, -1, -1, device=bits.device)
    return (bits * weights).sum(-1)


def _to_bits(ids: Tensor, width: int) -> Tensor:
    return factor_ids(ids, (1,) * width)
