"""Folded motion: the cheapest causal motion tokenizer, made for CPUs.

A few frames of features become the channels of one position, so the network runs at the rate of the
tokens. Beside its causal convolutions runs a linear path from frames to latents and back, which
`start_linear` sets to the principal components of sample clips: training begins from a usable
tokenizer. Features come normalised by the model's own statistics; `emphasis` divides the deviation
of each group of features, so that a root that drifts counts more than a rotation nobody sees.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.errors import UsageError
from zoo.layers.normalise import Normalizer
from zoo.layers.quantizers import Fsq, QuantizerConfig, Rvq, build
from zoo.layers.specs import grid_stream
from zoo.layers.temporal import Conv1d
from zoo.motion import MotionAutoencoder
from zoo.registry import Preset
from zoo.spec import LengthRule, TokenizerSpec
from zoo.tokenizer import State
from zoo.tokenizers.motion_conv import HUMANML3D

__all__ = ["PRESETS", "Config", "MotionFolded"]


@dataclass(frozen=True)
class Config:
    """`groups` are widths of runs of features that share one deviation; each on its own if ()."""

    quantizer: QuantizerConfig
    features: int = 263
    fps: float | None = None
    groups: tuple[int, ...] = ()
    emphasis: tuple[float, ...] = ()
    frames: int = 4
    width: int = 256
    blocks: int = 2
    decoder_width: int = 256
    decoder_blocks: int = 3

    def __post_init__(self) -> None:
        if len(self.emphasis) not in (0, len(self.groups)):
            raise UsageError(
                f"{len(self.emphasis)} emphases for {len(self.groups)} groups of features",
                allowed="one for each group, or none",
            )


class Block(nn.Module):
    """Two causal convolutions beside a shortcut; begins as identity."""

    def __init__(self, width: int):
        super().__init__()
        self.first = Conv1d(width, width, causal=True)
        self.second = Conv1d(width, width, causal=True)
        _zero(self.second.conv)

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        y = self.first(functional.silu(x), state)
        return x + self.second(functional.silu(y), state)


class Side(nn.Module):
    """Linear path and causal convolutions from `values` to `out` numbers a position."""

    def __init__(self, values: int, out: int, width: int, blocks: int):
        super().__init__()
        self.linear = nn.Conv1d(values, out, 1)
        self.stem = nn.Conv1d(values, width, 1)
        self.blocks = nn.ModuleList(Block(width) for _ in range(blocks))
        self.head = _zero(nn.Conv1d(width, out, 1))

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        y = self.stem(x)
        for block in self.blocks:
            y = block(y, state)
        return self.linear(x) + self.head(functional.silu(y))


class Encoder(Side):
    """(B, features, T) to (B, dim, T / frames)."""

    def __init__(self, config: Config, dim: int):
        super().__init__(config.features * config.frames, dim, config.width, config.blocks)
        self.frames = config.frames

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        return super().forward(_fold(x, self.frames), state)


class Decoder(Side):
    """(B, dim, T / frames) to (B, features, T)."""

    def __init__(self, config: Config, dim: int):
        values = config.features * config.frames
        super().__init__(dim, values, config.decoder_width, config.decoder_blocks)
        self.frames = config.frames

    def forward(self, z: Tensor, state: State | None = None) -> Tensor:
        return _unfold(super().forward(z, state), self.frames)


class MotionFolded(MotionAutoencoder):
    """A causal autoencoder of folded frames with any quantizer."""

    config_class = Config

    def __init__(self, config: Config):
        super().__init__(config)
        self.normalizer = Normalizer((config.features,), config.groups)
        self.quantizer = build(config.quantizer)
        self.encoder = Encoder(config, self.quantizer.dim)
        self.decoder = Decoder(config, self.quantizer.dim)
        self._keep_bound()

    def describe(self) -> TokenizerSpec:
        return TokenizerSpec(
            modality="motion",
            channels=self.config.features,
            length=LengthRule(self.config.frames, self.config.frames),
            streams=(grid_stream(self.quantizer),),
            fps=self.config.fps,
            causal=True,
            streaming=True,
        )

    def fit_normalizer(self, samples: Iterable[Tensor]) -> None:
        """Take mean and deviation from clips of the training set: (..., T, features) each."""
        super().fit_normalizer(samples)
        for run, emphasis in zip(
            self.normalizer.deviation.split(self.config.groups or 1),
            self.config.emphasis,
            strict=False,
        ):
            run /= emphasis

    @torch.no_grad()
    def start_linear(self, clips: Tensor) -> None:
        """Set the linear path to the principal components of `clips` (B, T, features)."""
        folded = _fold(self.normalizer(clips).movedim(-1, 1), self.config.frames)
        rows = folded.movedim(1, -1).flatten(0, 1)
        mean = rows.mean(0)
        _, axes = torch.linalg.eigh((rows - mean).T @ (rows - mean))
        axes = axes[:, -self.quantizer.dim :].flip(1)
        encode, decode = self.encoder.linear, self.decoder.linear
        encode.weight.copy_(axes.T[..., None])
        decode.weight.copy_(axes[..., None])
        if encode.bias is not None and decode.bias is not None:
            encode.bias.copy_(-mean @ axes)
            decode.bias.copy_(mean)


def _fold(x: Tensor, frames: int) -> Tensor:
    """Frames into channels."""
    return x.unflatten(2, (-1, frames)).movedim(3, 1).flatten(1, 2)


def _unfold(x: Tensor, frames: int) -> Tensor:
    return x.unflatten(1, (frames, -1)).movedim(1, 3).flatten(2, 3)


def _zero(layer: nn.Conv1d) -> nn.Conv1d:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


_PAPER = "None: clipmill's own; residual codes of HumanML3D features as in MoMask, arXiv:2312.00063"
_TINY = "motion/folded_fsq_tiny"

PRESETS = (
    Preset(
        _TINY,
        MotionFolded,
        Config(Fsq(dim=32, levels=(8, 5, 5)), features=24, width=32, decoder_width=32),
        _PAPER,
    ),
    Preset(
        "motion/starter",
        MotionFolded,
        Config(
            Rvq(dim=96, size=512, depth=18),
            fps=20.0,
            groups=HUMANML3D,
            emphasis=(20.0, 10.0, 5.0, 5.0, 1.0, 1.0, 1.0),
            width=192,
            decoder_width=192,
        ),
        _PAPER,
        tiny=_TINY,
    ),
)
