"""Image autoencoders with structured codes: next-scale ids of VAR, factorised ids of FQGAN.

The convolutional encoder and decoder of VQGAN on each frame. What a position, or an image, is
coded into is the quantizer's matter: with `MultiScale` an image becomes one sequence from coarse to
fine, any prefix of which decodes; with `Factorised` every position gets one id of each codebook.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from zoo.autoencoder import Autoencoder
from zoo.layers.frames import FrameDecoder, FrameEncoder
from zoo.layers.quantizers import Factorised, MultiScale, QuantizerConfig, build
from zoo.layers.specs import grid_stream, image_spec
from zoo.registry import Preset
from zoo.spec import Axis, TokenizerSpec

__all__ = ["PRESETS", "Config", "ImageCodes"]


@dataclass(frozen=True)
class Config:
    """`widen` has one entry for each resolution."""

    quantizer: QuantizerConfig
    width: int = 128
    widen: tuple[int, ...] = (1, 1, 2, 2, 4)
    blocks: int = 2
    decoder_width: int = 128
    decoder_blocks: int = 2

    @property
    def stride(self) -> int:
        return 2 ** (len(self.widen) - 1)


class ImageCodes(Autoencoder):
    """A frame-by-frame autoencoder with any quantizer."""

    config_class = Config
    loss_weights: ClassVar[dict[str, float]] = {"commitment": 0.25}

    def __init__(self, config: Config):
        super().__init__(config)
        self.quantizer = build(config.quantizer)
        dim = self.quantizer.dim
        self.encoder = FrameEncoder(3, dim, config.width, config.widen, config.blocks)
        self.decoder = FrameDecoder(
            dim, 3, config.decoder_width, config.widen, config.decoder_blocks
        )

    def describe(self) -> TokenizerSpec:
        stride = self.config.stride
        if not isinstance(self.config.quantizer, MultiScale):
            grid = (Axis("h", stride=stride), Axis("w", stride=stride))
            return image_spec(grid_stream(self.quantizer, *grid), multiple=stride)
        scales = self.config.quantizer.scales
        count = sum(rows * columns for rows, columns in scales)
        stream = grid_stream(self.quantizer, Axis("n", count), ordered="n")
        rows, columns = scales[-1]
        return image_spec(stream, multiple=stride, size=(rows * stride, columns * stride))


def _squares(*sides: int) -> tuple[tuple[int, int], ...]:
    return tuple((side, side) for side in sides)


def _tiny(quantizer: QuantizerConfig) -> Config:
    return Config(quantizer, 16, (1, 2, 2), 1, decoder_width=16, decoder_blocks=1)


_VAR = "Visual Autoregressive Modeling: Scalable Image Generation via Next-Scale Prediction"
_FQGAN = "Factorized Visual Tokenization and Generation, arXiv:2411.16681"
_VAR_TINY, _FQGAN_TINY = "image/codes_multiscale_tiny", "image/codes_factorised_tiny"

PRESETS = (
    Preset(
        _VAR_TINY,
        ImageCodes,
        _tiny(MultiScale(dim=16, size=128, scales=_squares(1, 2, 4))),
        f"{_VAR}, arXiv:2404.02905",
    ),
    Preset(
        _FQGAN_TINY,
        ImageCodes,
        _tiny(Factorised(dim=32, size=64, code_dim=8, factors=2)),
        _FQGAN,
    ),
    Preset(
        "image/var_256.k4096",
        ImageCodes,
        Config(
            MultiScale(dim=32, size=4096, scales=_squares(1, 2, 3, 4, 5, 6, 8, 10, 13, 16)),
            width=160,
            widen=(1, 1, 2, 2, 4),
            decoder_width=160,
        ),
        f"{_VAR}, arXiv:2404.02905",
        _VAR_TINY,
    ),
    *(
        Preset(
            f"image/fqgan_{name}_16.k16384",
            ImageCodes,
            Config(Factorised(dim=256, size=16384, code_dim=8, factors=factors)),
            _FQGAN,
            _FQGAN_TINY,
            serves=("fqgan",) if factors == 2 else (),
        )
        for name, factors in (("dual", 2), ("triple", 3))
    ),
)
