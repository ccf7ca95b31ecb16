"""TATS's 3D VQGAN as it was released, weight for weight: its checkpoints keep their ids.

`conv_vq` has the same idea in the zoo's own layers and is the one to train. This one has what the
released weights need: kernels of 4 where it strides, transposed convolutions, and group or batch
normalisation. Edges are repeated, which is the paper's point: tokens do not tell how far they are
from the first frame. Pixels are -0.5 to 0.5 inside. A checkpoint is read by
`zoo.adapters.convert("tats", PATH)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from zoo.autoencoder import Autoencoder
from zoo.layers.quantizers import QuantizerConfig, Vq, build
from zoo.layers.same_conv import SameConv3d, SameConvTranspose3d, halvings
from zoo.layers.specs import divided_spec
from zoo.registry import Preset
from zoo.spec import TokenizerSpec
from zoo.tokenizer import State

__all__ = ["PRESETS", "Config", "Tats"]

GROUPS = 32
PIXELS = 0.5
"""Of our -1..1 inside the network."""


@dataclass(frozen=True)
class Config:
    """`downsample` divides (time, rows, columns); every layer that strides doubles the width."""

    quantizer: QuantizerConfig
    frames: int = 16
    downsample: tuple[int, int, int] = (4, 8, 8)
    width: int = 32
    norm: Literal["group", "batch"] = "batch"


def _norm(config: Config, width: int) -> nn.Module:
    if config.norm == "batch":
        return nn.BatchNorm3d(width)
    return nn.GroupNorm(min(GROUPS, width), width, eps=1e-6)


class ResBlock(nn.Module):
    """Two normalised convolutions beside a shortcut."""

    def __init__(self, config: Config, width: int):
        super().__init__()
        self.norm1, self.norm2 = _norm(config, width), _norm(config, width)
        self.conv1, self.conv2 = (
            SameConv3d(width, width, 3, padding="replicate") for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(functional.silu(self.norm1(x)))
        return x + self.conv2(functional.silu(self.norm2(y)))


class Encoder(nn.Module):
    """(B, 3, T, H, W) to (B, dim, T/t, H/s, W/s)."""

    def __init__(self, config: Config, dim: int):
        super().__init__()
        self.conv_first = SameConv3d(3, config.width, 3, padding="replicate")
        self.conv_blocks = nn.ModuleList()
        width = config.width
        for stride in halvings(config.downsample):
            down = SameConv3d(width, 2 * width, 4, stride, padding="replicate")
            width *= 2
            self.conv_blocks.append(nn.ModuleDict({"down": down, "res": ResBlock(config, width)}))
        self.final_block = nn.Sequential(_norm(config, width), nn.SiLU())
        self.head = SameConv3d(width, dim, 1)

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        y = self.conv_first(x * PIXELS)
        for block in self.conv_blocks:
            y = block["res"](block["down"](y))
        return self.head(self.final_block(y))


class Decoder(nn.Module):
    """(B, dim, T/t, H/s, W/s) to (B, 3, T, H, W)."""

    def __init__(self, config: Config, dim: int):
        super().__init__()
        strides = halvings(config.downsample)
        before = config.width * 2 ** len(strides)
        self.stem = SameConv3d(dim, before, 1)
        self.final_block = nn.Sequential(_norm(config, before), nn.SiLU())
        self.conv_blocks = nn.ModuleList()
        for layer, stride in enumerate(strides):
            width = config.width * 2 ** (len(strides) - layer)
            up = SameConvTranspose3d(before, width, 4, stride, padding="replicate")
            res1, res2 = ResBlock(config, width), ResBlock(config, width)
            self.conv_blocks.append(nn.ModuleDict({"up": up, "res1": res1, "res2": res2}))
            before = width
        self.conv_last = SameConv3d(before, 3, 3, padding="replicate")

    def forward(self, z: Tensor, state: State | None = None) -> Tensor:
        y = self.final_block(self.stem(z))
        for block in self.conv_blocks:
            y = block["res2"](block["res1"](block["up"](y)))
        return self.conv_last(y) / PIXELS


class Tats(Autoencoder):
    """The 3D VQGAN of TATS, over windows."""

    config_class = Config

    def __init__(self, config: Config):
        super().__init__(config)
        self.quantizer = build(config.quantizer)
        self.encoder = Encoder(config, self.quantizer.dim)
        self.decoder = Decoder(config, self.quantizer.dim)

    def describe(self) -> TokenizerSpec:
        return divided_spec(self.quantizer, self.config.frames, self.config.downsample)


_PAPER = "Long Video Generation with Time-Agnostic VQGAN and Time-Sensitive Transformer, "
_PAPER += "arXiv:2204.03638"

PRESETS = (
    Preset(
        "video/tats_released_tiny",
        Tats,
        Config(Vq(dim=16, size=64), frames=8, downsample=(2, 4, 4), width=16, norm="group"),
        _PAPER,
    ),
    Preset(
        "video/tats_released_4x8x8.k16384",
        Tats,
        Config(Vq(dim=256, size=16384)),
        _PAPER,
        "video/tats_released_tiny",
    ),
)
