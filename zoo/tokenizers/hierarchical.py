"""Ids of a long window in levels from coarse to fine, each a stream of its own: HiTVideo.

Features of a window are averaged over large cells of space and time and quantized; what the coarse
ids leave over goes to the next, finer level. Every level has its codebook and its stream, so that a
shard stores levels as columns and a generator learns the short coarse one first. The coarse levels
decode alone: `tokens.keep(1)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.errors import UsageError
from zoo.layers.attention import Pattern
from zoo.layers.patch_nets import PatchDecoder, PatchEncoder
from zoo.layers.quantizers import Vq, build
from zoo.layers.specs import window_spec
from zoo.registry import Preset
from zoo.spec import Axis, StreamSpec, TokenizerSpec
from zoo.tokenizer import Reconstruction, State, Tokenizer

__all__ = ["PRESETS", "Config", "Hierarchical"]


@dataclass(frozen=True)
class Config:
    """`cells` are (positions in time, rows and columns) that one id of a level covers, coarse to
    fine; codes are as wide as the features, so that what they leave over can be coded again."""

    quantizer: Vq
    cells: tuple[tuple[int, int], ...] = ((4, 4), (2, 2), (1, 1))
    frames: int = 64
    patch: tuple[int, int] = (4, 8)
    width: int = 512
    heads: int = 8
    layers: tuple[Pattern, ...] = ("space", "time") * 6
    decoder_width: int = 512
    decoder_heads: int = 8
    decoder_layers: tuple[Pattern, ...] = ("space", "time") * 6

    def __post_init__(self) -> None:
        if self.quantizer.code_dim is not None:
            raise UsageError(
                f"code_dim is {self.quantizer.code_dim}", allowed="None: codes of the full width"
            )
        if self.frames % (self.patch[0] * self.cells[0][0]):
            raise UsageError(
                f"windows of {self.frames} frames for cells of {self.cells[0][0]} positions",
                allowed=f"a multiple of {self.patch[0] * self.cells[0][0]}",
            )

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"level{number}" for number in range(len(self.cells)))


class Hierarchical(Tokenizer):
    """One stream of ids a level; the first ones decode alone."""

    config_class = Config
    encode_side = ("encoder", "quantizers")
    loss_weights: ClassVar[dict[str, float]] = {"commitment": 0.25}

    def __init__(self, config: Config):
        super().__init__(config)
        self.quantizers = nn.ModuleList(build(config.quantizer) for _ in config.cells)
        dim = config.quantizer.dim
        self.encoder = PatchEncoder(dim, config.patch, config.width, config.heads, config.layers)
        self.decoder = PatchDecoder(
            dim, config.patch, config.decoder_width, config.decoder_heads, config.decoder_layers
        )

    def describe(self) -> TokenizerSpec:
        config = self.config
        pace, side = config.patch
        streams: list[StreamSpec] = []
        for name, (time, space) in zip(config.names, config.cells, strict=True):
            steps = config.frames // pace // time
            axes = Axis("h", stride=side * space), Axis("w", stride=side * space)
            ordered = "stream" if streams else ""
            levels = (config.quantizer.size,)
            streams.append(StreamSpec(name, axes, steps, steps, levels, ordered=ordered))
        return window_spec(config.frames, *streams, multiple=side * config.cells[0][1])

    def encode_piece(self, x: Tensor, state: State) -> dict[str, Tensor]:
        left, streams = self.encoder(x).movedim(1, -1), {}
        for name, cell, quantizer in self._levels():
            streams[name] = quantizer.encode(_coarse(left, cell))
            left = left - _fine(quantizer.decode(streams[name]), cell)
        return streams

    def decode_piece(
        self, streams: dict[str, Tensor], state: State, size: tuple[int, ...]
    ) -> Tensor:
        total = torch.zeros((), device=self.device)
        for name, cell, quantizer in self._levels():
            if name not in streams:
                break
            total = total + _fine(quantizer.decode(streams[name]), cell)
        return self.decoder(total.movedim(-1, 1))

    def forward(self, x: Tensor) -> Reconstruction:
        z = self.encoder(x).movedim(1, -1)
        total, sums, ids, losses = torch.zeros_like(z), [], {}, []
        for name, cell, quantizer in self._levels():
            quantized = quantizer(_coarse(z - total.detach(), cell))
            total = total + _fine(quantized.values, cell)
            sums.append(total)
            ids[name] = quantized.ids
            losses.append(quantized.losses["commitment"])
        coarse = sums[int(torch.randint(max(1, len(sums) - 1), ()))]
        return Reconstruction(
            self.decoder(total.movedim(-1, 1)),
            {
                "commitment": torch.stack(losses).mean(),
                "prefix": functional.mse_loss(self.decoder(coarse.movedim(-1, 1)), x),
            },
            ids,
        )

    def _levels(self) -> zip[tuple[str, tuple[int, int], nn.Module]]:
        return zip(self.config.names, self.config.cells, self.quantizers, strict=True)


def _coarse(z: Tensor, cell: tuple[int, int]) -> Tensor:
    """Means over cells of (B, T, h, w, D)."""
    time, space = cell
    z = z.unflatten(3, (-1, space)).unflatten(2, (-1, space)).unflatten(1, (-1, time))
    return z.mean(dim=(2, 4, 6))


def _fine(z: Tensor, cell: tuple[int, int]) -> Tensor:
    """Every mean at all places of its cell."""
    time, space = cell
    for axis, count in ((1, time), (2, space), (3, space)):
        z = z.repeat_interleave(count, dim=axis)
    return z


_HITVIDEO = (
    "HiTVideo: Hierarchical Tokenizers for Enhancing Text-to-Video Generation with "
    "Autoregressive Large Language Models, arXiv:2503.11513"
)
_TINY = "video/hierarchical_tiny"

PRESETS = (
    Preset(
        _TINY,
        Hierarchical,
        Config(
            Vq(dim=32, size=64),
            cells=((4, 2), (2, 1), (1, 1)),
            frames=8,
            patch=(2, 4),
            width=48,
            heads=2,
            layers=("space", "time"),
            decoder_width=48,
            decoder_heads=2,
            decoder_layers=("space", "time"),
        ),
        _HITVIDEO,
    ),
    Preset(
        "video/hitvideo_64.k8192",
        Hierarchical,
        Config(Vq(dim=256, size=8192)),
        _HITVIDEO,
        _TINY,
        serves=("hitvideo",),
    ),
)
