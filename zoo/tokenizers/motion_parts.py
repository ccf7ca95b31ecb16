"""Body parts as streams of their own: body, head and hands, or the limbs of a skeleton.

Every part has its encoder and its codebook and sees nothing of the others, so a generator can
change the hands and leave the body's ids alone. One decoder reads all parts together. Which joints
(or which feature columns) make which part is declared in the configuration and checked.

With `confidence`, joints are 2D keypoints (x, y, confidence) as detectors give them, the way
X-Dancer takes them: a keypoint without confidence neither moves an id nor weighs in the loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zoo.errors import UsageError
from zoo.layers.normalise import Normalizer
from zoo.layers.quantizers import QuantizerConfig, Rvq, Vq, build
from zoo.layers.temporal import Decoder1d, Encoder1d, Layout
from zoo.motion import MotionAutoencoder, motion_losses
from zoo.registry import Preset
from zoo.spec import LengthRule, StreamSpec, TokenizerSpec
from zoo.tokenizer import Reconstruction, State

__all__ = ["COCO_WHOLEBODY", "PRESETS", "Config", "MotionParts", "humanml3d_parts"]

Parts = tuple[tuple[str, tuple[int, ...]], ...]
"""Name and joints, or feature columns, of every part."""

COCO_WHOLEBODY: Parts = (
    ("body", tuple(range(5, 23))),
    ("head", (*range(5), *range(23, 91))),
    ("left_hand", tuple(range(91, 112))),
    ("right_hand", tuple(range(112, 133))),
)
"""The 133 keypoints of COCO-WholeBody; nose, eyes and ears belong to the head."""

_LIMBS = {
    "torso": (3, 6, 9, 12, 15),
    "left_leg": (1, 4, 7, 10),
    "right_leg": (2, 5, 8, 11),
    "left_arm": (13, 16, 18, 20),
    "right_arm": (14, 17, 19, 21),
}
"""Joints of the 22-joint SMPL skeleton without its root."""


@dataclass(frozen=True)
class Config:
    """`quantizer` is that of each part; `joints` of 0 means that parts are columns of features."""

    quantizer: QuantizerConfig
    parts: Parts
    joints: int = 0
    values: int = 3
    confidence: bool = False
    fps: float | None = None
    halvings: int = 2
    causal: bool = False
    width: int = 256
    blocks: int = 3
    dilation: int = 3
    decoder_width: int = 512
    decoder_blocks: int = 3

    @property
    def places(self) -> int:
        """How many joints or columns the parts share out."""
        return self.joints or self.values


class MotionParts(MotionAutoencoder):
    """An encoder and a codebook for each part, one decoder for all."""

    config_class = Config
    encode_side = ("normalizer", "encoders", "quantizers")

    def __init__(self, config: Config):
        super().__init__(config)
        _check_parts(config)
        shape = (config.joints, config.values) if config.joints else (config.values,)
        self.normalizer = Normalizer(shape)
        self.encoders, self.quantizers = nn.ModuleDict(), nn.ModuleDict()
        for name, places in config.parts:
            self.quantizers[name] = build(config.quantizer)
            values = len(places) * (config.values if config.joints else 1)
            layout = self._layout(values, config.quantizer.dim)
            self.encoders[name] = Encoder1d(layout, config.width, config.blocks)
        whole = self._layout(self.normalizer.mean.numel(), config.quantizer.dim * len(config.parts))
        self.decoder = Decoder1d(whole, config.decoder_width, config.decoder_blocks)
        self._keep_bound()

    def describe(self) -> TokenizerSpec:
        frames = 2**self.config.halvings
        return TokenizerSpec(
            modality="joints" if self.config.joints else "motion",
            channels=self.config.values,
            joints=self.config.joints,
            length=LengthRule(frames, frames),
            streams=tuple(self._stream(name) for name, _ in self.config.parts),
            fps=self.config.fps,
            causal=self.config.causal,
            streaming=self.config.causal,
        )

    def encode_piece(self, x: Tensor, state: State) -> dict[str, Tensor]:
        features = self._encode(x, state)
        return {name: self.quantizers[name].encode(z) for name, z in features.items()}

    def decode_piece(
        self, streams: dict[str, Tensor], state: State, size: tuple[int, ...]
    ) -> Tensor:
        values = [self.quantizers[name].decode(streams[name]) for name, _ in self.config.parts]
        return self.normalizer.back(self._decode(values, state))

    def forward(self, x: Tensor) -> Reconstruction:
        quantized = {name: self.quantizers[name](z) for name, z in self._encode(x, None).items()}
        output = self._decode([part.values for part in quantized.values()], None)
        losses = motion_losses(output, self.normalizer(x), self._weight(x))
        for key in next(iter(quantized.values())).losses:
            losses[key] = torch.stack([part.losses[key] for part in quantized.values()]).mean()
        ids = {name: part.ids for name, part in quantized.items() if part.ids is not None}
        return Reconstruction(self.normalizer.back(output), losses, ids)

    def _encode(self, x: Tensor, state: State | None) -> dict[str, Tensor]:
        """Latents of every part, channels last."""
        seen = self.normalizer(x)
        weight = self._weight(x)
        if weight is not None:
            seen = seen * weight
        return {
            name: self.encoders[name](
                seen[:, :, list(places)].flatten(2).transpose(1, 2), state
            ).transpose(1, 2)
            for name, places in self.config.parts
        }

    def _decode(self, values: list[Tensor], state: State | None) -> Tensor:
        made = self.decoder(torch.cat(values, dim=-1).transpose(1, 2), state).transpose(1, 2)
        return made.unflatten(2, self.normalizer.mean.shape)

    def _weight(self, x: Tensor) -> Tensor | None:
        """How much every value counts: coordinates by their confidence, confidence fully."""
        if not self.config.confidence:
            return None
        sure = x[..., -1:].clamp(0, 1)
        return torch.cat([sure.expand_as(x[..., :-1]), torch.ones_like(sure)], dim=-1)

    def _stream(self, name: str) -> StreamSpec:
        quantizer = self.quantizers[name]
        return StreamSpec(
            name,
            levels=quantizer.levels,
            channels=quantizer.channels,
            ordered="level" if quantizer.nested else "",
        )

    def _layout(self, features: int, dim: int) -> Layout:
        config = self.config
        return Layout(features, dim, config.halvings, config.dilation, config.causal)


def humanml3d_parts(joints: int = 22) -> Parts:
    """Columns of HumanML3D features by limb; turn, ground speed and height are the root."""
    rotations, speeds = 4 + 3 * (joints - 1), 4 + 9 * (joints - 1)
    contacts = speeds + 3 * joints
    parts = {"root": [*range(4), *range(speeds, speeds + 3)]}
    for name, limb in _LIMBS.items():
        columns = parts[name] = []
        for joint in limb:
            columns += range(3 * joint + 1, 3 * joint + 4)
            columns += range(rotations + 6 * (joint - 1), rotations + 6 * joint)
            columns += range(speeds + 3 * joint, speeds + 3 * joint + 3)
    parts["left_leg"] += [contacts, contacts + 1]
    parts["right_leg"] += [contacts + 2, contacts + 3]
    return tuple((name, tuple(columns)) for name, columns in parts.items())


def _check_parts(config: Config) -> None:
    given = sorted(place for _, places in config.parts for place in places)
    if given == list(range(config.places)):
        return
    what = "joints" if config.joints else "feature columns"
    missing = sorted(set(range(config.places)) - set(given))
    twice = sorted({place for place in given if given.count(place) > 1})
    beyond = [place for place in given if not 0 <= place < config.places]
    raise UsageError(
        f"parts do not share out the {what}: missing {missing}, twice {twice}, beyond {beyond}",
        allowed=f"each of 0 to {config.places - 1} in one part",
    )


_X_DANCER = "X-Dancer: Expressive Music to Human Dance Video Generation, arXiv:2502.17414"
_PARCO = "ParCo: Part-Coordinating Text-to-Motion Synthesis, arXiv:2403.18512"

PRESETS = (
    Preset(
        "joints/parts_vq_tiny",
        MotionParts,
        Config(
            Vq(dim=16, size=64),
            parts=(("body", (0, 1, 4, 5)), ("head", (2, 3)), ("hands", (6, 7))),
            joints=8,
            confidence=True,
            width=32,
            blocks=1,
            decoder_width=48,
            decoder_blocks=1,
        ),
        _X_DANCER,
    ),
    Preset(
        "motion/parts_rvq_causal_tiny",
        MotionParts,
        Config(
            Rvq(dim=16, size=64, depth=2),
            parts=(("upper", tuple(range(12))), ("lower", tuple(range(12, 24)))),
            values=24,
            causal=True,
            width=32,
            blocks=1,
            decoder_width=48,
            decoder_blocks=1,
        ),
        _PARCO,
    ),
    Preset(
        "joints/parts_vq.x_dancer",
        MotionParts,
        Config(Vq(dim=256, size=512), COCO_WHOLEBODY, joints=133, confidence=True, fps=30.0),
        _X_DANCER,
        tiny="joints/parts_vq_tiny",
        serves=("x-dancer",),
    ),
    Preset(
        "motion/parts_vq.humanml3d",
        MotionParts,
        Config(Vq(dim=128, size=512), humanml3d_parts(), values=263, fps=20.0),
        _PARCO,
        tiny="joints/parts_vq_tiny",
    ),
)
