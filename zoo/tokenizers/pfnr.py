"""PFNR: clips as sparse sub-networks of one network that grows from clip to clip.

A network with a Fourier layer draws a frame from its time. To encode a clip is to find which part
of the weights draws it: weights that earlier clips left behind may be used but never change, free
ones are fitted. Tokens are the mask of the sub-network and the values of the weights that are new.

`keep` gives those new weights to the model, for later clips to build on. What was kept never
changes, so tokens decode to the same bits however many clips follow. The spec hash names where a
model began, not how far it has grown.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from zoo.errors import UsageError
from zoo.fitted import FittedTokenizer, turn
from zoo.layers import integer_weights
from zoo.layers.quantizers.base import straight_through
from zoo.registry import Preset
from zoo.spec import Axis, LengthRule, StreamSpec, TokenizerSpec
from zoo.tokenizer import State
from zoo.tokens import Tokens

__all__ = ["PRESETS", "Config", "Pfnr"]

_LIMIT = 255
"""The largest weight, in steps. Id 0 of a weight says that it is not new."""


@dataclass(frozen=True)
class Config:
    """`strides` enlarge the first grid to `size`; `share` of the weights makes a sub-network."""

    size: tuple[int, int] = (720, 1280)
    strides: tuple[int, ...] = (5, 2, 2, 2, 2)
    width: int = 112
    frequencies: int = 40
    modes: int = 4
    share: float = 0.3
    step: float = 1 / 256
    steps: int = 20_000
    batch: int = 2
    rate: float = 1e-3

    @property
    def grid(self) -> tuple[int, int]:
        return self.size[0] // math.prod(self.strides), self.size[1] // math.prod(self.strides)


class FourierLayer(nn.Module):
    """Mixes channels at the lowest frequencies of the whole picture, beside a shortcut."""

    def __init__(self, channels: int, modes: tuple[int, int]):
        super().__init__()
        self.modes = modes
        self.weight = nn.Parameter(torch.randn(2, channels, channels, *modes) / channels)

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = self.modes
        spectrum = torch.fft.rfft2(x)
        weight = torch.complex(self.weight[0], self.weight[1])
        low = torch.einsum("bihw,iohw->bohw", spectrum[:, :, :rows, :columns], weight)
        missing = (0, spectrum.shape[3] - columns, 0, spectrum.shape[2] - rows)
        return x + torch.fft.irfft2(functional.pad(low, missing), s=x.shape[-2:])


class FrameNet(nn.Module):
    """Times (N,) of 0..1 to frames (N, 3, H, W)."""

    def __init__(self, config: Config):
        super().__init__()
        self.frequencies = config.frequencies
        self.grid = config.grid
        rows, columns = config.grid
        self.stem = nn.Linear(2 * config.frequencies, config.width * rows * columns)
        self.mix = FourierLayer(
            config.width, (min(config.modes, rows), min(config.modes, columns // 2 + 1))
        )
        layers: list[nn.Module] = []
        before = config.width
        for stride in config.strides:
            after = max(8, before // 2)
            conv = nn.Conv2d(before, after * stride**2, 3, padding=1)
            layers += [nn.GELU(), conv, nn.PixelShuffle(stride)]
            before = after
        self.layers = nn.Sequential(*layers, nn.GELU(), nn.Conv2d(before, 3, 3, padding=1))

    def forward(self, times: Tensor) -> Tensor:
        powers = torch.arange(self.frequencies, device=times.device, dtype=times.dtype)
        waves = times[:, None] * torch.pi * 1.25**powers
        features = self.stem(torch.cat([waves.sin(), waves.cos()], dim=1))
        return self.layers(self.mix(features.unflatten(1, (-1, *self.grid))))


class Pfnr(FittedTokenizer):
    """Finds a sub-network for every clip that it encodes."""

    config_class = Config
    encode_side = ("net",)

    kept: Tensor
    """Weights of earlier clips, in steps."""
    taken: Tensor
    """Which weights earlier clips have."""

    def __init__(self, config: Config):
        super().__init__(config)
        self.net = FrameNet(config)
        amount = integer_weights.count(self.net)
        self.register_buffer("kept", torch.zeros(amount, dtype=torch.int32))
        self.register_buffer("taken", torch.zeros(amount, dtype=torch.bool))

    def describe(self) -> TokenizerSpec:
        places = (Axis("n", extent=len(self.taken)),)
        return TokenizerSpec(
            modality="video",
            channels=3,
            length=LengthRule(1, 1),
            streams=(
                StreamSpec("mask", places, step=0, levels=(2,)),
                StreamSpec("weights", places, step=0, levels=(2 * _LIMIT + 2,)),
            ),
            size=self.config.size,
            value_range=(-1.0, 1.0),
        )

    def encode_piece(self, x: Tensor, state: State) -> dict[str, Tensor]:
        weights, mask = self._fit(x[0].transpose(0, 1))
        new = mask & ~self.taken
        ids = (weights / self.config.step).round().long() + _LIMIT + 1
        return {"mask": mask.long()[None, None], "weights": (ids * new)[None, None]}

    def decode_piece(
        self, streams: dict[str, Tensor], state: State, size: tuple[int, ...]
    ) -> Tensor:
        mask, ids = streams["mask"][0, 0], streams["weights"][0, 0]
        steps = torch.where(ids > 0, ids - _LIMIT - 1, self.kept)
        weights = steps * mask * self.config.step
        frames = [self._draw(weights, time) for time in _times(size[0], weights).split(1)]
        return torch.cat(frames).transpose(0, 1)[None]

    def keep(self, tokens: Tokens) -> None:
        """Give the new weights of one clip to the model, for later clips to build on."""
        self.check_tokens(tokens)
        if len(tokens) != 1:
            raise UsageError(
                f"{len(tokens)} clips at once", allowed="one, in the order of encoding"
            )
        ids = tokens["weights"][0, 0].to(self.kept)
        new = ids > 0
        if bool((new & self.taken).any()):
            raise UsageError(
                "another clip has taken weights of this one since it was encoded",
                hint="encode the clip again, then keep it",
            )
        self.kept.copy_(torch.where(new, ids - _LIMIT - 1, self.kept))
        self.taken.logical_or_(new)

    @torch.enable_grad()
    def _fit(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Weights on their steps and the mask of the clip's sub-network."""
        config = self.config
        free = integer_weights.flat(self.net).requires_grad_()
        scores = free.detach().abs().requires_grad_()
        optimizer = torch.optim.Adam([free, scores], lr=config.rate)
        times = _times(len(frames), free)
        for step in range(config.steps):
            chosen = turn(step, config.batch, len(frames), frames.device)
            weights, mask = self._weights(free, scores)
            error = (self._draw(weights * mask, times[chosen]) - frames[chosen]).square().mean()
            optimizer.zero_grad()
            error.backward()
            optimizer.step()
        with torch.no_grad():
            weights, mask = self._weights(free, scores)
        return weights, mask.bool()

    def _weights(self, free: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Taken weights as they are and free ones on steps; the mask of the highest scores."""
        fitted = integer_weights.rounded(free, self.config.step, _LIMIT)
        weights = torch.where(self.taken, self.kept * self.config.step, fitted)
        chosen = scores.topk(round(self.config.share * len(scores))).indices
        mask = torch.zeros_like(scores).index_fill(0, chosen, 1.0)
        return weights, straight_through(scores, mask)

    def _draw(self, weights: Tensor, times: Tensor) -> Tensor:
        return functional_call(self.net, integer_weights.named(self.net, weights), (times,))


def _times(frames: int, like: Tensor) -> Tensor:
    return (torch.arange(frames, device=like.device, dtype=like.dtype) + 0.5) / frames


_PAPER = (
    "Progressive Fourier Neural Representation for Sequential Video Compilation, arXiv:2306.11305"
)

PRESETS = (
    Preset(
        "video/pfnr_tiny",
        Pfnr,
        Config(
            size=(16, 16),
            strides=(2, 2),
            width=16,
            frequencies=6,
            modes=2,
            share=0.4,
            steps=12,
            rate=1e-2,
        ),
        _PAPER,
    ),
    Preset("video/pfnr.720p", Pfnr, Config(), _PAPER, tiny="video/pfnr_tiny", serves=("pfnr",)),
)
