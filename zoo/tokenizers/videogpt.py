"""VideoGPT's VQ-VAE as it was released, weight for weight: its checkpoints keep their ids.

`conv_vq` has the same idea in the zoo's own layers and is the one to train. This one has what the
released weights need: batch normalisation, zeros at the edges, and blocks that end in attention
along columns, rows and time without positions, so that any size goes through. Pixels are -0.5 to
0.5 inside. A checkpoint is read by `zoo.adapters.convert("videogpt", PATH)`.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from zoo.autoencoder import Autoencoder
from zoo.layers.quantizers import QuantizerConfig, Vq, build
from zoo.layers.same_conv import SameConv3d, SameConvTranspose3d, halvings
from zoo.layers.specs import divided_spec
from zoo.registry import Preset
from zoo.spec import TokenizerSpec
from zoo.tokenizer import State

__all__ = ["PRESETS", "Config", "VideoGpt"]

HEADS = 2
PIXELS = 0.5
"""Of our -1..1 inside the network."""


@dataclass(frozen=True)
class Config:
    """`downsample` divides (time, rows, columns)."""

    quantizer: QuantizerConfig
    frames: int = 16
    downsample: tuple[int, int, int] = (4, 4, 4)
    width: int = 240
    blocks: int = 4


class Line(nn.Module):
    """Attention of each position to those on its line along one axis of (B, T, H, W, C)."""

    def __init__(self, width: int, axis: int):
        super().__init__()
        self.axis = axis
        self.w_qs = nn.Linear(width, width, bias=False)
        self.w_ks = nn.Linear(width, width, bias=False)
        self.w_vs = nn.Linear(width, width, bias=False)
        self.fc = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        lines = x.movedim(self.axis, -2)
        q, k, v = (
            part(lines).unflatten(-1, (HEADS, -1)).transpose(-2, -3)
            for part in (self.w_qs, self.w_ks, self.w_vs)
        )
        seen = functional.scaled_dot_product_attention(q, k, v)
        return self.fc(seen.transpose(-2, -3).flatten(-2)).movedim(-2, self.axis)


class Lines(nn.Module):
    """The sum of attention along all three axes."""

    def __init__(self, width: int):
        super().__init__()
        self.attn_w, self.attn_h, self.attn_t = (Line(width, axis) for axis in (3, 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = x.movedim(1, -1)
        return (self.attn_w(y) + self.attn_h(y) + self.attn_t(y)).movedim(-1, 1)


class Block(nn.Module):
    """Two convolutions and attention beside a shortcut."""

    def __init__(self, width: int):
        super().__init__()
        self.block = nn.Sequential(
            nn.BatchNorm3d(width),
            nn.ReLU(),
            SameConv3d(width, width // 2, 3, bias=False),
            nn.BatchNorm3d(width // 2),
            nn.ReLU(),
            SameConv3d(width // 2, width, 1, bias=False),
            nn.BatchNorm3d(width),
            nn.ReLU(),
            Lines(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x)


def _stack(config: Config) -> nn.Sequential:
    blocks = (Block(config.width) for _ in range(config.blocks))
    return nn.Sequential(*blocks, nn.BatchNorm3d(config.width), nn.ReLU())


class Encoder(nn.Module):
    """(B, 3, T, H, W) to (B, dim, T/t, H/s, W/s)."""

    def __init__(self, config: Config, dim: int):
        super().__init__()
        width = config.width
        self.convs = nn.ModuleList(
            SameConv3d(width if layer else 3, width, 4, stride)
            for layer, stride in enumerate(halvings(config.downsample))
        )
        self.conv_last = SameConv3d(width, width, 3)
        self.res_stack = _stack(config)
        self.head = SameConv3d(width, dim, 1)

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        y = x * PIXELS
        for conv in self.convs:
            y = conv(y).relu()
        return self.head(self.res_stack(self.conv_last(y)))


class Decoder(nn.Module):
    """(B, dim, T/t, H/s, W/s) to (B, 3, T, H, W)."""

    def __init__(self, config: Config, dim: int):
        super().__init__()
        strides = halvings(config.downsample)
        outs = [config.width] * (len(strides) - 1) + [3]
        self.stem = SameConv3d(dim, config.width, 1)
        self.res_stack = _stack(config)
        self.convts = nn.ModuleList(
            SameConvTranspose3d(config.width, out, 4, stride)
            for out, stride in zip(outs, strides, strict=True)
        )

    def forward(self, z: Tensor, state: State | None = None) -> Tensor:
        y = self.res_stack(self.stem(z))
        for convt in self.convts[:-1]:
            y = convt(y).relu()
        return self.convts[-1](y) / PIXELS


class VideoGpt(Autoencoder):
    """The VQ-VAE of VideoGPT, over windows."""

    config_class = Config

    def __init__(self, config: Config):
        super().__init__(config)
        self.quantizer = build(config.quantizer)
        self.encoder = Encoder(config, self.quantizer.dim)
        self.decoder = Decoder(config, self.quantizer.dim)

    def describe(self) -> TokenizerSpec:
        return divided_spec(self.quantizer, self.config.frames, self.config.downsample)


_PAPER = "VideoGPT: Video Generation using VQ-VAE and Transformers, arXiv:2104.10157"

PRESETS = (
    Preset(
        "video/videogpt_released_tiny",
        VideoGpt,
        Config(Vq(dim=16, size=64), frames=8, width=32, blocks=1),
        _PAPER,
    ),
    Preset(
        "video/videogpt_released_4x4x4.k2048",
        VideoGpt,
        Config(Vq(dim=256, size=2048)),
        _PAPER,
        "video/videogpt_released_tiny",
    ),
)
