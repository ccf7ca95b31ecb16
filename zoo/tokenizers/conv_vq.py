"""3D convolutions over fixed windows: VideoGPT, TATS, MAGVIT's 3D-VQ, MotionAura, VidTok's
non-causal models.

A window of frames is seen as a whole, with convolutions that look both ways in time; a longer clip
is one window after another. What a convolution is given beyond the edge decides what the edge looks
like: zeros make tokens at borders differ from those inside, which shows when windows or slid tokens
are put side by side. `padding="replicate"` repeats the edge, so that a still, even picture has one
and the same id everywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.autoencoder import Autoencoder
from zoo.layers.attention import Attention, rotary_angles
from zoo.layers.conv import Conv3d
from zoo.layers.quantizers import KL, Fsq, QuantizerConfig, Vq, build
from zoo.layers.specs import grid_stream, window_spec
from zoo.registry import Preset
from zoo.spec import Axis, TokenizerSpec
from zoo.tokenizer import State

__all__ = ["PRESETS", "Config", "ConvVq"]

AXIAL_HEADS = 2


@dataclass(frozen=True)
class Config:
    """`strides` are (time, space) of each level, 1 or 2; `widen` has one entry for each."""

    quantizer: QuantizerConfig
    frames: int = 16
    width: int = 64
    widen: tuple[int, ...] = (1, 2, 4)
    strides: tuple[tuple[int, int], ...] = ((1, 2), (2, 2), (2, 2))
    blocks: int = 1
    block: Literal["plain", "inverted"] = "plain"
    axial: int = 0
    padding: Literal["constant", "replicate", "reflect"] = "replicate"

    @property
    def widths(self) -> list[int]:
        return [self.width * factor for factor in self.widen]

    @property
    def time(self) -> int:
        return math.prod(time for time, _ in self.strides)

    @property
    def space(self) -> int:
        return math.prod(space for _, space in self.strides)


class PaddedConv3d(nn.Module):
    """A convolution over both sides of a position; where it strides, n positions become n/2."""

    def __init__(self, channels: int, out: int, padding: str, stride: tuple[int, int] = (1, 1)):
        super().__init__()
        self.padding = padding
        steps = (stride[0], stride[1], stride[1])
        kernel = (2 + steps[0], 2 + steps[1], 2 + steps[2])
        self.conv = Conv3d(channels, out, kernel, steps)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(functional.pad(x, (1,) * 6, mode=self.padding))


class PlainBlock(nn.Module):
    """Two normalised convolutions beside a shortcut."""

    def __init__(self, width: int, padding: str):
        super().__init__()
        self.norm1, self.conv1 = _norm(width), PaddedConv3d(width, width, padding)
        self.norm2, self.conv2 = _norm(width), Conv3d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(functional.silu(self.norm1(x)))
        return x + self.conv2(functional.silu(self.norm2(y)))


class InvertedBlock(nn.Module):
    """Wide in the middle, where each channel is convolved on its own: cheap on small devices."""

    def __init__(self, width: int, padding: str):
        super().__init__()
        self.padding = padding
        self.norm = _norm(width)
        self.rise, self.fall = Conv3d(width, 4 * width, 1), Conv3d(4 * width, width, 1)
        self.depthwise = nn.Conv3d(4 * width, 4 * width, 3, groups=4 * width)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.silu(self.rise(self.norm(x)))
        y = self.depthwise(functional.pad(y, (1,) * 6, mode=self.padding))
        return x + self.fall(functional.silu(y))


class AxialBlock(nn.Module):
    """The sum of attention along time, rows and columns, beside a shortcut."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = _norm(width)
        self.attentions = nn.ModuleList(Attention(width, AXIAL_HEADS) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x).movedim(1, -1)
        for axis, attention in enumerate(self.attentions, start=1):
            lines = y.movedim(axis, -2)
            positions = torch.arange(lines.shape[-2], device=x.device).unsqueeze(1)
            angles = rotary_angles(positions, x.shape[1] // AXIAL_HEADS)
            seen = attention(lines.flatten(0, 2), angles=angles).view(lines.shape)
            x = x + seen.movedim(-2, axis).movedim(-1, 1)
        return x


class Encoder(nn.Module):
    """(B, 3, T, H, W) to (B, dim, T/t, H/s, W/s)."""

    def __init__(self, config: Config, dim: int):
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for width, stride in zip(config.widths, config.strides, strict=True):
            layers.append(PaddedConv3d(before, width, config.padding, stride))
            layers += _blocks(config, width)
            before = width
        layers += [AxialBlock(before) for _ in range(config.axial)]
        self.layers = nn.Sequential(*layers, _norm(before), nn.SiLU(), Conv3d(before, dim, 1))

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        return self.layers(x)


class Decoder(nn.Module):
    """(B, dim, T/t, H/s, W/s) to (B, 3, T, H, W)."""

    def __init__(self, config: Config, dim: int):
        super().__init__()
        widths = config.widths
        layers: list[nn.Module] = [PaddedConv3d(dim, widths[-1], config.padding)]
        layers += [AxialBlock(widths[-1]) for _ in range(config.axial)]
        for level in reversed(range(len(widths))):
            time, space = config.strides[level]
            after = widths[level - 1] if level else 3
            layers += [*_blocks(config, widths[level]), _norm(widths[level]), nn.SiLU()]
            layers.append(nn.Upsample(scale_factor=(time, space, space)))
            layers.append(PaddedConv3d(widths[level], after, config.padding))
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor, state: State | None = None) -> Tensor:
        return self.layers(z)


