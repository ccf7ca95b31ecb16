"""1D convolutions over motion features: T2M-GPT, MMM, MoMask, MotionMillion, MotionStreamer.

Features of any width, (B, T, D), halved in time a few times (4 frames to a position by default).
Most published models look both ways in time, so they encode a whole clip at once; such presets do
not stream. `causal` ones do, with equal ids, for live capture and for takes of any length; with KL
latents that is MotionStreamer's temporal autoencoder.

Action chunks of robots are the same thing with another name and residual ids (VQ-VLA).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from zoo.layers.normalise import Normalizer
from zoo.layers.quantizers import KL, Fsq, QuantizerConfig, Rvq, Vq, build
from zoo.layers.temporal import Decoder1d, Encoder1d, Layout
from zoo.motion import MotionAutoencoder
from zoo.registry import Preset
from zoo.spec import LengthRule, StreamSpec, TokenizerSpec

__all__ = ["HUMANML3D", "KIT", "PRESETS", "Config", "MotionConv"]

HUMANML3D = (1, 2, 1, 63, 126, 66, 4)
"""Widths of the 263 features by kind: turn, ground speed, height, positions, rotations, speeds,
contacts. Features of a kind share one deviation."""

KIT = (1, 2, 1, 60, 120, 63, 4)
"""The same for the 251 features of KIT-ML's 21 joints."""


@dataclass(frozen=True)
class Config:
    """`groups` are widths of runs of features that share one deviation; each on its own if ()."""

    quantizer: QuantizerConfig
    features: int = 263
    modality: str = "motion"
    fps: float | None = None
    groups: tuple[int, ...] = ()
    halvings: int = 2
    causal: bool = False
    width: int = 512
    blocks: int = 3
    dilation: int = 3
    norm: bool = False
    decoder_width: int = 512
    decoder_blocks: int = 3


class MotionConv(MotionAutoencoder):
    """A 1D convolutional autoencoder of motion or actions."""

    config_class = Config

    def __init__(self, config: Config):
        super().__init__(config)
        self.normalizer = Normalizer((config.features,), config.groups)
        self.quantizer = build(config.quantizer)
        layout = Layout(
            features=config.features,
            dim=self.quantizer.dim,
            halvings=config.halvings,
            dilation=config.dilation,
            causal=config.causal,
            norm=config.norm,
        )
        self.encoder = Encoder1d(layout, config.width, config.blocks)
        self.decoder = Decoder1d(layout, config.decoder_width, config.decoder_blocks)
        self._keep_bound()

    def describe(self) -> TokenizerSpec:
        frames = 2**self.config.halvings
        stream = StreamSpec(
            levels=self.quantizer.levels,
            channels=self.quantizer.channels,
            ordered="level" if self.quantizer.nested else "",
        )
        return TokenizerSpec(
            modality=self.config.modality,
            channels=self.config.features,
            length=LengthRule(frames, frames),
            streams=(stream,),
            fps=self.config.fps,
            causal=self.config.causal,
            streaming=self.config.causal,
        )


def _tiny(quantizer: QuantizerConfig, **changes: object) -> Config:
    small = Config(quantizer, features=24, width=48, blocks=2, decoder_width=48, decoder_blocks=2)
    return replace(small, **changes)  # type: ignore[arg-type]


_T2M_GPT = (
    "T2M-GPT: Generating Human Motion from Textual Descriptions with Discrete Representations, "
    "arXiv:2301.06052"
)
_MOTION_GPT = "MotionGPT: Human Motion as a Foreign Language, arXiv:2306.14795"
_MMM = "MMM: Generative Masked Motion Model, arXiv:2312.03596"
_MOMASK = "MoMask: Generative Masked Modeling of 3D Human Motions, arXiv:2312.00063"
_BAMM = "BAMM: Bidirectional Autoregressive Motion Model, arXiv:2403.19435"
_MILLION = (
    "Go to Zero: Towards Zero-shot Motion Generation with Million-scale Data, arXiv:2507.07095"
)
_STREAMER = (
    "MotionStreamer: Streaming Motion Generation via Diffusion-based Autoregressive Model in "
    "Causal Latent Space, arXiv:2503.15451"
)
_VQ_VLA = (
    "VQ-VLA: Improving Vision-Language-Action Models via Scaling Vector-Quantized Action "
    "Tokenizers, arXiv:2507.01016"
)

