"""Slow structure and fast dynamics of a window as two latents: VidTwin.

Structure: a few learned queries read every place over time, so that what lasts is kept at each
place. Dynamics: features summed over rows and over columns, so that every frame keeps where
something moves, not what it looks like. The decoder brings both together; the dynamics of another
clip may take the place of a clip's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from zoo.layers.attention import Pattern, TransformerLayer
from zoo.layers.patch_nets import PatchDecoder, PatchEncoder
from zoo.layers.patches import cut
from zoo.layers.quantizers import KL, QuantizerConfig, build
from zoo.layers.specs import grid_stream, window_spec
from zoo.layers.streams import quantize_streams
from zoo.registry import Preset
from zoo.spec import Axis, TokenizerSpec
from zoo.tokenizer import Reconstruction, State, Tokenizer

__all__ = ["PRESETS", "Config", "StructureDynamics"]


@dataclass(frozen=True)
class Config:
    """`queries` are positions in time of the structure; both latents are on a grid of half the
    patches' rows and columns."""

    structure: QuantizerConfig
    dynamics: QuantizerConfig
    clip: tuple[int, int] = (16, 224)
    patch: int = 16
    queries: int = 16
    width: int = 768
    heads: int = 12
    layers: tuple[Pattern, ...] = ("space", "time") * 8
    decoder_width: int = 768
    decoder_heads: int = 12
    decoder_layers: tuple[Pattern, ...] = ("space", "time") * 8

    @property
    def side(self) -> int:
        """Rows, and columns, of both latents."""
        return self.clip[1] // self.patch // 2


class Resample(nn.Module):
    """(B, T, h, w, D) to (B, count, h, w, D): learned queries read each place over time."""

    def __init__(self, dim: int, heads: int, frames: int, count: int):
        super().__init__()
        self.when = nn.Parameter(torch.randn(frames, dim) * 0.02)
        self.queries = nn.Parameter(torch.randn(count, dim) * 0.02)
        self.layer = TransformerLayer(dim, heads, context=dim)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, rows, columns, _ = x.shape
        places = x.permute(0, 2, 3, 1, 4).flatten(0, 2) + self.when
        read = self.layer(self.queries.expand(len(places), -1, -1), context=places)
        return read.unflatten(0, (batch, rows, columns)).permute(0, 3, 1, 2, 4)


class Separate(nn.Module):
    """A window to the features of its structure and of its dynamics, channels last."""

    def __init__(self, config: Config):
        super().__init__()
        width, patch = config.width, (1, config.patch)
        self.look = PatchEncoder(width, patch, width, config.heads, config.layers)
        self.halve = nn.Linear(4 * width, width)
        self.last = Resample(width, config.heads, config.clip[0], config.queries)
        self.structure = nn.Linear(width, config.structure.dim)
        self.dynamics = nn.Linear(width, config.dynamics.dim)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        halved = self.halve(cut(self.look(x), 1, 2))
        moving = torch.cat([halved.mean(dim=3), halved.mean(dim=2)], dim=2)
        return {"structure": self.structure(self.last(halved)), "dynamics": self.dynamics(moving)}


class Unite(nn.Module):
    """The way back."""

    def __init__(self, config: Config):
        super().__init__()
        width, self.side = config.decoder_width, config.side
        self.structure = nn.Linear(config.structure.dim, width)
        self.dynamics = nn.Linear(config.dynamics.dim, width)
        self.unroll = Resample(width, config.decoder_heads, config.queries, config.clip[0])
        self.draw = PatchDecoder(
            2 * width, (1, config.patch), width, config.decoder_heads, config.decoder_layers
        )

    def forward(self, structure: Tensor, dynamics: Tensor) -> Tensor:
        rows, columns = self.dynamics(dynamics).split(self.side, dim=2)
        moving = rows.unsqueeze(3) + columns.unsqueeze(2)
        lasting = self.unroll(self.structure(structure))
        both = torch.cat([lasting, moving], dim=-1)
        return self.draw(
            both.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3).movedim(-1, 1)
        )


class StructureDynamics(Tokenizer):
    """Two latents for each window."""

    config_class = Config
    encode_side = ("encoder", "quantizers")
    decode_side = ("quantizers.structure.out.", "quantizers.dynamics.out.")
    loss_weights: ClassVar[dict[str, float]] = {"kl": 1e-6}

    def __init__(self, config: Config):
        super().__init__(config)
        self.quantizers = nn.ModuleDict(
            {"structure": build(config.structure), "dynamics": build(config.dynamics)}
        )
        self.encoder = Separate(config)
        self.decoder = Unite(config)

    def describe(self) -> TokenizerSpec:
        config = self.config
        frames, size = config.clip
        stride = config.patch * 2
        rows, columns = Axis("h", stride=stride), Axis("w", stride=stride)
        return window_spec(
            frames,
            grid_stream(
                self.quantizers["structure"],
                rows,
                columns,
                name="structure",
                positions=config.queries,
            ),
            grid_stream(
                self.quantizers["dynamics"],
                Axis("n", 2 * config.side),
                name="dynamics",
                positions=frames,
            ),
            multiple=stride,
            size=(size, size),
        )

    def encode_piece(self, x: Tensor, state: State) -> dict[str, Tensor]:
        return {name: self.quantizers[name].encode(z) for name, z in self.encoder(x).items()}

    def decode_piece(
        self, streams: dict[str, Tensor], state: State, size: tuple[int, ...]
    ) -> Tensor:
        return self.decoder(**{n: self.quantizers[n].decode(z) for n, z in streams.items()})

    def forward(self, x: Tensor) -> Reconstruction:
        values, losses, ids = quantize_streams(self.quantizers, self.encoder(x))
        return Reconstruction(self.decoder(**values), losses, ids)


_VIDTWIN = "VidTwin: Video VAE with Decoupled Structure and Dynamics, arXiv:2412.17726"
_TINY = "video/structure_dynamics_tiny"

PRESETS = (
    Preset(
        _TINY,
        StructureDynamics,
        Config(
            KL(dim=48, channels=16),
            KL(dim=48, channels=16),
            clip=(4, 16),
            patch=4,
            queries=4,
            width=48,
            heads=2,
            layers=("space", "time"),
            decoder_width=48,
            decoder_heads=2,
            decoder_layers=("space", "time"),
        ),
        _VIDTWIN,
    ),
    Preset(
        "video/vidtwin_16x224.ch12",
        StructureDynamics,
        Config(KL(dim=768, channels=4), KL(dim=768, channels=8)),
        _VIDTWIN,
        _TINY,
        serves=("vidtwin",),
    ),
)
