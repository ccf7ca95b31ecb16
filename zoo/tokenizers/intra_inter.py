"""The first frame of a window in full, every other by what is new in it: I2-World.

Intra: one frame's features in scales from coarse to fine. Inter: residual codes of what a frame's
features have beyond those decoded for the frame before, so that errors do not add up. I2-World does
so for grids of occupancy; here the frames are pictures, of a camera or of a map seen from above.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from zoo.layers.frames import FrameDecoder, FrameEncoder
from zoo.layers.quantizers import MultiScale, QuantizerConfig, Rvq, build
from zoo.layers.specs import grid_stream, window_spec
from zoo.layers.streams import quantize_streams
from zoo.registry import Preset
from zoo.spec import Axis, TokenizerSpec
from zoo.tokenizer import Reconstruction, State, Tokenizer

__all__ = ["PRESETS", "Config", "IntraInter"]


@dataclass(frozen=True)
class Config:
    """`intra` ends with the grid of the latents, which decides the size of the frames."""

    intra: MultiScale
    inter: QuantizerConfig
    frames: int = 8
    width: int = 64
    widen: tuple[int, ...] = (1, 2, 4)
    blocks: int = 2
    decoder_width: int = 64
    decoder_blocks: int = 2

    @property
    def stride(self) -> int:
        return 2 ** (len(self.widen) - 1)


class IntraInter(Tokenizer):
    """Two streams: `intra` once a window, `inter` for each further frame."""

    config_class = Config
    encode_side = ("encoder", "quantizers")
    loss_weights: ClassVar[dict[str, float]] = {"commitment": 0.25}

    def __init__(self, config: Config):
        super().__init__(config)
        self.quantizers = nn.ModuleDict(
            {"intra": build(config.intra), "inter": build(config.inter)}
        )
        dim = config.intra.dim
        self.encoder = FrameEncoder(3, dim, config.width, config.widen, config.blocks)
        self.decoder = FrameDecoder(
            dim, 3, config.decoder_width, config.widen, config.decoder_blocks
        )

    def describe(self) -> TokenizerSpec:
        config, stride = self.config, self.config.stride
        rows, columns = config.intra.scales[-1]
        count = sum(one * other for one, other in config.intra.scales)
        grid = Axis("h", stride=stride), Axis("w", stride=stride)
        return window_spec(
            config.frames,
            grid_stream(self.quantizers["intra"], Axis("n", count), name="intra", ordered="n"),
            grid_stream(self.quantizers["inter"], *grid, name="inter", positions=config.frames - 1),
            multiple=stride,
            size=(rows * stride, columns * stride),
        )

    def encode_piece(self, x: Tensor, state: State) -> dict[str, Tensor]:
        return self._coded(self.encoder(x).movedim(1, -1))[0]

    def decode_piece(
        self, streams: dict[str, Tensor], state: State, size: tuple[int, ...]
    ) -> Tensor:
        first = self.quantizers["intra"].decode(streams["intra"])
        steps = self.quantizers["inter"].decode(streams["inter"])
        return self.decoder(torch.cat([first, steps], dim=1).cumsum(dim=1).movedim(-1, 1))

    def forward(self, x: Tensor) -> Reconstruction:
        z = self.encoder(x).movedim(1, -1)
        before = self._coded(z)[1][:, :-1]
        values, losses, ids = quantize_streams(
            self.quantizers, {"intra": z[:, :1], "inter": z[:, 1:] - before}
        )
        made = torch.cat([values["intra"], before + values["inter"]], dim=1)
        return Reconstruction(self.decoder(made.movedim(-1, 1)), losses, ids)

    @torch.no_grad()
    def _coded(self, z: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Ids of both streams, and the features that they decode to, frame after frame."""
        first = self.quantizers["intra"].encode(z[:, :1])
        made, ids = [self.quantizers["intra"].decode(first)], []
        for frame in range(1, z.shape[1]):
            ids.append(self.quantizers["inter"].encode(z[:, frame : frame + 1] - made[-1]))
            made.append(made[-1] + self.quantizers["inter"].decode(ids[-1]))
        return {"intra": first, "inter": torch.cat(ids, dim=1)}, torch.cat(made, dim=1)


def _squares(*sides: int) -> tuple[tuple[int, int], ...]:
    return tuple((side, side) for side in sides)


_I2 = (
    "I2-World: Intra-Inter Tokenization for Efficient Dynamic 4D Scene Forecasting, "
    "arXiv:2507.09144"
)
_TINY = "video/intra_inter_tiny"

PRESETS = (
    Preset(
        _TINY,
        IntraInter,
        Config(
            MultiScale(dim=16, size=64, scales=_squares(1, 2, 4)),
            Rvq(dim=16, size=64, depth=2),
            frames=4,
            width=16,
            widen=(1, 2, 2),
            blocks=1,
            decoder_width=16,
            decoder_blocks=1,
        ),
        _I2,
    ),
    Preset(
        "video/i2_world_200.k512",
        IntraInter,
        Config(
            MultiScale(dim=128, size=512, scales=_squares(1, 5, 10, 15, 20, 25, 50)),
            Rvq(dim=128, size=512, depth=2),
            widen=(1, 2, 4),
        ),
        _I2,
        _TINY,
        serves=("i2-world",),
    ),
)
