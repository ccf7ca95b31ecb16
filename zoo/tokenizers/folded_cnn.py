"""Folded convolutions: the cheapest causal video tokenizer, made for CPUs.

Groups of `frames` frames and patches of pixels become channels before anything is computed, so the
network works at a fraction of the positions and has no 3D kernels: 3x3 in space, three taps back in
time. Beside the convolutions runs a linear path from patches to latents and back, which
`start_linear` sets to the principal components of sample clips. Training begins from there and
spends its time on what lines and planes cannot do, which is what makes a CPU enough.

There is no normalisation: crops and whole frames, short clips and long ones give the same numbers,
and only pixels nearby decide an id. The first frame is a group of its own, filled up with copies,
so an image is a clip of one frame and a stream of any length is encoded in constant memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.autoencoder import Autoencoder
from zoo.layers.causal import CausalConv3d, SpaceDown
from zoo.layers.conv import Conv3d
from zoo.layers.quantizers import Fsq, QuantizerConfig, Rvq, build
from zoo.layers.specs import grid_stream
from zoo.registry import Preset
from zoo.spec import Axis, LengthRule, TokenizerSpec
from zoo.tokenizer import State

__all__ = ["PRESETS", "Config", "FoldedCnn"]


@dataclass(frozen=True)
class Config:
    """`width` is used at one position a patch, `deep_width` at one for four patches."""

    quantizer: QuantizerConfig
    frames: int = 4
    patch: int = 4
    width: int = 64
    deep_width: int = 128
    blocks: int = 1
    decoder_width: int = 64
    decoder_deep_width: int = 128
    decoder_blocks: int = 1

    @property
    def space(self) -> int:
        return 2 * self.patch


class Block(nn.Module):
    """A 3x3 convolution in space, three taps in time, beside a shortcut; begins as identity."""

    def __init__(self, channels: int):
        super().__init__()
        self.space = CausalConv3d(channels, channels, (1, 3, 3))
        self.time = CausalConv3d(channels, channels, (3, 1, 1))
        _zero(self.time.conv)

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        y = self.space(functional.silu(x))
        return x + self.time(functional.silu(y), state)


class Encoder(nn.Module):
    """(B, 3, 1+k*frames, H, W) to (B, dim, 1+k, H/space, W/space)."""

    def __init__(self, config: Config, dim: int):
        super().__init__()
        self.config = config
        values = 3 * config.frames
        self.linear = Conv3d(values * config.space**2, dim, 1)
        self.stem = Conv3d(values * config.patch**2, config.width, 1)
        self.blocks = nn.ModuleList(Block(config.width) for _ in range(config.blocks))
        self.down = SpaceDown(config.width, config.deep_width)
        self.deep_blocks = nn.ModuleList(Block(config.deep_width) for _ in range(config.blocks))
        self.head = _zero(Conv3d(config.deep_width, dim, 1))

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        x = _grouped(x, self.config.frames, _begins(self, state))
        y = self.stem(_fold(x, self.config.patch))
        for block in self.blocks:
            y = block(y, state)
        y = self.down(y)
        for block in self.deep_blocks:
            y = block(y, state)
        return self.linear(_fold(x, self.config.space)) + self.head(functional.silu(y))


class Decoder(nn.Module):
    """(B, dim, 1+k, h, w) to (B, 3, 1+k*frames, H, W)."""

    def __init__(self, config: Config, dim: int):
        super().__init__()
        self.config = config
        values = 3 * config.frames
        width, deep_width = config.decoder_width, config.decoder_deep_width
        self.linear = Conv3d(dim, values * config.space**2, 1)
        self.stem = CausalConv3d(dim, deep_width, (1, 3, 3))
        self.deep_blocks = nn.ModuleList(Block(deep_width) for _ in range(config.decoder_blocks))
        self.up = Conv3d(deep_width, width * 4, 1)
        self.blocks = nn.ModuleList(Block(width) for _ in range(config.decoder_blocks))
        self.head = _zero(CausalConv3d(width, values * config.patch**2, (1, 3, 3)).conv)

    def forward(self, z: Tensor, state: State | None = None) -> Tensor:
        y = self.stem(z)
        for block in self.deep_blocks:
            y = block(y, state)
        y = _unfold(self.up(y), 2)
        for block in self.blocks:
            y = block(y, state)
        fine = _unfold(self.head(functional.silu(y)), self.config.patch)
        x = _unfold(self.linear(z), self.config.space) + fine
        return _ungrouped(x, self.config.frames, _begins(self, state))


class FoldedCnn(Autoencoder):
    """A causal autoencoder of folded 2D convolutions with any quantizer."""

    config_class = Config
    pace = 4
    loss_weights: ClassVar[dict[str, float]] = {"commitment": 0.02}

    def __init__(self, config: Config):
        super().__init__(config)
        self.quantizer = build(config.quantizer)
        self.encoder = Encoder(config, self.quantizer.dim)
        self.decoder = Decoder(config, self.quantizer.dim)

    def describe(self) -> TokenizerSpec:
        space = self.config.space
        axes = Axis("h", stride=space), Axis("w", stride=space)
        return TokenizerSpec(
            modality="video",
            channels=3,
            length=LengthRule(1, self.config.frames),
            streams=(grid_stream(self.quantizer, *axes),),
            multiple=space,
            value_range=(-1.0, 1.0),
            causal=True,
            streaming=True,
        )

    @torch.no_grad()
    def start_linear(self, clips: Tensor) -> None:
        """Set the linear path to the principal components of the groups in `clips`.

        What a position then loses is what its last components hold; equal distances between
        latents are equal errors in pixels, as a codebook assumes.
        """
        grouped = _grouped(clips, self.config.frames, begins=True)
        groups = _fold(grouped, self.config.space).movedim(1, -1).flatten(0, -2)
        mean = groups.mean(0)
        _, axes = torch.linalg.eigh((groups - mean).T @ (groups - mean))
        axes = axes[:, -self.quantizer.dim :].flip(1)
        encode, decode = self.encoder.linear, self.decoder.linear
        encode.weight.copy_(axes.T.reshape(encode.weight.shape))
        decode.weight.copy_(axes.reshape(decode.weight.shape))
        if encode.bias is not None and decode.bias is not None:
            encode.bias.copy_(-mean @ axes)
            decode.bias.copy_(mean)


def _begins(module: nn.Module, state: State | None) -> bool:
    """Whether this piece is the beginning of its clip; the next one is not."""
    if state is None:
        return True
    begins = module not in state
    state[module] = True
    return begins


def _grouped(x: Tensor, frames: int, begins: bool) -> Tensor:
    """(B, 3, T, H, W) to (B, frames*3, groups, H, W); the first frame fills a group alone."""
    if begins:
        x = torch.cat([x[:, :, :1].expand(-1, -1, frames - 1, -1, -1), x], dim=2)
    return x.unflatten(2, (-1, frames)).movedim(3, 1).flatten(1, 2)


def _ungrouped(x: Tensor, frames: int, begins: bool) -> Tensor:
    x = x.unflatten(1, (frames, -1)).movedim(1, 3).flatten(2, 3)
    return x[:, :, frames - 1 :] if begins else x


def _fold(x: Tensor, patch: int) -> Tensor:
    """Patches of pixels into channels."""
    return functional.pixel_unshuffle(x.transpose(1, 2), patch).transpose(1, 2)


def _unfold(x: Tensor, patch: int) -> Tensor:
    return functional.pixel_shuffle(x.transpose(1, 2), patch).transpose(1, 2)


def _zero(layer: Conv3d) -> Conv3d:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


_PAPER = "None: clipmill's own; folding into channels as in Cosmos, arXiv:2501.03575"
_TINY = "video/folded_cnn_fsq_tiny"

PRESETS = (
    Preset(
        _TINY,
        FoldedCnn,
        Config(
            Fsq(dim=32, levels=(8, 5, 5)),
            patch=2,
            width=16,
            deep_width=32,
            decoder_width=16,
            decoder_deep_width=32,
        ),
        _PAPER,
    ),
    Preset(
        "video/starter",
        FoldedCnn,
        Config(Rvq(dim=32, size=1024, depth=4), decoder_blocks=2),
        _PAPER,
        tiny=_TINY,
    ),
)
