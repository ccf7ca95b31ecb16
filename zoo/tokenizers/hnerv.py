"""HNeRV: a clip as a small decoder network and one small embedding for each frame.

Encoding fits both to the clip, from the same first weights each time, so it costs what training
costs and equal clips give equal ids. There is nothing to train beforehand: tokens carry the decoder
itself. Stream `embeddings` has a grid for every frame, stream `decoder` the weights, and any frame
decodes from its embedding and the weights alone. `compress` gives the bytes of both.

`steps` and the widths are the budget: more of them, a closer picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from zoo.fitted import FittedTokenizer, turn
from zoo.layers import integer_weights
from zoo.registry import Preset
from zoo.spec import Axis, LengthRule, StreamSpec, TokenizerSpec
from zoo.tokenizer import State
from zoo.tokens import Tokens

__all__ = ["PRESETS", "Config", "HNeRV"]

_WEIGHTS, _EMBEDDING = 255, 63
"""Largest integers of a weight and of a number of an embedding."""


@dataclass(frozen=True)
class Config:
    """`strides` divide the picture down to an embedding; each block is `shrink` times narrower."""

    strides: tuple[int, ...] = (5, 4, 4, 2, 2)
    channels: int = 16
    encoder_width: int = 64
    width: int = 96
    shrink: float = 1.2
    step: float = 1 / 256
    steps: int = 30_000
    batch: int = 2
    rate: float = 1e-3

    @property
    def space(self) -> int:
        return math.prod(self.strides)


class Encoder(nn.Module):
    """(N, 3, H, W) to embeddings of -1..1; needed only while fitting."""

    def __init__(self, config: Config):
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for stride in config.strides:
            layers += [nn.Conv2d(before, config.encoder_width, stride, stride), nn.GELU()]
            before = config.encoder_width
        self.layers = nn.Sequential(*layers, nn.Conv2d(before, config.channels, 1), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Decoder(nn.Module):
    """Embeddings of frames to frames: the network that is stored."""

    def __init__(self, config: Config):
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(config.channels, config.width, 1)]
        before = config.width
        for stride in reversed(config.strides):
            after = max(8, round(before / config.shrink))
            conv = nn.Conv2d(before, after * stride**2, 3, padding=1)
            layers += [conv, nn.PixelShuffle(stride), nn.GELU()]
            before = after
        self.layers = nn.Sequential(*layers, nn.Conv2d(before, 3, 3, padding=1))

    def forward(self, embedding: Tensor) -> Tensor:
        return self.layers(embedding)


class HNeRV(FittedTokenizer):
    """Fits a decoder and embeddings to every clip that it encodes."""

    config_class = Config
    encode_side = ("encoder", "decoder")

    def __init__(self, config: Config):
        super().__init__(config)
        self.encoder, self.decoder = Encoder(config), Decoder(config)

    def describe(self) -> TokenizerSpec:
        config = self.config
        frames = StreamSpec(
            "embeddings",
            axes=(Axis("h", stride=config.space), Axis("w", stride=config.space)),
            levels=(2 * _EMBEDDING + 1,) * config.channels,
        )
        weights = StreamSpec(
            "decoder",
            axes=(Axis("n", extent=integer_weights.count(self.decoder)),),
            step=0,
            levels=(2 * _WEIGHTS + 1,),
        )
        return TokenizerSpec(
            modality="video",
            channels=3,
            length=LengthRule(1, 1),
            streams=(frames, weights),
            multiple=config.space,
            value_range=(-1.0, 1.0),
        )

    def encode_piece(self, x: Tensor, state: State) -> dict[str, Tensor]:
        embeddings, weights = self._fit(x[0].transpose(0, 1))
        return {
            "embeddings": (embeddings * _EMBEDDING).round().long().movedim(1, -1)[None]
            + _EMBEDDING,
            "decoder": (weights / self.config.step).round().long()[None, None] + _WEIGHTS,
        }

    def decode_piece(
        self, streams: dict[str, Tensor], state: State, size: tuple[int, ...]
    ) -> Tensor:
        dtype = next(self.decoder.parameters()).dtype
        embeddings = ((streams["embeddings"][0] - _EMBEDDING).to(dtype) / _EMBEDDING).movedim(-1, 1)
        weights = (streams["decoder"][0, 0] - _WEIGHTS).to(dtype) * self.config.step
        net = integer_weights.named(self.decoder, weights)
        # One frame at a time, so that a frame alone is the very frame of the whole.
        frames = [
            functional_call(self.decoder, net, (frame.contiguous(),))
            for frame in embeddings.split(1)
        ]
        return torch.cat(frames).transpose(0, 1)[None]

    def compress(self, tokens: Tokens) -> list[dict[str, bytes]]:
        """Bytes of the embeddings and of the decoder, clip by clip."""
        self.check_tokens(tokens)
        return [
            {
                "embeddings": integer_weights.pack(frames - _EMBEDDING, _EMBEDDING),
                "decoder": integer_weights.pack(weights - _WEIGHTS, _WEIGHTS),
            }
            for frames, weights in zip(tokens["embeddings"], tokens["decoder"], strict=True)
        ]

    def decompress(self, data: dict[str, bytes], size: tuple[int, ...]) -> Tokens:
        """The tokens of one clip of `size` from the bytes of `compress`."""
        limits = {"embeddings": _EMBEDDING, "decoder": _WEIGHTS}
        grids, streams = self.spec.grid(size), {}
        for stream in self.spec.streams:
            shape = (1, *grids[stream.name], *((stream.trailing,) if stream.trailing else ()))
            limit = limits[stream.name]
            integers = integer_weights.unpack(data[stream.name], math.prod(shape), limit)
            streams[stream.name] = (integers + limit).view(shape).to(self.device)
        return self.tokens(streams, size)

    @torch.enable_grad()
    def _fit(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings (T, channels, h, w) and weights, both on their integers."""
        config = self.config
        scaffold = integer_weights.flat(self.encoder).requires_grad_()
        weights = integer_weights.flat(self.decoder).requires_grad_()
        optimizer = torch.optim.Adam([scaffold, weights], lr=config.rate, betas=(0.9, 0.95))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)
        for step in range(config.steps):
            chosen = frames[turn(step, config.batch, len(frames), frames.device)]
            embeddings, net = self._integers(chosen, scaffold, weights)
            made = functional_call(
                self.decoder, integer_weights.named(self.decoder, net), (embeddings,)
            )
            optimizer.zero_grad()
            (made - chosen).square().mean().backward()
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            return self._integers(frames, scaffold, weights)

    def _integers(self, frames: Tensor, scaffold: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        made = functional_call(
            self.encoder, integer_weights.named(self.encoder, scaffold), (frames,)
        )
        embeddings = integer_weights.rounded(made, 1 / _EMBEDDING, _EMBEDDING)
        return embeddings, integer_weights.rounded(weights, self.config.step, _WEIGHTS)


_PAPER = "HNeRV: A Hybrid Neural Representation for Videos, arXiv:2304.02633"

PRESETS = (
    Preset(
        "video/hnerv_tiny",
        HNeRV,
        Config(strides=(2, 2), channels=4, encoder_width=16, width=24, steps=12, rate=5e-3),
        _PAPER,
    ),
    Preset("video/hnerv.640x1280", HNeRV, Config(), _PAPER, "video/hnerv_tiny", serves=("hnerv",)),
)