class ConvVq(Autoencoder):
    """An autoencoder of fixed windows with any quantizer."""

    config_class = Config

    def __init__(self, config: Config):
        super().__init__(config)
        self.quantizer = build(config.quantizer)
        self.encoder = Encoder(config, self.quantizer.dim)
        self.decoder = Decoder(config, self.quantizer.dim)

    def describe(self) -> TokenizerSpec:
        config = self.config
        space = Axis("h", stride=config.space), Axis("w", stride=config.space)
        stream = grid_stream(self.quantizer, *space, positions=config.frames // config.time)
        return window_spec(config.frames, stream, multiple=config.space)


def _norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(min(8, width), width, eps=1e-6)


def _blocks(config: Config, width: int) -> list[nn.Module]:
    kind = PlainBlock if config.block == "plain" else InvertedBlock
    return [kind(width, config.padding) for _ in range(config.blocks)]


_VIDEOGPT = "VideoGPT: Video Generation using VQ-VAE and Transformers, arXiv:2104.10157"
_TATS = "Long Video Generation with Time-Agnostic VQGAN and Time-Sensitive Transformer, "
_TATS += "arXiv:2204.03638"
_MAGVIT = "MAGVIT: Masked Generative Video Transformer, arXiv:2212.05199"
_AURA = (
    "MotionAura: Generating High-Quality and Motion Consistent Videos using Discrete Diffusion, "
)
_AURA += "arXiv:2410.07659"

_VIDTOK = "VidTok: A Versatile and Open-Source Video Tokenizer, arXiv:2412.13061"

_T488 = ((1, 2), (2, 2), (2, 2))
_T444 = ((2, 2), (2, 2))
_MAGVIT_LEVELS = ((1, 1), *_T488)
_FSQ = Fsq(dim=576, levels=(8,) * 6)


def _vidtok(quantizer: QuantizerConfig, space: int = 8) -> Config:
    far = space == 16
    return Config(
        quantizer,
        width=144,
        widen=(1, 2, 4, 4, 4) if far else (1, 2, 4, 4),
        strides=((1, 1), (1, 2), *_T488) if far else _MAGVIT_LEVELS,
        blocks=2,
    )


def _tiny(padding: Literal["constant", "replicate"], **options: int | str) -> Config:
    quantizer = Vq(dim=16, size=64)
    return Config(
        quantizer,
        frames=8,
        width=16,
        widen=(1, 2),
        strides=_T444,
        padding=padding,
        **options,  # type: ignore[arg-type]
    )


PRESETS = (
    Preset("video/conv_vq_axial_tiny", ConvVq, _tiny("constant", axial=1), _VIDEOGPT),
    Preset("video/conv_vq_replicate_tiny", ConvVq, _tiny("replicate"), _TATS),
    Preset("video/conv_vq_inverted_tiny", ConvVq, _tiny("replicate", block="inverted"), _AURA),
    Preset(
        "video/videogpt_4x4x4.k2048",
        ConvVq,
        Config(
            Vq(dim=256, size=2048),
            width=240,
            widen=(1, 1),
            strides=_T444,
            axial=4,
            padding="constant",
        ),
        _VIDEOGPT,
        "video/conv_vq_axial_tiny",
        {"psnr (TokenBench)": 35.12, "ssim (TokenBench)": 0.914, "rfvd (TokenBench)": 13.86},
        serves=("videogpt",),
    ),
    Preset(
        "video/tats_4x8x8.k16384",
        ConvVq,
        Config(Vq(dim=256, size=16384), width=32, widen=(2, 4, 8), strides=_T488),
        _TATS,
        "video/conv_vq_replicate_tiny",
        {"rfvd (UCF-101, 16x128x128)": 162.0},
        serves=("tats",),
    ),
    *(
        Preset(
            f"video/magvit_{size}_4x8x8.k1024",
            ConvVq,
            Config(
                Vq(dim=256, size=1024),
                width=width,
                widen=(1, 2, 2, 4),
                strides=_MAGVIT_LEVELS,
                blocks=blocks,
                padding="reflect",
            ),
            _MAGVIT,
            "video/conv_vq_replicate_tiny",
            published,
            serves=("magvit",),
        )
        for size, width, blocks, published in (
            ("b", 64, 2, {}),
            ("l", 128, 4, {"rfvd (UCF-101, 16x128x128)": 25.0}),
        )
    ),
    Preset(
        "video/motionaura_4x8x8.k16384",
        ConvVq,
        Config(
            Vq(dim=256, size=16384),
            width=64,
            widen=(1, 2, 4),
            strides=_T488,
            blocks=2,
            block="inverted",
        ),
        _AURA,
        "video/conv_vq_inverted_tiny",
        serves=("motionaura",),
    ),
    *(
        Preset(
            f"video/vidtok_{name}",
            ConvVq,
            _vidtok(quantizer, space),
            _VIDTOK,
            "video/conv_vq_replicate_tiny",
            {
                f"{metric} (MCL-JCV, 256x256, 30 fps)": value
                for metric, value in zip(("psnr", "ssim", "lpips", "rfvd"), scores, strict=True)
            },
        )
        for name, quantizer, space, *scores in (
            ("fsq_noncausal_488.k262144", _FSQ, 8, 30.78, 0.889, 0.091, 132.1),
            ("fsq_noncausal_41616.k262144", _FSQ, 16, 26.37, 0.772, 0.171, 357.0),
            ("kl_noncausal_488.ch16", KL(dim=576, channels=16), 8, 36.13, 0.950, 0.044, 60.5),
        )
    ),
)
