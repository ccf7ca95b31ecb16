"""A clip as three pictures, its projections along time, rows and columns: PVDM.

A transformer looks at the patches of a window. Their features are then summed up along each axis,
by attention that weighs the positions on the way, and what is left are three small planes: `xy`
tells what stays, `yt` and `xt` tell how it moves. A window costs O(hw + th + tw) numbers instead of
O(thw), and 2D diffusion models learn to make them. The decoder reads the three planes where they
cross.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zoo.layers.attention import Pattern
from zoo.layers.patch_nets import PatchDecoder, PatchEncoder
from zoo.layers.planes import Project, crossing
from zoo.layers.quantizers import Continuous, QuantizerConfig, build
from zoo.layers.specs import grid_stream, window_spec
from zoo.layers.streams import quantize_streams
from zoo.registry import Preset
from zoo.spec import Axis, TokenizerSpec
from zoo.tokenizer import Reconstruction, State, Tokenizer

__all__ = ["PRESETS", "Config", "Triplane"]

PLANES = {"xy": 1, "yt": 3, "xt": 2}
"""The planes, and the axis of (B, T, h, w, D) that each sums up."""


@dataclass(frozen=True)
class Config:
    """`patch` is (frames, pixels)."""

    quantizer: QuantizerConfig
    frames: int = 16
    patch: tuple[int, int] = (1, 8)
    width: int = 384
    heads: int = 6
    layers: tuple[Pattern, ...] = ("space", "time") * 8
    decoder_width: int = 384
    decoder_heads: int = 6
    decoder_layers: tuple[Pattern, ...] = ("space", "time") * 8


class Triplane(Tokenizer):
    """Three planes of latents for each window."""

    config_class = Config
    encode_side = ("encoder", "projections", "quantizer")

    def __init__(self, config: Config):
        super().__init__(config)
        self.quantizer = build(config.quantizer)
        dim = self.quantizer.dim
        self.encoder = PatchEncoder(dim, config.patch, config.width, config.heads, config.layers)
        self.projections = nn.ModuleDict({name: Project(dim) for name in PLANES})
        self.decoder = PatchDecoder(
            3 * dim,
            config.patch,
            config.decoder_width,
            config.decoder_heads,
            config.decoder_layers,
        )

    def describe(self) -> TokenizerSpec:
        steps, side = self.config.frames // self.config.patch[0], self.config.patch[1]
        rows, columns = Axis("h", stride=side), Axis("w", stride=side)
        return window_spec(
            self.config.frames,
            grid_stream(self.quantizer, rows, columns, name="xy"),
            grid_stream(self.quantizer, rows, name="yt", positions=steps),
            grid_stream(self.quantizer, columns, name="xt", positions=steps),
            multiple=side,
        )

    def encode_piece(self, x: Tensor, state: State) -> dict[str, Tensor]:
        planes = self._planes(x)
        return {name: self.quantizer.encode(plane) for name, plane in planes.items()}

    def decode_piece(
        self, streams: dict[str, Tensor], state: State, size: tuple[int, ...]
    ) -> Tensor:
        values = {name: self.quantizer.decode(plane) for name, plane in streams.items()}
        return self._draw(values)

    def forward(self, x: Tensor) -> Reconstruction:
        planes = self._planes(x)
        values, losses, ids = quantize_streams(dict.fromkeys(planes, self.quantizer), planes)
        return Reconstruction(self._draw(values), losses, ids)

    def _planes(self, x: Tensor) -> dict[str, Tensor]:
        """(B, 1, h, w, D), (B, T, h, D) and (B, T, w, D)."""
        features = self.encoder(x).movedim(1, -1)
        planes = {name: self.projections[name](features, axis) for name, axis in PLANES.items()}
        return planes | {"xy": planes["xy"].unsqueeze(1)}

    def _draw(self, values: dict[str, Tensor]) -> Tensor:
        crossed = crossing(values["xy"].squeeze(1), values["yt"], values["xt"])
        return self.decoder(torch.cat(crossed, dim=-1).movedim(-1, 1))


_PVDM = "Video Probabilistic Diffusion Models in Projected Latent Space, arXiv:2302.07685"
_TINY = "video/triplane_tiny"

PRESETS = (
    Preset(
        _TINY,
        Triplane,
        Config(
            Continuous(dim=32, channels=8, bound="tanh"),
            frames=4,
            patch=(1, 4),
            width=48,
            heads=2,
            layers=("space", "time"),
            decoder_width=48,
            decoder_heads=2,
            decoder_layers=("space", "time"),
        ),
        _PVDM,
    ),
    Preset(
        "video/pvdm_16x256.ch4",
        Triplane,
        Config(Continuous(dim=384, channels=4, bound="tanh")),
        _PVDM,
        _TINY,
        serves=("pvdm",),
    ),
)
