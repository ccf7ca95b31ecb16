"""M-AdaCode: several codebooks blended at each position, of which the weak ones may be masked.

Every codebook has its own idea of a feature, and weights say how to blend them. `mask` drops the
entries with the least weight: they need no id, so a picture takes fewer bytes and comes back less
exactly. Training masks at random, so one model serves every rate. `compress` writes what is kept,
and its bytes decode on their own.
"""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from zoo.errors import UsageError
from zoo.layers import range_coder
from zoo.layers.quantizers import Vq, build
from zoo.layers.quantizers.base import straight_through
from zoo.registry import Preset
from zoo.spec import Axis, LengthRule, StreamSpec, TokenizerSpec
from zoo.tokenizer import Reconstruction, State, Tokenizer
from zoo.tokens import Tokens

__all__ = ["PRESETS", "Config", "MaskedCodebooks"]

_WEIGHTS = 15
"""Weights are whole parts of this; 0 is a masked entry."""

_HEADER = struct.Struct("<HHHH")
"""Frames, rows, columns, and the share of kept entries."""


@dataclass(frozen=True)
class Config:
    """`codebooks` of `size` codes each, one position to 2**halvings pixels."""

    codebooks: int = 4
    size: int = 256
    dim: int = 256
    width: int = 128
    halvings: int = 4
    decoder_width: int = 128

    @property
    def space(self) -> int:
        return 2**self.halvings


class MaskedCodebooks(Tokenizer):
    """Pictures to ids of several codebooks and the weights that blend them."""

    config_class = Config
    encode_side = ("encoder", "weigher", "quantizers")
    loss_weights: ClassVar[dict[str, float]] = {"commitment": 0.25}
    pace = 4

    def __init__(self, config: Config):
        super().__init__(config)
        self.encoder = _down(config)
        self.weigher = nn.Conv2d(config.dim, config.codebooks, 1)
        self.quantizers = nn.ModuleList(
            build(Vq(dim=config.dim, size=config.size, seed=place))
            for place in range(config.codebooks)
        )
        self.decoder = _up(config)

    def describe(self) -> TokenizerSpec:
        config = self.config
        axes = (Axis("h", stride=config.space), Axis("w", stride=config.space))
        return TokenizerSpec(
            modality="image",
            channels=3,
            length=LengthRule(1, 1),
            streams=(
                StreamSpec("codes", axes, levels=(config.size,) * config.codebooks),
                StreamSpec("weights", axes, levels=(_WEIGHTS + 1,) * config.codebooks),
            ),
            multiple=config.space,
            value_range=(-1.0, 1.0),
            causal=True,
            streaming=True,
        )

    def encode_piece(self, x: Tensor, state: State) -> dict[str, Tensor]:
        z = self.encoder(x.transpose(1, 2).flatten(0, 1))
        codes = [quantizer.encode(z.movedim(1, -1)) for quantizer in self.quantizers]
        weights = self._weights(z).round().long()
        return {"codes": torch.stack(codes, dim=-1)[None], "weights": weights[None]}

    def decode_piece(
        self, streams: dict[str, Tensor], state: State, size: tuple[int, ...]
    ) -> Tensor:
        codes, weights = streams["codes"][0], streams["weights"][0].float()
        values = [
            quantizer.decode(codes[..., place]) for place, quantizer in enumerate(self.quantizers)
        ]
        return self._picture(values, weights).transpose(0, 1)[None]

    def forward(self, x: Tensor) -> Reconstruction:
        z = self.encoder(x.transpose(1, 2).flatten(0, 1))
        weights = self._weights(z)
        weights = straight_through(weights, weights.round())
        if self.training:
            ratios = torch.rand(len(z), device=z.device).tolist()
            kept = [_kept(one, ratio) for one, ratio in zip(weights.detach(), ratios, strict=True)]
            weights = weights * torch.stack(kept)
        parts = [quantizer(z.movedim(1, -1)) for quantizer in self.quantizers]
        output = self._picture([part.values for part in parts], weights)
        ids = torch.stack([part.ids for part in parts], dim=-1)
        return Reconstruction(
            output.unflatten(0, (len(x), -1)).transpose(1, 2),
            {"commitment": torch.stack([part.losses["commitment"] for part in parts]).mean()},
            {"codes": ids.unflatten(0, (len(x), -1))},
        )

    def mask(self, tokens: Tokens, ratio: float) -> Tokens:
        """`tokens` without the share `ratio` of entries of least weight, clip by clip.

        Every position keeps its strongest entry. Masked entries have weight 0 and id 0.
        """
        if not 0 <= ratio <= 1:
            raise UsageError(f"a mask ratio of {ratio:g}", allowed="0 to 1")
        self.check_tokens(tokens)
        kept = torch.stack([_kept(clip, ratio) for clip in tokens["weights"]])
        streams = {name: value * kept for name, value in tokens.streams.items()}
        return self.tokens(streams, tokens.size)

    def compress(self, tokens: Tokens) -> list[bytes]:
        """The bytes of every clip: which entries are kept, their weights and their ids."""
        self.check_tokens(tokens)
        pairs = zip(tokens["codes"], tokens["weights"], strict=True)
        return [self._compress(codes, weights, tokens.size) for codes, weights in pairs]

    def decompress(self, data: bytes) -> Tokens:
        """The tokens of a clip from its bytes alone."""
        *size, share = _HEADER.unpack_from(data)
        decoder = range_coder.Decoder(data[_HEADER.size :])
        shape = (*self.spec.grid(tuple(size))["codes"], self.config.codebooks)
        kept = torch.tensor(
            range_coder.decode(decoder, [_flags(share)] * int(np.prod(shape)))
        ).bool()
        weights, codes = torch.zeros(2, len(kept), dtype=torch.long)
        amount = int(kept.sum())
        weights[kept] = torch.tensor(range_coder.decode(decoder, [_even(_WEIGHTS)] * amount)) + 1
        codes[kept] = torch.tensor(range_coder.decode(decoder, [_even(self.config.size)] * amount))
        streams = {"codes": codes, "weights": weights}
        placed = {name: value.view(1, *shape).to(self.device) for name, value in streams.items()}
        return self.tokens(placed, tuple(size))

    def _compress(self, codes: Tensor, weights: Tensor, size: tuple[int, ...]) -> bytes:
        kept = (weights > 0).flatten().cpu()
        share = int(kept.double().mean() * 0xFFFF)
        coder = range_coder.Encoder()
        range_coder.encode(coder, kept.long().tolist(), [_flags(share)] * len(kept))
        for symbols, table in (
            (weights.flatten().cpu()[kept] - 1, _even(_WEIGHTS)),
            (codes.flatten().cpu()[kept], _even(self.config.size)),
        ):
            range_coder.encode(coder, symbols.tolist(), [table] * len(symbols))
        return _HEADER.pack(*size, share) + coder.finish()

    def _weights(self, z: Tensor) -> Tensor:
        """How much every codebook counts, 1 to 15, channels last."""
        share = self.weigher(z).softmax(dim=1).movedim(1, -1)
        return 1 + (_WEIGHTS - 1) * share / share.amax(-1, keepdim=True)

    def _picture(self, values: list[Tensor], weights: Tensor) -> Tensor:
        """Pictures of features blended by weights, (N, h, w, codebooks)."""
        share = (weights / weights.sum(-1, keepdim=True)).unsqueeze(-1).to(values[0].dtype)
        blended = (torch.stack(values, dim=-2) * share).sum(-2)
        return self.decoder(blended.movedim(-1, 1).contiguous())


