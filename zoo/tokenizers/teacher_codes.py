"""Codes that reconstruct a frozen teacher's features: VQ-KD, the tokenizer of BEiT v2.

A transformer turns patches into unit codes and a small one turns the codes into what the teacher
(CLIP, DINO) sees there, so that ids name meanings instead of colours. A pixel decoder is trained on
the ids beside it, and its gradients stop there: pictures come back, but do not shape the codes.

    tokenizer.learn_from(teacher)        # before training; see zoo.layers.teachers
    tokenizer.features(tokens)           # (B, T, h, w, teacher_width)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from zoo.layers.attention import GridTransformer, Pattern
from zoo.layers.patch_nets import PatchDecoder, PatchEncoder
from zoo.layers.quantizers import QuantizerConfig, Vq, build
from zoo.layers.specs import grid_stream, image_spec
from zoo.layers.streams import quantize_streams
from zoo.layers.teachers import Taught, distance
from zoo.registry import Preset
from zoo.spec import Axis, TokenizerSpec
from zoo.tokenizer import Reconstruction, State, Tokenizer
from zoo.tokens import Tokens

__all__ = ["PRESETS", "Config", "TeacherCodes"]


@dataclass(frozen=True)
class Config:
    """A vision transformer with patches of `patch` pixels."""

    quantizer: QuantizerConfig
    teacher_width: int = 512
    patch: int = 16
    width: int = 768
    heads: int = 12
    depth: int = 12
    decoder_features_layers: tuple[Pattern, ...] = ("space",)
    decoder_width: int = 768
    decoder_depth: int = 8


class TeacherCodes(Taught, Tokenizer):
    """A frame-by-frame tokenizer distilled from a teacher."""

    config_class = Config
    decode_only = ("teacher_width",)
    loss_weights: ClassVar[dict[str, float]] = {"commitment": 0.25}

    def __init__(self, config: Config):
        super().__init__(config)
        self.quantizer = build(config.quantizer)
        dim, patch = self.quantizer.dim, (1, config.patch)
        self.encoder = PatchEncoder(
            dim, patch, config.width, config.heads, ["space"] * config.depth
        )
        self.understand = nn.Sequential(
            nn.Linear(dim, config.width),
            GridTransformer(config.width, config.heads, config.decoder_features_layers),
            nn.Linear(config.width, config.teacher_width),
        )
        self.decoder = PatchDecoder(
            dim, patch, config.decoder_width, config.heads, ["space"] * config.decoder_depth
        )

    def describe(self) -> TokenizerSpec:
        patch = self.config.patch
        grid = (Axis("h", stride=patch), Axis("w", stride=patch))
        return image_spec(grid_stream(self.quantizer, *grid), multiple=patch)

    @torch.no_grad()
    def features(self, tokens: Tokens) -> Tensor:
        """The teacher's features as the ids tell them."""
        self.check_tokens(tokens)
        return self.understand(self.quantizer.decode(tokens.ids))

    def encode_piece(self, x: Tensor, state: State) -> dict[str, Tensor]:
        return {"tokens": self.quantizer.encode(self.encoder(x).movedim(1, -1))}

    def decode_piece(
        self, streams: dict[str, Tensor], state: State, size: tuple[int, ...]
    ) -> Tensor:
        return self.decoder(self.quantizer.decode(streams["tokens"]).movedim(-1, 1))

    def forward(self, x: Tensor) -> Reconstruction:
        made, losses, ids = quantize_streams(
            {"tokens": self.quantizer}, {"tokens": self.encoder(x).movedim(1, -1)}
        )
        values = made["tokens"]
        felt = self.understand(values)
        losses |= {"features": distance(felt, self.taught(x, felt))}
        picture = self.decoder(values.detach().movedim(-1, 1))
        return Reconstruction(picture, losses, ids)


_VQ_KD = "Image Understanding Makes for A Good Tokenizer for Image Generation, arXiv:2411.04406"
_BEIT = "BEiT v2: Masked Image Modeling with Vector-Quantized Visual Tokenizers, arXiv:2208.06366"
_TINY = "image/teacher_codes_tiny"

PRESETS = (
    Preset(
        _TINY,
        TeacherCodes,
        Config(
            Vq(dim=32, size=64, code_dim=8, cosine=True),
            teacher_width=12,
            patch=4,
            width=32,
            heads=2,
            depth=1,
            decoder_width=32,
            decoder_depth=1,
        ),
        _VQ_KD,
    ),
    Preset(
        "image/vq_kd_16.k8192",
        TeacherCodes,
        Config(Vq(dim=768, size=8192, code_dim=32, cosine=True)),
        _VQ_KD,
        _TINY,
        serves=("vq-kd",),
    ),
    Preset(
        "image/beit_v2_16.k8192",
        TeacherCodes,
        Config(Vq(dim=768, size=8192, code_dim=32, cosine=True), decoder_depth=1),
        _BEIT,
        _TINY,
    ),
)
