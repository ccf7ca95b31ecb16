"""Causal 3D convolutional autoencoders: the family of MAGVIT-v2, VidTok, Cosmos and Wan's VAE.

Residual blocks, halving space at every level and time at the deeper ones, all causal in time with
normalisation of each frame on its own. So a clip of 1+k*t frames and an image share one model, the
ids of a prefix are a prefix of the ids, and a stream of any length is encoded in constant memory.
`patch` folds pixels into channels before the first convolution (as Cosmos does with wavelets),
which buys most of the speed at little loss.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from zoo.autoencoder import Autoencoder
from zoo.layers.causal import (
    CausalConv3d,
    FrameNorm,
    ResBlock,
    SpaceDown,
    SpaceUp,
    TimeDown,
    TimeUp,
)
from zoo.layers.quantizers import KL, Fsq, Lfq, QuantizerConfig, build
from zoo.registry import Preset
from zoo.spec import Axis, LengthRule, StreamSpec, TokenizerSpec
from zoo.tokenizer import State

__all__ = ["PRESETS", "CausalCnn", "Config"]


@dataclass(frozen=True)
class Config:
    """`widen` has one entry for each resolution; `halve_time` says which halvings include time."""

    quantizer: QuantizerConfig
    width: int = 128
    widen: tuple[int, ...] = (1, 2, 4, 4)
    halve_time: tuple[bool, ...] = (False, True, True)
    blocks: int = 2
    patch: int = 1
    decoder_width: int = 128
    decoder_blocks: int = 2

    @property
    def space(self) -> int:
        return self.patch * 2 ** len(self.halve_time)

    @property
    def time(self) -> int:
        return 2 ** sum(self.halve_time)


class Encoder(nn.Module):
    """(B, 3, 1+k*t, H, W) to (B, dim, 1+k, H/s, W/s)."""

    def __init__(self, config: Config, dim: int):
        super().__init__()
        widths = [config.width * factor for factor in config.widen]
        self.patch = config.patch
        self.stem = CausalConv3d(3 * config.patch**2, widths[0])
        layers: list[nn.Module] = [ResBlock(widths[0], widths[0]) for _ in range(config.blocks)]
        for before, after, halve_time in zip(widths, widths[1:], config.halve_time, strict=False):
            layers.append(SpaceDown(before, after))
            if halve_time:
                layers.append(TimeDown(after, after))
            layers += [ResBlock(after, after) for _ in range(config.blocks)]
        self.layers = nn.ModuleList(layers)
        self.norm, self.head = FrameNorm(widths[-1]), CausalConv3d(widths[-1], dim)

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        x = self.stem(_fold(x, self.patch), state)
        for layer in self.layers:
            x = layer(x, state)
        return self.head(functional.silu(self.norm(x)), state)


class Decoder(nn.Module):
    """(B, dim, 1+k, h, w) to (B, 3, 1+k*t, H, W)."""

    def __init__(self, config: Config, dim: int):
        super().__init__()
        widths = [config.decoder_width * factor for factor in config.widen][::-1]
        self.patch = config.patch
        self.stem = CausalConv3d(dim, widths[0])
        layers: list[nn.Module] = [
            ResBlock(widths[0], widths[0]) for _ in range(config.decoder_blocks)
        ]
        halvings = config.halve_time[::-1]
        for before, after, double_time in zip(widths, widths[1:], halvings, strict=False):
            if double_time:
                layers.append(TimeUp(before, before))
            layers.append(SpaceUp(before, after))
            layers += [ResBlock(after, after) for _ in range(config.decoder_blocks)]
        self.layers = nn.ModuleList(layers)
        self.norm = FrameNorm(widths[-1])
        self.head = CausalConv3d(widths[-1], 3 * config.patch**2)

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        x = self.stem(x, state)
        for layer in self.layers:
            x = layer(x, state)
        return _unfold(self.head(functional.silu(self.norm(x)), state), self.patch)


class CausalCnn(Autoencoder):
    """A causal 3D autoencoder with any quantizer."""

    Config = Config
    pace = 4

    def __init__(self, config: Config):
        super().__init__(config)
        self.quantizer = build(config.quantizer)
        self.encoder = Encoder(config, self.quantizer.dim)
        self.decoder = Decoder(config, self.quantizer.dim)

    def describe(self) -> TokenizerSpec:
        space = self.config.space
        stream = StreamSpec(
            axes=(Axis("h", stride=space), Axis("w", stride=space)),
            levels=self.quantizer.levels,
            channels=self.quantizer.channels,
            ordered="level" if self.quantizer.nested else "",
        )
        return TokenizerSpec(
            modality="video",
            channels=3,
            length=LengthRule(1, self.config.time),
            streams=(stream,),
            multiple=space,
            value_range=(-1.0, 1.0),
            causal=True,
            streaming=True,
        )


def _fold(x: Tensor, patch: int) -> Tensor:
    """Patches of pixels into channels, frame by frame."""
    batch, channels, frames, height, _ = x.shape
    x = functional.pixel_unshuffle(x.transpose(1, 2), patch)
    return x.reshape(batch, frames, channels * patch**2, height // patch, -1).transpose(1, 2)


def _unfold(x: Tensor, patch: int) -> Tensor:
    return functional.pixel_shuffle(x.transpose(1, 2), patch).transpose(1, 2)


def _tiny(quantizer: QuantizerConfig) -> Config:
    return Config(
        quantizer,
        width=16,
        widen=(1, 2, 2),
        halve_time=(True, True),
        blocks=1,
        decoder_width=16,
        decoder_blocks=1,
    )


_VIDTOK = "VidTok: A Versatile and Open-Source Video Tokenizer, arXiv:2412.13061"
_MAGVIT2 = "Language Model Beats Diffusion: Tokenizer is Key to Visual Generation, arXiv:2310.05737"

PRESETS = (
    Preset("video/causal_cnn_fsq_tiny", CausalCnn, _tiny(Fsq(dim=32, levels=(8, 5, 5))), _VIDTOK),
    Preset("video/causal_cnn_lfq_tiny", CausalCnn, _tiny(Lfq(dim=32, bits=10)), _MAGVIT2),
    Preset("video/causal_cnn_kl_tiny", CausalCnn, _tiny(KL(dim=32, channels=4)), _VIDTOK),
)
