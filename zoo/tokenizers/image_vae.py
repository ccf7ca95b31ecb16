"""Image autoencoders whose decoder knows time: the VAE of Stable Video Diffusion.

Every frame is encoded on its own, so an image model's latents serve video as they are. The decoder
sees `frames` of them together, and beside each convolution in space has one along time, which takes
out the flicker that decoding frame by frame shows.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.autoencoder import Autoencoder
from zoo.layers.causal import FrameNorm, SpaceUp
from zoo.layers.conv import Conv3d
from zoo.layers.frames import FrameEncoder
from zoo.layers.quantizers import KL, QuantizerConfig, build
from zoo.layers.specs import grid_stream, window_spec
from zoo.registry import Preset
from zoo.spec import Axis, TokenizerSpec
from zoo.tokenizer import State

__all__ = ["PRESETS", "Config", "ImageVae"]


@dataclass(frozen=True)
class Config:
    """`frames` are decoded together; `widen` has one entry for each resolution."""

    quantizer: QuantizerConfig
    frames: int = 14
    width: int = 128
    widen: tuple[int, ...] = (1, 2, 4, 4)
    blocks: int = 2
    decoder_width: int = 128
    decoder_blocks: int = 3

    @property
    def stride(self) -> int:
        return 2 ** (len(self.widen) - 1)


class Residual(nn.Module):
    """Two normalised convolutions of one kernel; the second begins at zero."""

    def __init__(self, width: int, kernel: tuple[int, int, int]):
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
        self.norm1, self.conv1 = FrameNorm(width), Conv3d(width, width, kernel, padding=padding)
        self.norm2, self.conv2 = FrameNorm(width), Conv3d(width, width, kernel, padding=padding)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(functional.silu(self.norm1(x)))
        return self.conv2(functional.silu(self.norm2(y)))


class SpaceTimeBlock(nn.Module):
    """A residual in space, then one along time by a learned share."""

    def __init__(self, width: int):
        super().__init__()
        self.space, self.time = Residual(width, (1, 3, 3)), Residual(width, (3, 1, 1))
        self.share = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.space(x)
        return x + self.share.sigmoid() * self.time(x)


class TemporalDecoder(nn.Module):
    """(B, dim, T, h, w) to (B, 3, T, H, W), all frames of a piece together."""

    def __init__(self, config: Config, dim: int):
        super().__init__()
        widths = [config.decoder_width * factor for factor in config.widen][::-1]
        layers: list[nn.Module] = [Conv3d(dim, widths[0], (1, 3, 3), padding=(0, 1, 1))]
        layers += [SpaceTimeBlock(widths[0]) for _ in range(config.decoder_blocks)]
        for before, after in itertools.pairwise(widths):
            layers.append(SpaceUp(before, after))
            layers += [SpaceTimeBlock(after) for _ in range(config.decoder_blocks)]
        self.layers = nn.Sequential(*layers, FrameNorm(widths[-1]), nn.SiLU())
        self.head = Conv3d(widths[-1], 3, (1, 3, 3), padding=(0, 1, 1))
        self.time_head = Conv3d(3, 3, (3, 1, 1), padding=(1, 0, 0))

    def forward(self, z: Tensor, state: State | None = None) -> Tensor:
        y = self.head(self.layers(z))
        return y + self.time_head(y)


class ImageVae(Autoencoder):
    """Latents by frame, a decoder over frames."""

    config_class = Config

    def __init__(self, config: Config):
        super().__init__(config)
        self.pace = config.frames
        self.quantizer = build(config.quantizer)
        dim = self.quantizer.dim
        self.encoder = FrameEncoder(3, dim, config.width, config.widen, config.blocks)
        self.decoder = TemporalDecoder(config, dim)

    def describe(self) -> TokenizerSpec:
        stride = self.config.stride
        stream = grid_stream(self.quantizer, Axis("h", stride=stride), Axis("w", stride=stride))
        return replace(window_spec(1, stream, multiple=stride), causal=True)


_SVD = "Stable Video Diffusion: Scaling Latent Video Diffusion Models, arXiv:2311.15127"
_TINY = Config(
    KL(dim=32, channels=4),
    frames=3,
    width=16,
    widen=(1, 2),
    blocks=1,
    decoder_width=16,
    decoder_blocks=1,
)

PRESETS = (
    Preset("video/image_vae_temporal_tiny", ImageVae, _TINY, _SVD),
    Preset(
        "video/svd_kl_1x8x8.ch4",
        ImageVae,
        Config(KL(dim=512, channels=4)),
        _SVD,
        "video/image_vae_temporal_tiny",
    ),
)
