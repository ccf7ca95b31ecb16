"""A learned video codec without motion: one entropy model over the latents of all frames.

Every frame is encoded alone and rounded to integers; those are the ids. What makes it a video codec
is how they are written: a prior predicts mean and scale of every latent from the frame before, and
a range coder spends as many bits as the prediction was wrong. So a repeated frame costs nearly
nothing. `compress` gives bytes that `decompress` turns into the very tokens again.

The published model has a hyperprior beside the temporal one; here the first frame is coded under a
learned prior without it.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from zoo.layers import range_coder
from zoo.layers.quantizers.base import straight_through
from zoo.registry import Preset
from zoo.spec import Axis, LengthRule, StreamSpec, TokenizerSpec
from zoo.tokenizer import Reconstruction, State, Tokenizer
from zoo.tokens import Tokens

__all__ = ["PRESETS", "Config", "EntropyCodec"]

_HEADER = struct.Struct("<HHH")
"""Frames, rows and columns of a clip."""

_FRACTIONS = 8
"""Means are rounded to this part of an integer for the tables of the coder."""

_SCALES = torch.logspace(math.log10(0.03), math.log10(64), 48, dtype=torch.float64)
"""Scales that the coder has tables for."""


@dataclass(frozen=True)
class Config:
    """`limit` is the largest latent; `prior_width` that of the entropy model, which no id needs."""

    width: int = 128
    channels: int = 192
    halvings: int = 4
    limit: int = 63
    decoder_width: int = 128
    decoder_prior_width: int = 128

    @property
    def space(self) -> int:
        return 2**self.halvings


class Prior(nn.Module):
    """Mean and scale of the latents of a frame, from those of the frame before."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels + 1, width, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(width, 2 * channels, 3, padding=1),
        )
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)

    def forward(self, before: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """`known` is 0 where there is no frame before, 1 elsewhere."""
        change, scale = self.layers(torch.cat([before / 8, known], dim=1)).chunk(2, dim=1)
        low, high = float(_SCALES[0]), float(_SCALES[-1])
        return before + change, scale.exp().clamp(low, high)


class EntropyCodec(Tokenizer):
    """Frames to integers, integers to bytes under a temporal prior."""

    config_class = Config
    encode_side = ("encoder",)
    loss_weights: ClassVar[dict[str, float]] = {"rate": 0.01}
    pace = 4

    def __init__(self, config: Config):
        super().__init__(config)
        self.encoder = _down(config)
        self.decoder = _up(config)
        self.prior = Prior(config.channels, config.decoder_prior_width)

    def describe(self) -> TokenizerSpec:
        config = self.config
        stream = StreamSpec(
            axes=(Axis("h", stride=config.space), Axis("w", stride=config.space)),
            levels=(2 * config.limit + 1,) * config.channels,
        )
        return TokenizerSpec(
            modality="video",
            channels=3,
            length=LengthRule(1, 1),
            streams=(stream,),
            multiple=config.space,
            value_range=(-1.0, 1.0),
            causal=True,
            streaming=True,
        )

    def encode_piece(self, x: Tensor, state: State) -> dict[str, Tensor]:
        latents = self._latents(x).round().long() + self.config.limit
        return {"tokens": latents.permute(0, 2, 3, 1)[None]}

    def decode_piece(
        self, streams: dict[str, Tensor], state: State, size: tuple[int, ...]
    ) -> Tensor:
        frames = self.decoder(self._integers(streams["tokens"])[0])
        return frames.transpose(0, 1)[None]

    def forward(self, x: Tensor) -> Reconstruction:
        latents = self._latents(x)
        rounded = straight_through(latents, latents.round())
        output = self.decoder(rounded).unflatten(0, (len(x), -1)).transpose(1, 2)
        bits = self._bits(rounded.unflatten(0, (len(x), -1))).sum()
        ids = (rounded.detach().long() + self.config.limit).movedim(1, -1)
        return Reconstruction(
            output,
            {"rate": bits * 3 / x.numel()},
            {"tokens": ids.unflatten(0, (len(x), -1))},
        )

    @torch.no_grad()
    def estimated_bits(self, tokens: Tokens) -> Tensor:
        """Bits of every frame under the prior, (B, T)."""
        self.check_tokens(tokens)
        return torch.cat([self._bits(self._integers(ids[None])) for ids in tokens.ids])

    @torch.no_grad()
    def compress(self, tokens: Tokens) -> list[bytes]:
        """The bytes of every clip."""
        self.check_tokens(tokens)
        self.eval()
        return [self._compress(self._integers(ids[None])[0], tokens.size) for ids in tokens.ids]

    @torch.no_grad()
    def decompress(self, clips: Sequence[bytes]) -> list[Tokens]:
        """The tokens of every clip that `compress` wrote, from its bytes alone."""
        self.eval()
        return [self._decompress(data) for data in clips]

    def _compress(self, latents: Tensor, size: tuple[int, ...]) -> bytes:
        coder = range_coder.Encoder()
        for frame, mean, scale in zip(latents, *self._predicted(latents[None]), strict=True):
            base, tables = self._tables(mean, scale)
            symbols = frame.flatten().long() - base + 2 * self.config.limit
            range_coder.encode(coder, symbols.tolist(), tables)
        return _HEADER.pack(*size) + coder.finish()

    def _decompress(self, data: bytes) -> Tokens:
        size = _HEADER.unpack_from(data)
        decoder = range_coder.Decoder(data[_HEADER.size :])
        (grid,) = self.spec.grid(size).values()
        shape = (self.config.channels, *grid[1:])
        before = torch.zeros(1, 1, *shape, device=self.device)
        frames: list[Tensor] = []
        for _ in range(grid[0]):
            (mean,), (scale,) = self._prior(before, known=bool(frames))
            base, tables = self._tables(mean, scale)
            residual = torch.tensor(range_coder.decode(decoder, tables))
            latents = (residual - 2 * self.config.limit + base).view(shape)
            frames.append(latents)
            before = latents.to(before)[None, None]
        ids = torch.stack(frames).movedim(1, -1)[None] + self.config.limit
        return self.tokens({"tokens": ids.to(self.device)}, size)

    def _latents(self, x: Tensor) -> Tensor:
        """(B, 3, T, H, W) to (B * T, channels, h, w)."""
        limit = self.config.limit
        return self.encoder(x.transpose(1, 2).flatten(0, 1)).clamp(-limit, limit)

    def _integers(self, ids: Tensor) -> Tensor:
        """Ids (B, T, h, w, channels) as latents (B, T, channels, h, w).

        Always laid out alike in memory, because convolutions round differently where it differs.
        """
        dtype = next(self.decoder.parameters()).dtype
        return (ids.movedim(-1, 2) - self.config.limit).to(dtype).contiguous()

    def _bits(self, latents: Tensor) -> Tensor:
        """Bits of every frame of (B, T, channels, h, w): what the coder will spend."""
        mean, scale = self._predicted(latents)
        away = (latents.flatten(0, 1) - mean).abs()
        inside = torch.sigmoid((0.5 - away) / scale) - torch.sigmoid((-0.5 - away) / scale)
        floor = 1 / range_coder.TOTAL
        chance = inside * (1 - floor * (4 * self.config.limit + 1)) + floor
        return -chance.log2().sum((1, 2, 3)).unflatten(0, latents.shape[:2])

    def _predicted(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and scale of every frame, (B * T, channels, h, w).

        One frame at a time outside of training, because the decoder has no other way and rounding
        must be the same.
        """
        first = self._prior(torch.zeros_like(latents[:, :1]), known=False)
        if self.training:
            later = self._prior(latents[:, :-1], known=True)
            parts = [[p.unflatten(0, (len(latents), -1)) for p in pair] for pair in (first, later)]
            mean, scale = (
                torch.cat(pair, dim=1).flatten(0, 1) for pair in zip(*parts, strict=True)
            )
            return mean, scale
        pairs = [first, *(self._prior(frame, known=True) for frame in latents[:, :-1].split(1, 1))]
        mean, scale = (torch.stack(part, dim=1).flatten(0, 1) for part in zip(*pairs, strict=True))
        return mean, scale

    def _prior(self, before: Tensor, *, known: bool) -> tuple[Tensor, Tensor]:
        flat = before.flatten(0, 1).contiguous()
        plane = torch.full_like(flat[:, :1], float(known))
        return self.prior(flat, plane)

    def _tables(self, mean: Tensor, scale: Tensor) -> tuple[Tensor, list[list[int]]]:
        """The integer below every mean, and the coder's table of what is left, in flat order."""
        limit = self.config.limit
        steps = (mean.flatten().double().cpu().clamp(-limit, limit) * _FRACTIONS).round().long()
        base, fraction = steps.div(_FRACTIONS, rounding_mode="floor"), steps % _FRACTIONS
        sizes = torch.bucketize(scale.flatten().double().cpu(), _SCALES).clamp_max(len(_SCALES) - 1)
        known = _logistic_tables(limit)
        return base, [known[row] for row in (sizes * _FRACTIONS + fraction).tolist()]


@cache
def _logistic_tables(limit: int) -> list[list[int]]:
    """Tables of a rounded logistic for all scales and fractions of the mean."""
    means = np.arange(_FRACTIONS) / _FRACTIONS
    return range_coder.logistic_tables(2 * limit, _SCALES.numpy(), means)


def _down(config: Config) -> nn.Sequential:
    widths = [3] + [config.width] * (config.halvings - 1) + [config.channels]
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Conv2d(before, after, 5, 2, padding=2), nn.GELU()]
    layers[-1] = _Amplify()
    return nn.Sequential(*layers)


def _up(config: Config) -> nn.Sequential:
    widths = [config.channels] + [config.decoder_width] * (config.halvings - 1) + [3]
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Conv2d(before, 4 * after, 3, padding=1), nn.PixelShuffle(2), nn.GELU()]
    return nn.Sequential(*layers[:-1])


class _Amplify(nn.Module):
    """Stretches fresh features over several integers, so that rounding leaves something."""

    def forward(self, x: Tensor) -> Tensor:
        return 8 * x


_PAPER = (
    "Spatiotemporal Entropy Model is All You Need for Learned Video Compression, arXiv:2104.06083"
)

PRESETS = (
    Preset(
        "video/entropy_tiny",
        EntropyCodec,
        Config(width=24, channels=12, halvings=3, decoder_width=24, decoder_prior_width=16),
        _PAPER,
    ),
    Preset(
        "video/entropy_temporal.16x16",
        EntropyCodec,
        Config(),
        _PAPER,
        tiny="video/entropy_tiny",
        serves=("spatiotemporal-entropy",),
    ),
)
