"""Sets of vectors without an order, as one short sequence of residual ids: VAT.

A frame is a set of points: of a body, a scan, a cloud. Learned queries read the set by attention,
in no order, and become a row of latents that is quantized from one cell to many. Any prefix of the
ids decodes to a whole set; what a sample costs is `tokenizer.spec.bits(size) / 8` bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from zoo.layers.attention import TransformerLayer
from zoo.layers.quantizers import MultiScale
from zoo.layers.quantizers.multiscale import MultiScaleQuantizer
from zoo.layers.specs import grid_stream
from zoo.layers.streams import quantize_streams
from zoo.registry import Preset
from zoo.spec import Axis, LengthRule, TokenizerSpec
from zoo.tokenizer import Reconstruction, State, Tokenizer

__all__ = ["PRESETS", "Config", "VectorSet", "chamfer"]


@dataclass(frozen=True)
class Config:
    """`points` vectors of `channels` numbers; `quantizer` has scales of one axis."""

    quantizer: MultiScale
    points: int = 2048
    channels: int = 3
    width: int = 512
    heads: int = 8
    layers: int = 8
    decoder_width: int = 512
    decoder_heads: int = 8
    decoder_layers: int = 16

    @property
    def queries(self) -> int:
        return self.quantizer.scales[-1][0]


class ReadSet(nn.Module):
    """(N, points, channels) to (N, queries, dim), whatever the order of the points."""

    def __init__(self, config: Config):
        super().__init__()
        width = config.width
        self.stem = _mlp(config.channels, width)
        self.queries = nn.Parameter(torch.randn(config.queries, width) * 0.02)
        self.layers = nn.ModuleList(
            TransformerLayer(width, config.heads, context=width) for _ in range(config.layers)
        )
        self.head = nn.Linear(width, config.quantizer.dim)

    def forward(self, points: Tensor) -> Tensor:
        # Sums round differently in another order, so the points are put into one of their own.
        seen = self.stem(in_order(points))
        x = self.queries.expand(len(points), -1, -1)
        for layer in self.layers:
            x = layer(x, context=seen)
        return self.head(x)


class WriteSet(nn.Module):
    """(N, queries, dim) to (N, points, channels)."""

    def __init__(self, config: Config):
        super().__init__()
        width = config.decoder_width
        self.stem = nn.Linear(config.quantizer.dim, width)
        self.where = nn.Parameter(torch.randn(config.queries, width) * 0.02)
        self.layers = nn.ModuleList(
            TransformerLayer(width, config.decoder_heads) for _ in range(config.decoder_layers)
        )
        self.slots = nn.Parameter(torch.randn(config.points, width) * 0.5)
        self.write = TransformerLayer(width, config.decoder_heads, context=width)
        self.head = nn.Linear(width, config.channels)

    def forward(self, values: Tensor) -> Tensor:
        x = self.stem(values) + self.where
        for layer in self.layers:
            x = layer(x)
        return self.head(self.write(self.slots.expand(len(values), -1, -1), context=x))


class VectorSet(Tokenizer):
    """A tokenizer of sets, trained by the distance of two sets."""

    config_class = Config
    version = 2
    pace = 16
    loss_weights: ClassVar[dict[str, float]] = {"commitment": 0.25}
    quantizer: MultiScaleQuantizer

    def __init__(self, config: Config):
        super().__init__(config)
        self.quantizer = MultiScaleQuantizer(config.quantizer)
        self.encoder = ReadSet(config)
        self.decoder = WriteSet(config)

    def describe(self) -> TokenizerSpec:
        count = Axis("n", sum(self.quantizer.positions))
        return TokenizerSpec(
            modality="joints",
            channels=self.config.channels,
            joints=self.config.points,
            length=LengthRule(1, 1),
            streams=(grid_stream(self.quantizer, count, ordered="n"),),
            causal=True,
            streaming=True,
        )

    def encode_piece(self, x: Tensor, state: State) -> dict[str, Tensor]:
        return {"tokens": self.quantizer.encode(self._features(x))}

    def decode_piece(
        self, streams: dict[str, Tensor], state: State, size: tuple[int, ...]
    ) -> Tensor:
        return self._points(self.quantizer.decode(streams["tokens"]))

    def forward(self, x: Tensor) -> Reconstruction:
        values, losses, ids = quantize_streams(
            {"tokens": self.quantizer}, {"tokens": self._features(x)}
        )
        count = int(torch.randint(1, max(2, len(self.quantizer.scales)), ()))
        coarse = self.quantizer.decode(ids["tokens"], levels=count)
        own = {
            "chamfer": chamfer(self._points(values["tokens"]), x),
            "prefix": chamfer(self._points(coarse), x),
        }
        return Reconstruction(None, losses | own, ids)

    def _features(self, x: Tensor) -> Tensor:
        return self.encoder(x.flatten(0, 1)).unflatten(0, x.shape[:2])

    def _points(self, values: Tensor) -> Tensor:
        return self.decoder(values.flatten(0, 1)).unflatten(0, values.shape[:2])


def in_order(points: Tensor) -> Tensor:
    """Vectors (N, points, channels) sorted by their first channel, ties by the next and so on."""
    for channel in reversed(range(points.shape[-1])):
        order = points[..., channel].argsort(dim=1, stable=True)
        points = points.gather(1, order.unsqueeze(-1).expand_as(points))
    return points


def chamfer(made: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared distance to the nearest vector of the other set, both ways, halved."""
    apart = (made.unsqueeze(-2) - wanted.unsqueeze(-3)).square().sum(-1)
    return (apart.amin(-1).mean() + apart.amin(-2).mean()) / 2


def _mlp(channels: int, width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(channels, width), nn.GELU(), nn.Linear(width, width))


def _rows(*lengths: int) -> tuple[tuple[int], ...]:
    return tuple((length,) for length in lengths)


_VAT = (
    "3D representation in 512-Byte: Variational tokenizer is the key for autoregressive 3D "
    "generation, arXiv:2412.02202"
)
_TINY = "joints/vector_set_tiny"

PRESETS = (
    Preset(
        _TINY,
        VectorSet,
        Config(
            MultiScale(dim=32, size=64, scales=_rows(1, 2, 4, 8)),
            points=24,
            width=32,
            heads=2,
            layers=1,
            decoder_width=32,
            decoder_heads=2,
            decoder_layers=1,
        ),
        _VAT,
    ),
    Preset(
        "joints/vat_2048.k16384",
        VectorSet,
        Config(MultiScale(dim=64, size=16384, scales=_rows(1, 4, 9, 16, 36, 64, 160))),
        _VAT,
        _TINY,
        {"bytes of a sample": 512},
        serves=("vat",),
    ),
)
