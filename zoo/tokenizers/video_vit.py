"""Spatio-temporal transformers over patches: C-ViViT, OmniTokenizer, BSQ-ViT, ViTok, AToken.

A clip is cut into patches of some frames by some pixels, and layers of attention look inside a
frame, inside windows of it, along time, or at everything. With `image_first` a first frame has
patches of its own, so that 1+k*t frames and an image share one model. `past` says how many
positions in time are seen back: then keys and values are carried along a stream, and the ids of a
prefix are a prefix of the ids. With `block` above 1 the positions of a block see each other, and a
stream goes block by block. Without `past` the whole clip is seen at once.

Positions are rotary, so every size and length goes through the same weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from zoo.autoencoder import Autoencoder
from zoo.errors import UsageError
from zoo.layers.attention import GridTransformer, Pattern, Reach
from zoo.layers.patches import FromPatches, ToPatches
from zoo.layers.quantizers import KL, Bsq, Fsq, Product, QuantizerConfig, Vq, build
from zoo.layers.specs import grid_stream
from zoo.registry import Preset
from zoo.spec import Axis, LengthRule, TokenizerSpec
from zoo.tokenizer import State

__all__ = ["PRESETS", "Config", "VideoVit", "vitok"]

STREAM_PACE = 4
"""Positions in time that a causal model encodes together."""


@dataclass(frozen=True)
class Config:
    """`patch` is (frames, pixels); layers are named by what they look at."""

    quantizer: QuantizerConfig
    patch: tuple[int, int] = (2, 8)
    image_first: bool = True
    width: int = 512
    heads: int = 8
    layers: tuple[Pattern, ...] = ("space",) * 4 + ("time",) * 4
    window: int = 0
    past: int = 0
    block: int = 1
    decoder_width: int = 512
    decoder_heads: int = 8
    decoder_layers: tuple[Pattern, ...] = ("time",) * 4 + ("space",) * 4

    def __post_init__(self) -> None:
        if self.block > 1 and not self.past:
            raise UsageError(
                "blocks need the number of positions before them that they see",
                allowed="past of 1 or more, or block=1",
            )

    @property
    def reach(self) -> Reach | None:
        return Reach(self.past, self.block, self.image_first) if self.past else None

    @property
    def rule(self) -> LengthRule:
        return LengthRule(1 if self.image_first else self.patch[0], self.patch[0])


class Encoder(nn.Module):
    """(B, 3, T, H, W) to (B, dim, T', H', W')."""

    def __init__(self, config: Config, dim: int):
        super().__init__()
        self.stem = ToPatches(config.width, *config.patch, config.image_first)
        self.stack = _stack(config, config.width, config.heads, config.layers)
        self.head = nn.Linear(config.width, dim)

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        fresh = state is None or self.stack not in state
        return self.head(self.stack(self.stem(x, fresh), state)).movedim(-1, 1)


class Decoder(nn.Module):
    """(B, dim, T', H', W') to (B, 3, T, H, W)."""

    def __init__(self, config: Config, dim: int):
        super().__init__()
        width = config.decoder_width
        self.stem = nn.Linear(dim, width)
        self.stack = _stack(config, width, config.decoder_heads, config.decoder_layers)
        self.head = FromPatches(width, *config.patch, config.image_first)

    def forward(self, z: Tensor, state: State | None = None) -> Tensor:
        fresh = state is None or self.stack not in state
        return self.head(self.stack(self.stem(z.movedim(1, -1)), state), fresh)


class VideoVit(Autoencoder):
    """A transformer autoencoder with any quantizer."""

    config_class = Config

    def __init__(self, config: Config):
        super().__init__(config)
        self.pace = config.block if config.block > 1 else STREAM_PACE
        self.quantizer = build(config.quantizer)
        self.encoder = Encoder(config, self.quantizer.dim)
        self.decoder = Decoder(config, self.quantizer.dim)

    def describe(self) -> TokenizerSpec:
        config = self.config
        side = config.patch[1]
        stream = grid_stream(self.quantizer, Axis("h", stride=side), Axis("w", stride=side))
        return TokenizerSpec(
            modality="video",
            channels=3,
            length=config.rule,
            streams=(stream,),
            multiple=side * (config.window or 1),
            value_range=(-1.0, 1.0),
            causal=bool(config.past) and config.block == 1,
            streaming=bool(config.past),
        )


def _stack(config: Config, width: int, heads: int, layers: tuple[Pattern, ...]) -> GridTransformer:
    return GridTransformer(width, heads, layers, config.reach, config.window)


def vitok(
    floats: int, clip: tuple[int, int, int] = (16, 128, 128), patch: tuple[int, int] = (4, 8)
) -> Config:
    """ViTok S-B whose latents of a `clip` (frames, rows, columns) are `floats` numbers.

    The bottleneck is the one parameter that decides reconstruction: patches and channels may be
    traded for each other at equal `floats`.
    """
    positions = clip[0] // patch[0] * (clip[1] // patch[1]) * (clip[2] // patch[1])
    if floats % positions:
        raise UsageError(
            f"{floats} floats do not spread over {positions} positions",
            allowed=f"a multiple of {positions}",
            hint="change the patch, or the number of floats",
        )
    return _mirrored(
        KL(dim=768, channels=floats // positions),
        patch,
        ("joint",) * 6,
        768,
        12,
        image_first=False,
        decoder_layers=("joint",) * 12,
    )


def _mirrored(
    quantizer: QuantizerConfig,
    patch: tuple[int, int],
    layers: tuple[Pattern, ...],
    width: int,
    heads: int,
    **options: Any,
) -> Config:
    """A decoder like the encoder, its layers the other way round."""
    known: dict[str, Any] = {"decoder_layers": tuple(reversed(layers)), **options}
    return Config(
        quantizer,
        patch,
        width=width,
        heads=heads,
        layers=layers,
        decoder_width=width,
        decoder_heads=heads,
        **known,
    )


def _cvivit(quantizer: QuantizerConfig) -> Config:
    return _mirrored(quantizer, (2, 8), ("space",) * 4 + ("time",) * 4, 512, 8, past=16)


def _omni(quantizer: QuantizerConfig) -> Config:
    layers: tuple[Pattern, ...] = ("window",) * 4 + ("time",) * 4
    return _mirrored(quantizer, (4, 8), layers, 512, 8, window=8, past=16)


def _bsq(bits: int) -> Config:
    options = {"image_first": False, "past": 16}
    return _mirrored(Bsq(dim=768, bits=bits), (1, 8), ("joint",) * 12, 768, 12, **options)


def _atoken(quantizer: QuantizerConfig) -> Config:
    options = {"image_first": False, "past": 4, "block": 4}
    return _mirrored(quantizer, (4, 16), ("joint",) * 27, 1152, 16, **options)


def _groups(dim: int, groups: int, digits: int) -> Product:
    """`groups` ids a position, each of `digits` channels rounded to 4 levels."""
    part = Fsq(dim=dim // groups, levels=(4,) * digits)
    return Product(dim=dim, part=part, parts=groups)


def _tiny(
    quantizer: QuantizerConfig,
    layers: tuple[Pattern, ...],
    patch: tuple[int, int],
    **options: Any,
) -> Config:
    return _mirrored(quantizer, patch, layers, 32, 2, **options)


_PHENAKI = "Phenaki: Variable Length Video Generation From Open Domain Textual Description, "
_PHENAKI += "arXiv:2210.02399"
_OMNI = "OmniTokenizer: A Joint Image-Video Tokenizer for Visual Generation, arXiv:2406.09399"
_BSQ = "Image and Video Tokenization with Binary Spherical Quantization, arXiv:2406.07548"
_VITOK = "Learnings from Scaling Visual Tokenizers for Reconstruction and Generation, "
_VITOK += "arXiv:2501.09755"
_ATOKEN = "AToken: A Unified Tokenizer for Vision, arXiv:2509.14476"

_CVIVIT_TINY, _OMNI_TINY, _BSQ_TINY, _VITOK_TINY, _ATOKEN_TINY, _ATOKEN_FSQ_TINY = (
    f"video/{name}_tiny" for name in ("cvivit", "omni", "bsq_vit", "vitok", "atoken", "atoken_fsq")
)


def _unit_vq(dim: int, code_dim: int, size: int) -> Vq:
    return Vq(dim=dim, code_dim=code_dim, size=size, cosine=True)


PRESETS = (
    Preset(
        _CVIVIT_TINY,
        VideoVit,
        _tiny(_unit_vq(32, 8, 64), ("space", "time"), (2, 8), past=4),
        _PHENAKI,
    ),
    Preset(
        _OMNI_TINY,
        VideoVit,
        _tiny(_unit_vq(32, 8, 64), ("window", "time"), (4, 4), past=4, window=2),
        _OMNI,
    ),
    Preset(
        _BSQ_TINY,
        VideoVit,
        _tiny(Bsq(dim=32, bits=18), ("joint", "joint"), (1, 8), past=3, image_first=False),
        _BSQ,
    ),
    Preset(
        _VITOK_TINY,
        VideoVit,
        _tiny(KL(dim=32, channels=8), ("joint",), (4, 8), image_first=False),
        _VITOK,
    ),
    Preset(
        _ATOKEN_TINY,
        VideoVit,
        _tiny(KL(dim=32, channels=12), ("joint",), (4, 8), image_first=False, past=4, block=2),
        _ATOKEN,
    ),
    Preset(
        _ATOKEN_FSQ_TINY,
        VideoVit,
        _tiny(_groups(32, 4, 3), ("joint",), (4, 8), image_first=False, past=4, block=2),
        _ATOKEN,
    ),
    Preset(
        "video/phenaki_cvivit_2x8x8.k8192",
        VideoVit,
        _cvivit(_unit_vq(512, 32, 8192)),
        _PHENAKI,
        _CVIVIT_TINY,
        serves=("phenaki",),
    ),
    Preset(
        "video/omnitokenizer_4x8x8.k8192",
        VideoVit,
        _omni(_unit_vq(512, 8, 8192)),
        _OMNI,
        _OMNI_TINY,
        {
            "rfvd (UCF-101)": 42.35,
            "rfvd (Kinetics-600)": 25.97,
            "psnr (TokenBench)": 30.15,
            "ssim (TokenBench)": 0.827,
            "rfvd (TokenBench)": 53.55,
        },
        serves=("omnitokenizer",),
    ),
    Preset(
        "video/omnitokenizer_4x8x8.ch8",
        VideoVit,
        _omni(KL(dim=512, channels=8)),
        _OMNI,
        _OMNI_TINY,
    ),
    *(
        Preset(
            f"video/bsq_vit_1x8x8.b{bits}",
            VideoVit,
            _bsq(bits),
            _BSQ,
            _BSQ_TINY,
            {
                f"{metric} (UCF-101, 16x128x128)": value
                for metric, value in zip(("psnr", "ssim", "lpips", "rfvd"), scores, strict=True)
            },
            serves=("bsq-vit",),
        )
        for bits, *scores in ((18, 32.08, 0.942, 0.0244, 8.08), (36, 33.80, 0.961, 0.0159, 4.10))
    ),
    *(
        Preset(
            f"video/vitok_sb_4x8x8.f{floats}",
            VideoVit,
            vitok(floats),
            _VITOK,
            _VITOK_TINY,
            serves=("vitok",),
        )
        for floats in (4096, 16384)
    ),
    Preset(
        "video/atoken_4x16x16.ch48",
        VideoVit,
        _atoken(KL(dim=1152, channels=48)),
        _ATOKEN,
        _ATOKEN_TINY,
        serves=("atoken",),
    ),
    Preset(
        "video/atoken_4x16x16.k4096x8",
        VideoVit,
        _atoken(_groups(1152, 8, 6)),
        _ATOKEN,
        _ATOKEN_FSQ_TINY,
        serves=("atoken",),
    ),
)
