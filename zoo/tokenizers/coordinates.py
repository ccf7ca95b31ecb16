"""Long clips as three planes that any patch is looked up in: CoordTok.

Learned queries, one for every place of three planes, read the patches of the whole window by
cross-attention, so that a long clip costs few tokens. The decoder is a function of a coordinate:
it reads the planes at (t, row, column) and paints the patch there. Training may therefore look at
some patches only, and a reader may decode the few that it wants.

    some = tokenizer.decode_patches(tokens, coordinates)   # (N, 3) ints: patch row in t, y, x
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zoo.errors import UsageError
from zoo.layers.attention import (
    GridTransformer,
    Pattern,
    TransformerLayer,
    grid_positions,
    rotary_angles,
)
from zoo.layers.patches import ToPatches, join
from zoo.layers.quantizers import Continuous, QuantizerConfig, build
from zoo.layers.specs import grid_stream, window_spec
from zoo.registry import Preset
from zoo.spec import Axis, TokenizerSpec
from zoo.tokenizer import Reconstruction, State, Tokenizer
from zoo.tokens import Tokens

__all__ = ["PRESETS", "Config", "Coordinates"]

PATCHES_AT_ONCE = 4096
"""Patches that are painted together: bounds memory for long clips."""


@dataclass(frozen=True)
class Config:
    """`plane` are places in time, rows and columns; `patch` is (frames, pixels) of the input and
    `decoder_patch` that of what one coordinate paints."""

    quantizer: QuantizerConfig
    clip: tuple[int, int, int] = (128, 128, 128)
    patch: tuple[int, int] = (8, 8)
    plane: tuple[int, int, int] = (32, 16, 16)
    width: int = 1024
    heads: int = 16
    layers: tuple[Pattern, ...] = ("joint",) * 8
    readers: int = 24
    decoder_patch: tuple[int, int] = (1, 8)
    decoder_width: int = 1024
    decoder_heads: int = 16
    decoder_layers: int = 24

    @property
    def places(self) -> dict[str, tuple[int, int]]:
        """The size of each plane."""
        time, rows, columns = self.plane
        return {"xy": (rows, columns), "yt": (time, rows), "xt": (time, columns)}

    @property
    def painted(self) -> tuple[int, int, int]:
        """How many patches the decoder paints in time, rows and columns."""
        frames, side = self.decoder_patch
        return self.clip[0] // frames, self.clip[1] // side, self.clip[2] // side


class Reader(nn.Module):
    """Planes that read a grid of features by cross-attention."""

    def __init__(self, config: Config, dim: int):
        super().__init__()
        self.patches = ToPatches(config.width, *config.patch)
        self.look = GridTransformer(config.width, config.heads, config.layers)
        count = sum(one * other for one, other in config.places.values())
        self.queries = nn.Parameter(torch.randn(count, config.width) * 0.02)
        self.layers = nn.ModuleList(
            TransformerLayer(config.width, config.heads, context=config.width)
            for _ in range(config.readers)
        )
        self.head = nn.Linear(config.width, dim)

    def forward(self, x: Tensor) -> Tensor:
        seen = self.look(self.patches(x))
        # Queries have learned places, but features only know each other's: say where they are.
        places = rotary_angles(grid_positions(seen.shape[1:4], seen.device), seen.shape[-1])
        where = torch.cat([places.cos(), places.sin()], dim=-1).to(seen.dtype)
        context = seen.flatten(1, 3) + where
        planes = self.queries.expand(len(x), -1, -1)
        for layer in self.layers:
            planes = layer(planes, context=context)
        return self.head(planes)


class Painter(nn.Module):
    """Planes to what any coordinate shows."""

    def __init__(self, config: Config, dim: int):
        super().__init__()
        width = config.decoder_width
        self.places = config.places
        self.stem = nn.Linear(dim, width)
        count = sum(one * other for one, other in config.places.values())
        self.where = nn.Parameter(torch.randn(count, width) * 0.02)
        self.layers = nn.ModuleList(
            TransformerLayer(width, config.decoder_heads) for _ in range(config.decoder_layers)
        )
        frames, side = config.decoder_patch
        self.paint = nn.Sequential(
            nn.Linear(3 * width, 2 * width),
            nn.GELU(),
            nn.Linear(2 * width, width),
            nn.GELU(),
            nn.Linear(width, 3 * frames * side**2),
        )

    def planes(self, values: Tensor) -> list[Tensor]:
        """(B, N, dim) to the three planes (B, width, rows, columns)."""
        x = self.stem(values) + self.where
        for layer in self.layers:
            x = layer(x)
        parts = x.split([one * other for one, other in self.places.values()], dim=1)
        sizes = self.places.values()
        return [part.mT.unflatten(2, size) for part, size in zip(parts, sizes, strict=True)]

    def forward(self, planes: list[Tensor], at: Tensor) -> Tensor:
        """Patches (B, N, values) at coordinates `at (N, 3)` in 0..1: time, row, column."""
        time, row, column = at.unbind(-1)
        pairs = ((row, column), (time, row), (time, column))
        read = [_between(plane, *pair) for plane, pair in zip(planes, pairs, strict=True)]
        return self.paint(torch.cat(read, dim=-1))


class Coordinates(Tokenizer):
    """Triplane tokens of a long window, decoded patch by patch."""

    config_class = Config

    def __init__(self, config: Config):
        super().__init__(config)
        self.quantizer = build(config.quantizer)
        self.encoder = Reader(config, self.quantizer.dim)
        self.decoder = Painter(config, self.quantizer.dim)

    def describe(self) -> TokenizerSpec:
        time, rows, columns = self.config.plane
        row, column = Axis("rows", rows), Axis("columns", columns)
        return window_spec(
            self.config.clip[0],
            grid_stream(self.quantizer, row, column, name="xy"),
            grid_stream(self.quantizer, row, name="yt", positions=time),
            grid_stream(self.quantizer, column, name="xt", positions=time),
            multiple=self.config.patch[1],
            size=self.config.clip[1:],
        )

    @torch.no_grad()
    def decode_patches(self, tokens: Tokens, coordinates: Tensor) -> Tensor:
        """The patches at `coordinates (N, 3)`: which in time, from above and from the left.

        Gives (B, N, 3, frames, side, side), the very values that a full decode has there.
        """
        self.eval()
        self.check_tokens(tokens)
        steps, rows, columns = self.config.painted
        windows = tokens["xy"].shape[1]
        most = torch.tensor([steps * windows, rows, columns], device=coordinates.device)
        if coordinates.shape[-1] != 3 or bool(
            (coordinates < 0).any() | (coordinates >= most).any()
        ):
            raise UsageError(
                "coordinates outside the clip", allowed=f"(N, 3) below {tuple(most.tolist())}"
            )
        window, within = coordinates[:, 0] // steps, coordinates.clone()
        within[:, 0] %= steps
        frames, side = self.config.decoder_patch
        painted = torch.zeros(len(tokens), len(coordinates), 3 * frames * side**2)
        painted = painted.to(tokens["xy"].device)
        for number in window.unique().tolist():
            chosen = window == number
            streams = {
                name: value.unflatten(1, (windows, -1))[:, number]
                for name, value in tokens.streams.items()
            }
            planes = self.decoder.planes(self._values(streams))
            painted[:, chosen] = self.decoder(planes, self._centres(within[chosen]))
        return painted.unflatten(-1, (3, frames, side, side)).clamp(-1, 1)

    def encode_piece(self, x: Tensor, state: State) -> dict[str, Tensor]:
        return self._cut(self.quantizer.encode(self.encoder(x)))

    def decode_piece(
        self, streams: dict[str, Tensor], state: State, size: tuple[int, ...]
    ) -> Tensor:
        return self._paint(self._values(streams))

    def forward(self, x: Tensor) -> Reconstruction:
        quantized = self.quantizer(self.encoder(x))
        ids = {} if quantized.ids is None else self._cut(quantized.ids)
        return Reconstruction(self._paint(quantized.values), quantized.losses, ids)

    def _cut(self, latents: Tensor) -> dict[str, Tensor]:
        """(B, N, ...) as the three planes, with time first where they have it."""
        places = self.config.places
        parts = latents.split([one * other for one, other in places.values()], dim=1)
        planes = {
            name: part.unflatten(1, size)
            for (name, size), part in zip(places.items(), parts, strict=True)
        }
        return planes | {"xy": planes["xy"].unsqueeze(1)}

    def _values(self, streams: dict[str, Tensor]) -> Tensor:
        planes = streams | {"xy": streams["xy"].squeeze(1)}
        flat = [planes[name].flatten(1, 2) for name in self.config.places]
        return self.quantizer.decode(torch.cat(flat, dim=1))

    def _paint(self, values: Tensor) -> Tensor:
        planes = self.decoder.planes(values)
        every = grid_positions(self.config.painted, values.device)
        parts = [self.decoder(planes, self._centres(at)) for at in every.split(PATCHES_AT_ONCE)]
        patches = torch.cat(parts, dim=1).unflatten(1, self.config.painted)
        return join(patches, *self.config.decoder_patch)

    def _centres(self, patches: Tensor) -> Tensor:
        """Where the middle of each patch is, in 0..1."""
        return (patches + 0.5) / torch.tensor(self.config.painted, device=patches.device)


def _between(plane: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Values (B, N, D) of a plane (B, D, rows, columns) at places in 0..1, between its cells."""
    at = torch.stack([across, down], dim=-1).mul(2).sub(1).to(plane.dtype)
    grid = at.expand(len(plane), 1, -1, -1)
    read = nn.functional.grid_sample(
        plane, grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    return read.squeeze(2).mT


_COORDTOK = (
    "Efficient Long Video Tokenization via Coordinate-based Patch Reconstruction, arXiv:2411.14762"
)
_TINY = "video/coordinates_tiny"

PRESETS = (
    Preset(
        _TINY,
        Coordinates,
        Config(
            Continuous(dim=48, channels=8),
            clip=(8, 16, 16),
            patch=(2, 4),
            plane=(4, 4, 4),
            width=48,
            heads=2,
            layers=("joint",),
            readers=1,
            decoder_patch=(1, 4),
            decoder_width=48,
            decoder_heads=2,
            decoder_layers=1,
        ),
        _COORDTOK,
    ),
    Preset(
        "video/coordtok_128x128.ch8",
        Coordinates,
        Config(Continuous(dim=1024, channels=8)),
        _COORDTOK,
        _TINY,
        serves=("coordtok",),
    ),
)
