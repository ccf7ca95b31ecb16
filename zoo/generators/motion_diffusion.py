"""Human motion from noise: a transformer, or a state space, over frames of features.

Features are normalised by statistics that the model keeps. The network names the clean motion, so
losses on speeds cost nothing. What it is asked for is a matter of conditions: texts and classes, a
vector of a paired clip, a source motion as a track (editing, style, in-betweening by example).

`parts` gives the body part of each feature. Frames and parts can be hidden in training, to be made
from the rest; parts that a data set lacks are hidden by the condition `present` and never learned.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from zoo.denoiser import Denoiser, counted
from zoo.errors import UsageError
from zoo.generator import Batch, Condition, Conditions, Space
from zoo.layers.backbone import BackboneConfig
from zoo.layers.diffusion import Process
from zoo.layers.dit import Dit
from zoo.layers.normalise import Normalizer
from zoo.registry import Preset

PRESENT = "present"
"""The condition (a vector, 1 or 0 for each body part) that tells which parts there are."""


@dataclass(frozen=True)
class Config:
    """`hidden_frames` and `hidden_parts` are shares that training hides from the network; with
    `crowded`, frames hide the likelier the less they differ from their neighbours."""

    space: Space
    conditions: tuple[Condition, ...] = ()
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    process: Process = field(default_factory=lambda: Process("cosine", "data"))
    parts: tuple[int, ...] = ()
    hidden_frames: float = 0.0
    hidden_parts: float = 0.0
    crowded: bool = False
    known: float = 0.0
    drop: float = 0.1


class MotionDiffusion(Denoiser):
    """A network over frames that sees noisy features, and which parts of them are there."""

    config_class = Config
    loss_weights = {"velocity": 0.5}  # noqa: RUF012

    def __init__(self, config: Config):
        super().__init__(config)
        if len(config.space.grid) != 1 or config.space.discrete:
            raise UsageError("motion is a row of frames", allowed="a space of (frames,), channels")
        if config.parts and len(config.parts) != config.space.channels:
            raise UsageError(f"{len(config.parts)} features have a part", allowed="all or none")
        self.count = max(config.parts, default=0) + 1
        self.normalizer = Normalizer((config.space.channels,))
        parts = config.parts or (0,) * config.space.channels
        self.register_buffer("part", torch.tensor(parts), persistent=False)
        self.network = Dit(config.space, config.conditions, config.backbone, extra=self.count)

    part: Tensor

    def inward(self, x: Tensor) -> Tensor:
        return self.normalizer(x)

    def outward(self, x: Tensor) -> Tensor:
        return self.normalizer.back(x)

    def predict(
        self, x: Tensor, time: Tensor, conditions: Conditions, lengths: Tensor | None = None
    ) -> Tensor:
        return self.seen(x, time, conditions, self.present(x, conditions), lengths)

    def seen(
        self,
        x: Tensor,
        time: Tensor,
        conditions: Conditions,
        present: Tensor,
        lengths: Tensor | None = None,
    ) -> Tensor:
        """As `predict`, of the parts (B, T, parts) that are present alone."""
        visible = self.process.scaled(x, time) * present[..., self.part]
        told = torch.cat([visible, present], dim=-1)
        return self.network(told, time, conditions, lengths=lengths)

    def present(self, x: Tensor, conditions: Conditions) -> Tensor:
        """(B, T, parts) 1 where a part is there, as the conditions say."""
        there, given = x.new_ones(*x.shape[:2], self.count), conditions.seen(PRESENT)
        if given is None:
            return there
        told = conditions.values[PRESENT].to(x).unsqueeze(1)
        return torch.where(given.view(-1, 1, 1), told, there)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Hidden parts and frames are to be made, missing parts do not count."""
        batch = replace(batch, x=self.inward(batch.x))
        time, noise = self.draw_times(batch), torch.randn_like(batch.x)
        mixture = self.process.mix(batch.x, noise, time)
        there = self.present(batch.x, batch.conditions)
        present = there * self.shown(batch)
        named = self.seen(mixture, time, batch.conditions, present, batch.lengths)
        weight = there[..., self.part]
        error = (named - self.process.wanted(batch.x, noise, time)) * weight
        losses = {"denoise": counted(error.square(), batch, time)}
        if self.process.target == "data":
            speeds = error.diff(dim=1, prepend=error[:, :1])
            losses["velocity"] = counted(speeds.square(), batch, time)
        return losses

    def shown(self, batch: Batch) -> Tensor:
        """(B, T, parts) 0 at frames and parts that this step of training hides."""
        size = (*batch.x.shape[:2], self.count)
        like = {"device": batch.x.device, "dtype": batch.x.dtype}
        frames = torch.rand(*size[:2], 1, **like) >= self.frame_shares(batch.x).unsqueeze(-1)
        parts = torch.rand(size[0], 1, self.count, **like) >= self.config.hidden_parts
        return (frames & parts).to(batch.x.dtype)

    def frame_shares(self, x: Tensor) -> Tensor:
        """(B, T) How likely each frame is to be hidden."""
        share = self.config.hidden_frames
        if not self.config.crowded:
            return x.new_full(x.shape[:2], share)
        apart = torch.cdist(x, x)
        crowd = torch.exp(-apart / apart.mean((1, 2), keepdim=True)).mean(-1)
        return functional.normalize(crowd, p=1, dim=1) * share * x.shape[1]


