"""Codes with a semantic and a pixel half: TokenFlow and ImageFolder.

Two encoders see a frame. The semantic one is held to the features of a frozen teacher, the pixel
one to the picture. With a `Dual` quantizer one id is looked up in both codebooks (TokenFlow); with
a `Product` of two parts every position has a semantic id and a detail id (ImageFolder). `embed`
gives the semantic half of stored ids to models that understand; the decoder reads the pixel half,
or both.

    tokenizer.learn_from(teacher)        # before training; see zoo.layers.teachers
    tokenizer.embed(tokens)              # (B, T, h, w, teacher_width)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from zoo.layers.frames import FrameDecoder, FrameEncoder
from zoo.layers.patch_nets import PatchEncoder
from zoo.layers.quantizers import Dual, Product, QuantizerConfig, Vq, build
from zoo.layers.specs import grid_stream, image_spec
from zoo.layers.streams import quantize_streams
from zoo.layers.teachers import Taught, distance
from zoo.registry import Preset
from zoo.spec import Axis, TokenizerSpec
from zoo.tokenizer import Reconstruction, State, Tokenizer
from zoo.tokens import Tokens

__all__ = ["PRESETS", "Config", "SemanticDual"]


@dataclass(frozen=True)
class Config:
    """`quantizer` is a `Dual`, or a `Product` of two parts; `semantic_*` is a transformer."""

    quantizer: QuantizerConfig
    teacher_width: int = 768
    semantic_width: int = 768
    semantic_heads: int = 12
    semantic_depth: int = 12
    width: int = 128
    widen: tuple[int, ...] = (1, 1, 2, 2, 4)
    blocks: int = 2
    decoder_width: int = 128
    decoder_blocks: int = 2
    decoder_reads_both: bool = False

    @property
    def stride(self) -> int:
        return 2 ** (len(self.widen) - 1)

    @property
    def parts(self) -> tuple[int, int]:
        """Channels of the semantic and of the pixel half."""
        dim = self.quantizer.dim
        semantic = self.quantizer.semantic if isinstance(self.quantizer, Dual) else dim // 2
        return semantic, dim - semantic


class SemanticDual(Taught, Tokenizer):
    """A frame-by-frame autoencoder whose codes mean something besides pixels."""

    config_class = Config
    encode_side = ("semantic_encoder", "pixel_encoder", "quantizer")
    decode_only = ("teacher_width",)
    loss_weights: ClassVar[dict[str, float]] = {"commitment": 0.25}

    def __init__(self, config: Config):
        super().__init__(config)
        semantic, pixel = config.parts
        self.quantizer = build(config.quantizer)
        self.semantic_encoder = PatchEncoder(
            semantic,
            (1, config.stride),
            config.semantic_width,
            config.semantic_heads,
            ["space"] * config.semantic_depth,
        )
        self.pixel_encoder = FrameEncoder(3, pixel, config.width, config.widen, config.blocks)
        self.understand = nn.Sequential(
            nn.Linear(semantic, config.semantic_width),
            nn.GELU(),
            nn.Linear(config.semantic_width, config.teacher_width),
        )
        read = semantic + pixel if config.decoder_reads_both else pixel
        self.decoder = FrameDecoder(
            read, 3, config.decoder_width, config.widen, config.decoder_blocks
        )

    def describe(self) -> TokenizerSpec:
        stride = self.config.stride
        grid = (Axis("h", stride=stride), Axis("w", stride=stride))
        return image_spec(grid_stream(self.quantizer, *grid), multiple=stride)

    @torch.no_grad()
    def embed(self, tokens: Tokens) -> Tensor:
        """What the semantic half of the ids says, in the teacher's features."""
        self.check_tokens(tokens)
        return self.understand(self._halves(self.quantizer.decode(tokens.ids))[0])

    def encode_piece(self, x: Tensor, state: State) -> dict[str, Tensor]:
        return {"tokens": self.quantizer.encode(self._features(x))}

    def decode_piece(
        self, streams: dict[str, Tensor], state: State, size: tuple[int, ...]
    ) -> Tensor:
        return self._draw(self.quantizer.decode(streams["tokens"]))

    def forward(self, x: Tensor) -> Reconstruction:
        made, losses, ids = quantize_streams(
            {"tokens": self.quantizer}, {"tokens": self._features(x)}
        )
        values = made["tokens"]
        felt = self.understand(self._halves(values)[0])
        losses |= {"semantic": distance(felt, self.taught(x, felt))}
        return Reconstruction(self._draw(values), losses, ids)

    def _features(self, x: Tensor) -> Tensor:
        parts = [self.semantic_encoder(x), self.pixel_encoder(x)]
        return torch.cat(parts, dim=1).movedim(1, -1)

    def _halves(self, values: Tensor) -> tuple[Tensor, Tensor]:
        semantic, pixel = values.split(self.config.parts, dim=-1)
        return semantic, pixel

    def _draw(self, values: Tensor) -> Tensor:
        read = values if self.config.decoder_reads_both else self._halves(values)[1]
        return self.decoder(read.movedim(-1, 1))


def _tiny(quantizer: QuantizerConfig, both: bool) -> Config:
    return Config(
        quantizer,
        teacher_width=12,
        semantic_width=32,
        semantic_heads=2,
        semantic_depth=1,
        width=16,
        widen=(1, 2, 2),
        blocks=1,
        decoder_width=16,
        decoder_blocks=1,
        decoder_reads_both=both,
    )


def _folded(dim: int, size: int, code: int) -> Product:
    """Two codebooks of `size` unit codes, one for each half of the channels."""
    return Product(dim=dim, part=Vq(dim=dim // 2, size=size, code_dim=code, cosine=True))


_TOKENFLOW = (
    "TokenFlow: Unified Image Tokenizer for Multimodal Understanding and Generation, "
    "arXiv:2412.03069"
)
_IMAGEFOLDER = "ImageFolder: Autoregressive Image Generation with Folded Tokens, arXiv:2410.01756"
_DUAL_TINY, _FOLDED_TINY = "image/semantic_dual_tiny", "image/semantic_folded_tiny"

PRESETS = (
    Preset(_DUAL_TINY, SemanticDual, _tiny(Dual(dim=24, semantic=16, size=128), False), _TOKENFLOW),
    Preset(_FOLDED_TINY, SemanticDual, _tiny(_folded(32, 64, 8), True), _IMAGEFOLDER),
    Preset(
        "image/tokenflow_16.k32768",
        SemanticDual,
        Config(Dual(dim=40, semantic=32, size=32768), teacher_width=1152),
        _TOKENFLOW,
        _DUAL_TINY,
        serves=("tokenflow-image",),
    ),
    Preset(
        "image/imagefolder_16.k4096",
        SemanticDual,
        Config(_folded(64, 4096, 32), decoder_reads_both=True),
        _IMAGEFOLDER,
        _FOLDED_TINY,
        serves=("imagefolder",),
    ),
)