def _kept(weights: Tensor, ratio: float) -> Tensor:
    """Which entries of (..., codebooks) stay: each position's best, and all but the weakest."""
    flat = weights.flatten().float()
    best = torch.zeros_like(weights, dtype=torch.bool)
    best.scatter_(-1, weights.argmax(-1, keepdim=True), True)
    order = (flat + best.flatten() * (2 * _WEIGHTS)).argsort(stable=True)
    kept = torch.ones_like(flat, dtype=torch.bool)
    kept[order[: int(ratio * len(flat))]] = False
    return kept.view_as(best) | best


def _flags(share: int) -> list[int]:
    """The table of a flag that is set in `share` of 65535 cases."""
    (table,) = range_coder.cumulative(np.array([[0xFFFF - share, share]], dtype=np.float64))
    return table


def _even(symbols: int) -> list[int]:
    (table,) = range_coder.cumulative(np.ones((1, symbols)))
    return table


def _down(config: Config) -> nn.Sequential:
    widths = [3] + [config.width] * config.halvings
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Conv2d(before, after, 4, 2, padding=1), nn.GELU()]
    return nn.Sequential(*layers, nn.Conv2d(config.width, config.dim, 3, padding=1))


def _up(config: Config) -> nn.Sequential:
    widths = [config.dim] + [config.decoder_width] * config.halvings
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Conv2d(before, 4 * after, 3, padding=1), nn.PixelShuffle(2), nn.GELU()]
    return nn.Sequential(*layers, nn.Conv2d(config.decoder_width, 3, 3, padding=1))


_PAPER = "Neural Image Compression Using Masked Sparse Visual Representation, arXiv:2309.11661"

PRESETS = (
    Preset(
        "image/masked_codebooks_tiny",
        MaskedCodebooks,
        Config(codebooks=4, size=32, dim=24, width=24, halvings=2, decoder_width=24),
        _PAPER,
    ),
    Preset(
        "image/masked_codebooks.k4x256",
        MaskedCodebooks,
        Config(),
        _PAPER,
        tiny="image/masked_codebooks_tiny",
        serves=("m-adacode",),
    ),
)
