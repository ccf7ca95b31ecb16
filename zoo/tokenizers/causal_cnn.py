"""Causal 3D convolutional autoencoders: the family of MAGVIT-v2, VidTok, Cosmos and Wan's VAE.

Residual blocks, halving space at every level and time at the deeper ones, all causal in time with
normalisation of each frame on its own. So a clip of 1+k*t frames and an image share one model, the
ids of a prefix are a prefix of the ids, and a stream of any length is encoded in constant memory.
`patch` folds pixels into channels before the first convolution (as Cosmos does with wavelets),
which buys most of the speed at little loss.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from zoo.autoencoder import Autoencoder
from zoo.layers.causal import (
    CausalConv3d,
    FrameNorm,
    ResBlock,
    SpaceDown,
    SpaceUp,
    TimeDown,
    TimeUp,
)
from zoo.layers.quantizers import KL, Fsq, Lfq, QuantizerConfig, build
from zoo.registry import Preset
from zoo.spec import Axis, LengthRule, StreamSpec, TokenizerSpec
from zoo.tokenizer import State

__all__ = ["PRESETS", "CausalCnn", "Config"]


@dataclass(frozen=True)
class Config:
    """`widen` has one entry for each resolution; `halve_time` says which halvings include time."""

    quantizer: QuantizerConfig
    width: int = 128
    widen: tuple[int, ...] = (1, 2, 4, 4)
    halve_time: tuple[bool, ...] = (False, True, True)
    blocks: int = 2
    patch: int = 1
    decoder_width: int = 128
    decoder_blocks: int = 2

    @property
    def space(self) -> int:
        return self.patch * 2 ** len(self.halve_time)

    @property
    def time(self) -> int:
        return 2 ** sum(self.halve_time)


class Encoder(nn.Module):
    """(B, 3, 1+k*t, H, W) to (B, dim, 1+k, H/s, W/s)."""

    def __init__(self, config: Config, dim: int):
        super().__init__()
        widths = [config.width * factor for factor in config.widen]
        self.patch = config.patch
        self.stem = CausalConv3d(3 * config.patch**2, widths[0])
        layers: list[nn.Module] = [ResBlock(widths[0], widths[0]) for _ in range(config.blocks)]
        for before, after, halve_time in zip(widths, widths[1:], config.halve_time, strict=False):
            layers.append(SpaceDown(before, after))
            if halve_time:
                layers.append(TimeDown(after, after))
            layers += [ResBlock(after, after) for _ in range(config.blocks)]
        self.layers = nn.ModuleList(layers)
        self.norm, self.head = FrameNorm(widths[-1]), CausalConv3d(widths[-1], dim)

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        x = self.stem(_fold(x, self.patch), state)
        for layer in self.layers:
            x = layer(x, state)
        return self.head(functional.silu(self.norm(x)), state)


class Decoder(nn.Module):
    """(B, dim, 1+k, h, w) to (B, 3, 1+k*t, H, W)."""

    def __init__(self, config: Config, dim: int):
        super().__init__()
        widths = [config.decoder_width * factor for factor in config.widen][::-1]
        self.patch = config.patch
        self.stem = CausalConv3d(dim, widths[0])
        layers: list[nn.Module] = [
            ResBlock(widths[0], widths[0]) for _ in range(config.decoder_blocks)
        ]
        halvings = config.halve_time[::-1]
        for before, after, double_time in zip(widths, widths[1:], halvings, strict=False):
            if double_time:
                layers.append(TimeUp(before, before))
            layers.append(SpaceUp(before, after))
            layers += [ResBlock(after, after) for _ in range(config.decoder_blocks)]
        self.layers = nn.ModuleList(layers)
        self.norm = FrameNorm(widths[-1])
        self.head = CausalConv3d(widths[-1], 3 * config.patch**2)

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        x = self.stem(x, state)
        for layer in self.layers:
            x = layer(x, state)
        return _unfold(self.head(functional.silu(self.norm(x)), state), self.patch)


class CausalCnn(Autoencoder):
    """A causal 3D autoencoder with any quantizer."""

    config_class = Config
    pace = 4

    def __init__(self, config: Config):
        super().__init__(config)
        self.quantizer = build(config.quantizer)
        self.encoder = Encoder(config, self.quantizer.dim)
        self.decoder = Decoder(config, self.quantizer.dim)

    def describe(self) -> TokenizerSpec:
        space = self.config.space
        stream = StreamSpec(
            axes=(Axis("h", stride=space), Axis("w", stride=space)),
            levels=self.quantizer.levels,
            channels=self.quantizer.channels,
            ordered="level" if self.quantizer.nested else "",
        )
        return TokenizerSpec(
            modality="video",
            channels=3,
            length=LengthRule(1, self.config.time),
            streams=(stream,),
            multiple=space,
            value_range=(-1.0, 1.0),
            causal=True,
            streaming=True,
        )


def _fold(x: Tensor, patch: int) -> Tensor:
    """Patches of pixels into channels, frame by frame."""
    batch, channels, frames, height, _ = x.shape
    x = functional.pixel_unshuffle(x.transpose(1, 2), patch)
    return x.reshape(batch, frames, channels * patch**2, height // patch, -1).transpose(1, 2)


def _unfold(x: Tensor, patch: int) -> Tensor:
    return functional.pixel_shuffle(x.transpose(1, 2), patch).transpose(1, 2)


def _tiny(quantizer: QuantizerConfig) -> Config:
    return Config(
        quantizer,
        width=16,
        widen=(1, 2, 2),
        halve_time=(True, True),
        blocks=1,
        decoder_width=16,
        decoder_blocks=1,
    )


def _sized(
    quantizer: QuantizerConfig,
    width: int,
    *,
    halve_time: tuple[bool, ...] = (False, True, True),
    widen: tuple[int, ...] = (1, 2, 4, 4),
    blocks: int = 2,
    patch: int = 1,
) -> Config:
    return Config(quantizer, width, widen, halve_time, blocks, patch, width, blocks)


def _vidtok(quantizer: QuantizerConfig, space: int = 8) -> Config:
    if space == 8:
        return _sized(quantizer, 112)
    return _sized(quantizer, 112, halve_time=(False, False, True, True), widen=(1, 2, 4, 4, 4))


def _cosmos(quantizer: QuantizerConfig, time: int, space: int) -> Config:
    if (time, space) == (4, 8):
        return _sized(quantizer, 96, halve_time=(True, True), widen=(2, 4, 4), patch=2)
    patch = space // 8
    return _sized(quantizer, 88, halve_time=(True, True, True), patch=patch)


def _scores(protocol: str, names: str, *values: float) -> dict[str, float | str]:
    """Published numbers by `metric (protocol)`."""
    return {
        f"{name} ({protocol})": value for name, value in zip(names.split(), values, strict=True)
    }


_VIDTOK = "VidTok: A Versatile and Open-Source Video Tokenizer, arXiv:2412.13061"
_MAGVIT2 = "Language Model Beats Diffusion: Tokenizer is Key to Visual Generation, arXiv:2310.05737"
_OPEN_MAGVIT2 = "Open-MAGVIT2: Democratizing Auto-regressive Visual Generation, arXiv:2409.04410"
_COSMOS = "Cosmos World Foundation Model Platform for Physical AI, arXiv:2501.03575"
_WAN = "Wan: Open and Advanced Large-Scale Video Generative Models, arXiv:2503.20314"
_WALT = "Photorealistic Video Generation with Diffusion Models, arXiv:2312.06662"
_STEP = "Step-Video-T2V Technical Report, arXiv:2502.10248"

_FSQ_TINY, _LFQ_TINY, _KL_TINY = (f"video/causal_cnn_{kind}_tiny" for kind in ("fsq", "lfq", "kl"))
_MCL = "MCL-JCV, 17x256x256, 30 fps", "psnr ssim lpips rfvd"
_BENCH = "TokenBench", "psnr ssim rfvd"

PRESETS = (
    Preset(_FSQ_TINY, CausalCnn, _tiny(Fsq(dim=32, levels=(8, 5, 5))), _VIDTOK),
    Preset(_LFQ_TINY, CausalCnn, _tiny(Lfq(dim=32, bits=10)), _MAGVIT2),
    Preset(_KL_TINY, CausalCnn, _tiny(KL(dim=32, channels=4)), _VIDTOK),
    *(
        Preset(
            f"video/vidtok_fsq_causal_{name}.k{8**digits}",
            CausalCnn,
            _vidtok(Fsq(dim=448, levels=(8,) * digits), space),
            _VIDTOK,
            _FSQ_TINY,
            _scores(*_MCL, *scores),
            serves=("vidtok",) if digits == 5 else (),
        )
        for name, space, digits, *scores in (
            ("488", 8, 4, 28.36, 0.832, 0.133, 218.1),
            ("488", 8, 5, 29.16, 0.854, 0.117, 196.9),
            ("488", 8, 6, 29.82, 0.867, 0.106, 160.1),
            ("41616", 16, 6, 25.38, 0.738, 0.206, 430.1),
        )
    ),
    Preset(
        "video/vidtok_fsq_causal_888.k32768",
        CausalCnn,
        _sized(Fsq(dim=448, levels=(8,) * 5), 112, halve_time=(True, True, True)),
        _VIDTOK,
        _FSQ_TINY,
        _scores("MCL-JCV, whole clips, v1.1", "psnr ssim lpips rfvd", 27.95, 0.817, 0.142, 293.2),
    ),
    Preset(
        "video/vidtok_kl_causal_488.ch16",
        CausalCnn,
        _vidtok(KL(dim=448, channels=16)),
        _VIDTOK,
        _KL_TINY,
        _scores(*_MCL, 35.04, 0.942, 0.047, 78.9),
    ),
    *(
        Preset(
            f"video/cosmos_{kind}_{time}x{space}x{space}.{tag}",
            CausalCnn,
            _cosmos(quantizer, time, space),
            _COSMOS,
            tiny,
            _scores(*_BENCH, *scores),
        )
        for kind, tag, quantizer, tiny, time, space, *scores in (
            ("dv", "k64000", Fsq(dim=256), _FSQ_TINY, 4, 8, 35.14, 0.887, 19.67),
            ("dv", "k64000", Fsq(dim=256), _FSQ_TINY, 8, 8, 34.75, 0.872, 43.87),
            ("dv", "k64000", Fsq(dim=256), _FSQ_TINY, 8, 16, 33.72, 0.828, 113.5),
            ("cv", "ch16", KL(dim=256, channels=16), _KL_TINY, 4, 8, 37.27, 0.928, 6.85),
            ("cv", "ch16", KL(dim=256, channels=16), _KL_TINY, 8, 8, 36.86, 0.917, 11.62),
            ("cv", "ch16", KL(dim=256, channels=16), _KL_TINY, 8, 16, 35.16, 0.875, 43.09),
        )
    ),
    Preset(
        "video/magvit2_lfq_488.k262144",
        CausalCnn,
        _sized(Lfq(dim=512, bits=18), 128, widen=(1, 2, 2, 4), blocks=4),
        _MAGVIT2,
        _LFQ_TINY,
        serves=("magvit-v2",),
    ),
    Preset(
        "video/open_magvit2_lfq_488.k262144",
        CausalCnn,
        _sized(Lfq(dim=512, bits=18), 128, widen=(1, 2, 2, 4), blocks=4),
        _OPEN_MAGVIT2,
        _LFQ_TINY,
        {"rfvd (UCF-101, 17x128x128)": 16.0},
    ),
    Preset(
        "video/wan_kl_488.ch16",
        CausalCnn,
        Config(KL(dim=256, channels=16), width=96, decoder_width=96, decoder_blocks=3),
        _WAN,
        _KL_TINY,
        {"parameters": 126.9e6, "parameters of the encoder": 53.6e6},
    ),
    Preset(
        "video/walt_kl_488.ch8",
        CausalCnn,
        _sized(KL(dim=512, channels=8), 128, widen=(1, 2, 2, 4), blocks=4),
        _WALT,
        _KL_TINY,
        serves=("walt",),
    ),
    Preset(
        "video/step_video_kl_81616.ch64",
        CausalCnn,
        _sized(
            KL(dim=512, channels=64),
            128,
            halve_time=(False, True, True, True),
            widen=(1, 2, 4, 4, 4),
        ),
        _STEP,
        _KL_TINY,
        serves=("step-video-t2v",),
    ),
)