def humanml_parts() -> tuple[int, ...]:
    """The part of each of HumanML3D's 263 features: trunk, left leg, right leg, left arm, right."""
    chains = (
        (0, 3, 6, 9, 12, 15),
        (1, 4, 7, 10),
        (2, 5, 8, 11),
        (13, 16, 18, 20),
        (14, 17, 19, 21),
    )
    joint = [next(i for i, chain in enumerate(chains) if j in chain) for j in range(22)]

    def wide(joints: list[int], width: int) -> list[int]:
        return [part for part in joints for _ in range(width)]

    moving = joint[1:]
    return (0, 0, 0, 0, *wide(moving, 3), *wide(moving, 6), *wide(joint, 3), 1, 1, 2, 2)


_ASKED = (Condition("label", "class", 4), Condition("text", "words"))
_TEXT = Condition("text", "embeddings", 512)


def _tiny(*conditions: Condition, mixers: tuple[str, ...] = ("full",), **options: Any) -> Config:
    backbone = BackboneConfig(48, 2, 2, mixers=mixers, reader_depth=0)
    space = Space("motion", (12,), channels=6)
    return Config(space, (*_ASKED, *conditions), backbone, **options)


def _full(
    channels: int,
    dim: int,
    depth: int,
    heads: int,
    *conditions: Condition,
    frames: int = 196,
    mixers: tuple[str, ...] = ("full",),
    **options: Any,
) -> Config:
    space = Space("motion", (frames,), channels=channels)
    backbone = BackboneConfig(dim, depth, heads, mixers=mixers)
    return Config(space, (_TEXT, *conditions), backbone, **options)


_FLOW = Process("flow", "flow")

PRESETS = (
    Preset(
        "motion/motion_diffusion_tiny",
        MotionDiffusion,
        _tiny(
            Condition(PRESENT, "vector", 3),
            parts=(0, 0, 1, 1, 2, 2),
            hidden_frames=0.1,
            hidden_parts=0.1,
            known=0.3,
        ),
        "MDM, arXiv 2209.14916",
    ),
    Preset(
        "motion/motion_diffusion_flow_tiny",
        MotionDiffusion,
        _tiny(
            Condition("source", "track", 6),
            Condition("clip", "vector", 8),
            process=Process(times="logit-normal", spread=0.7),
        ),
        "MotionLab, arXiv 2502.02358",
    ),
    Preset(
        "motion/motion_diffusion_ssm_tiny",
        MotionDiffusion,
        _tiny(mixers=("ssm",), hidden_frames=0.1, crowded=True),
        "Motion Mamba, arXiv 2403.07487",
    ),
    Preset(
        "motion/motion_diffusion_mdm.humanml3d",
        MotionDiffusion,
        _full(263, 512, 8, 4),
        "MDM, arXiv 2209.14916",
        "motion/motion_diffusion_tiny",
        published={"FID, HumanML3D test": 0.544, "R-precision top 3, HumanML3D test": 0.611},
    ),
    Preset(
        "motion/motion_diffusion_mmdm.humanml3d",
        MotionDiffusion,
        _full(263, 512, 8, 4, parts=humanml_parts(), hidden_frames=0.1, hidden_parts=0.1),
        "MMDM, arXiv 2409.19686",
        "motion/motion_diffusion_tiny",
        serves=("mmdm",),
    ),
    Preset(
        "motion/motion_diffusion_lmm.humanml3d",
        MotionDiffusion,
        _full(
            263,
            1024,
            8,
            16,
            Condition(PRESENT, "vector", 5),
            Condition("rate", "vector", 1),
            parts=humanml_parts(),
            hidden_frames=0.2,
            hidden_parts=0.2,
        ),
        "LMM, arXiv 2404.01284",
        "motion/motion_diffusion_tiny",
        serves=("lmm",),
    ),
    Preset(
        "motion/motion_diffusion_motionlab.humanml3d",
        MotionDiffusion,
        _full(263, 512, 8, 8, Condition("source", "track", 263), process=_FLOW, known=0.3),
        "MotionLab, arXiv 2502.02358",
        "motion/motion_diffusion_flow_tiny",
        serves=("motionlab",),
    ),
    Preset(
        "motion/motion_diffusion_motionduet.humanml3d",
        MotionDiffusion,
        _full(263, 512, 8, 8, Condition("clip", "vector", 768)),
        "MotionDuet, arXiv 2511.18209",
        "motion/motion_diffusion_flow_tiny",
        serves=("motionduet",),
    ),
    Preset(
        "motion/motion_diffusion_mamba.humanml3d",
        MotionDiffusion,
        _full(263, 512, 11, 8, mixers=("ssm",)),
        "Motion Mamba, arXiv 2403.07487",
        "motion/motion_diffusion_ssm_tiny",
        published={"FID, HumanML3D test": 0.281},
        serves=("motion-mamba",),
    ),
    Preset(
        "motion/motion_diffusion_kmm.babel",
        MotionDiffusion,
        _full(135, 512, 11, 8, mixers=("ssm",), hidden_frames=0.3, crowded=True),
        "KMM, arXiv 2411.06481",
        "motion/motion_diffusion_ssm_tiny",
    ),
)