_T2M = Config(Vq(dim=512, size=512), fps=20.0, groups=HUMANML3D)
_RESIDUAL = replace(_T2M, quantizer=Rvq(dim=512, size=512, depth=6, dropout=0.2))

PRESETS = (
    Preset("motion/conv_vq_tiny", MotionConv, _tiny(Vq(dim=32, size=64)), _T2M_GPT),
    Preset("motion/conv_rvq_tiny", MotionConv, _tiny(Rvq(dim=32, size=64, depth=4)), _MOMASK),
    Preset(
        "motion/conv_fsq_tiny",
        MotionConv,
        _tiny(Fsq(dim=32, levels=(8, 5, 5)), norm=True),
        _MILLION,
    ),
    Preset(
        "motion/conv_rvq_causal_tiny",
        MotionConv,
        _tiny(Rvq(dim=32, size=64, depth=4), causal=True),
        _MOMASK,
    ),
    Preset(
        "motion/conv_kl_causal_tiny",
        MotionConv,
        _tiny(KL(dim=48, channels=4), causal=True),
        _STREAMER,
    ),
    Preset(
        "action/conv_rvq_tiny",
        MotionConv,
        _tiny(Rvq(dim=32, size=64, depth=4), modality="action", features=7, halvings=3),
        _VQ_VLA,
    ),
    Preset(
        "motion/conv_vq.t2m_gpt",
        MotionConv,
        _T2M,
        _T2M_GPT,
        tiny="motion/conv_vq_tiny",
        published={"HumanML3D test, reconstruction FID": 0.070},
        serves=("m2dm", "tm2d"),
    ),
    Preset(
        "motion/conv_vq.t2m_gpt_kit",
        MotionConv,
        replace(_T2M, features=251, fps=12.5, groups=KIT),
        _T2M_GPT,
        tiny="motion/conv_vq_tiny",
    ),
    Preset(
        "motion/conv_vq.motion_gpt",
        MotionConv,
        _T2M,
        _MOTION_GPT,
        tiny="motion/conv_vq_tiny",
        published={
            "HumanML3D test, reconstruction FID": 0.067,
            "HumanML3D test, reconstruction MPJPE mm": 55.8,
            "HumanML3D test, reconstruction PA-MPJPE mm": 40.1,
            "HumanML3D test, reconstruction ACCL mm": 7.5,
        },
    ),
    Preset(
        "motion/conv_vq.mmm",
        MotionConv,
        replace(_T2M, quantizer=Vq(dim=32, size=8192)),
        _MMM,
        tiny="motion/conv_vq_tiny",
        serves=("mmm",),
    ),
    Preset(
        "motion/conv_rvq.momask",
        MotionConv,
        _RESIDUAL,
        _MOMASK,
        tiny="motion/conv_rvq_tiny",
        published={"HumanML3D test, reconstruction FID": 0.019},
    ),
    Preset(
        "motion/conv_rvq.bamm",
        MotionConv,
        _RESIDUAL,
        _BAMM,
        tiny="motion/conv_rvq_tiny",
        serves=("bamm",),
    ),
    Preset(
        "motion/conv_rvq_causal.263",
        MotionConv,
        replace(_RESIDUAL, causal=True),
        _MOMASK,
        tiny="motion/conv_rvq_causal_tiny",
    ),
    # Without the wavelet transform in front of the published one.
    Preset(
        "motion/conv_fsq.motion_million",
        MotionConv,
        Config(Fsq(dim=512, levels=(8, 8, 8, 5, 5, 5)), features=272, fps=30.0, norm=True),
        _MILLION,
        tiny="motion/conv_fsq_tiny",
    ),
    Preset(
        "motion/conv_kl_causal.motion_streamer",
        MotionConv,
        Config(
            KL(dim=1024, channels=16),
            features=272,
            fps=30.0,
            causal=True,
            width=1024,
            decoder_width=1024,
        ),
        _STREAMER,
        tiny="motion/conv_kl_causal_tiny",
    ),
    Preset(
        "action/conv_rvq.vq_vla",
        MotionConv,
        Config(
            Rvq(dim=128, size=256, depth=4),
            modality="action",
            features=7,
            halvings=3,
            width=128,
            decoder_width=128,
        ),
        _VQ_VLA,
        tiny="action/conv_rvq_tiny",
        serves=("vq-vla",),
    ),
)
