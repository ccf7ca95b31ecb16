"""Latent video from noise in one piece: a diffusion transformer over a whole grid of latents.

Pictures are clips of one frame and are learned beside clips. A part of the grid may be known, in
training and in sampling, so the first frame, both ends or a region can be given. Papers differ in
how layers mix places (all with all, frames and times in turn, windows), in the process (straight
paths, v of a cosine schedule), and in how layers are joined; each is an option.

`motion` channels at the end of the latents hold a description of movement, such as optical flow,
which is made together with the looks. Sampling can then lean on it (`zoo.samplers.lean_on_motion`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from zoo.denoiser import Denoiser, counted
from zoo.errors import UsageError
from zoo.generator import Batch, Condition, Conditions, Space
from zoo.layers.backbone import Backbone, BackboneConfig
from zoo.layers.diffusion import Process
from zoo.layers.dit import Dit
from zoo.layers.skips import GatheredBackbone, SkippedBackbone
from zoo.registry import Preset

Joins = Literal["plain", "skips", "gathered"]

_BACKBONES: dict[Joins, type[Backbone]] = {
    "plain": Backbone,
    "skips": SkippedBackbone,
    "gathered": GatheredBackbone,
}


@dataclass(frozen=True)
class Config:
    """`known` is the share of examples of which a part is known in training; `packed` lays clips
    and pictures end to end in one sequence; `motion` counts the channels that describe movement."""

    space: Space
    conditions: tuple[Condition, ...] = ()
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    process: Process = field(default_factory=Process)
    patch: tuple[int, ...] = ()
    known: float = 0.0
    joins: Joins = "plain"
    packed: bool = False
    motion: int = 0
    drop: float = 0.1


class LatentDit(Denoiser):
    """A transformer that names what leads from a noisy grid to a clean one."""

    config_class = Config
    lesson_steps = 160

    def __init__(self, config: Config):
        super().__init__(config)
        if config.space.discrete:
            raise UsageError("this generator makes values", allowed="a space with channels")
        if config.packed and config.backbone.reads != "prefix":
            raise UsageError("packed sequences carry their texts", allowed='reads="prefix"')
        if config.known and config.backbone.reads == "prefix" and not config.packed:
            raise UsageError("a prefix has no time of its own", allowed='reads="cross" with known')
        self.network = Dit(
            config.space,
            config.conditions,
            config.backbone,
            config.patch,
            backbone=_BACKBONES[config.joins],
        )

    def predict(
        self, x: Tensor, time: Tensor, conditions: Conditions, lengths: Tensor | None = None
    ) -> Tensor:
        x = self.process.scaled(x, time)
        if self.config.packed:
            whole = torch.full((len(x),), x.shape[1]) if lengths is None else lengths
            return self.network.packed(x, time, conditions, whole)
        return self.network(x, time, conditions, lengths=lengths)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Where movement is made too, a share of the examples neither sees nor learns it."""
        if not self.config.motion:
            return super().losses(batch)
        time = self.draw_times(batch)
        noise = torch.randn_like(batch.x)
        shown = torch.rand(len(batch), *(1,) * (batch.x.dim() - 1)).to(batch.x) >= self.config.drop
        mixture = self.without_motion(self.process.mix(batch.x, noise, time), shown)
        named = self.predict(mixture, time, batch.conditions, batch.lengths)
        error = (named - self.process.wanted(batch.x, noise, time)).square()
        looks, motion = error.split([error.shape[-1] - self.config.motion, self.config.motion], -1)
        return {
            "denoise": counted(looks, batch, time),
            "motion": counted(motion * shown, batch, time),
        }

    def without_motion(self, x: Tensor, shown: Tensor | None = None) -> Tensor:
        """Mixtures whose movement is zeros, or only where it is not `shown`."""
        looks, motion = x.split([x.shape[-1] - self.config.motion, self.config.motion], -1)
        motion = torch.zeros_like(motion) if shown is None else motion * shown
        return torch.cat([looks, motion], dim=-1)


_ASKED = (Condition("label", "class", 4), Condition("text", "words"))


def _tiny(grid: tuple[int, ...] = (4, 2, 2), **options: Any) -> Config:
    space = Space("video", grid, channels=options.pop("channels", 4))
    return Config(space, _ASKED, **{"backbone": _small(), "process": _process(), **options})


def _process(**options: Any) -> Process:
    """Of data whose deviation is that of the tests' waves."""
    return Process(**{"times": "logit-normal", "spread": 0.7, **options})


def _small(**options: Any) -> BackboneConfig:
    return BackboneConfig(dim=48, depth=2, heads=2, reader_depth=0, **options)


def _full(
    grid: tuple[int, ...],
    channels: int,
    dim: int,
    depth: int,
    heads: int,
    text: int = 4096,
    *,
    mixers: tuple[str, ...] = ("full",),
    window: int = 0,
    reads: Literal["cross", "prefix"] = "cross",
    **options: Any,
) -> Config:
    return Config(
        Space("video", grid, channels=channels),
        (Condition("text", "embeddings", text),),
        BackboneConfig(dim, depth, heads, mixers=mixers, reads=reads, window=window),
        patch=(1, 2, 2),
        **options,
    )


_LOGIT_NORMAL = Process("flow", "flow", times="logit-normal")
_V = Process("cosine", "v")
_NOISE = Process("linear", "noise")

PRESETS = (
    Preset(
        "video/latent_dit_tiny",
        LatentDit,
        _tiny(known=0.2, patch=(1, 1, 2)),
        "Movie Gen, arXiv 2410.13720",
    ),
    Preset(
        "video/latent_dit_factored_tiny",
        LatentDit,
        _tiny(
            backbone=_small(mixers=("space", "time")), process=_process(path="cosine", target="v")
        ),
        "Latte, arXiv 2401.03048",
    ),
    Preset(
        "video/latent_dit_packed_tiny",
        LatentDit,
        _tiny(
            (3, 2, 2),
            backbone=_small(reads="prefix"),
            packed=True,
        ),
        "Goku, arXiv 2502.04896",
    ),
    Preset(
        "video/latent_dit_skips_tiny",
        LatentDit,
        _tiny((20, 1, 1), joins="skips"),
        "Vidu, arXiv 2405.04233",
    ),
    Preset(
        "video/latent_dit_windows_tiny",
        LatentDit,
        _tiny(
            backbone=_small(mixers=("space", "window"), window=1),
            process=_process(path="cosine", target="v"),
        ),
        "W.A.L.T, arXiv 2312.06662",
    ),
    Preset(
        "video/latent_dit_hybrid_tiny",
        LatentDit,
        _tiny((3, 2, 2), backbone=_small(mixers=("ssm", "full"))),
        "HTH, arXiv 2502.00972",
    ),
    Preset(
        "video/latent_dit_linear_tiny",
        LatentDit,
        _tiny((6, 2, 1), backbone=_small(mixers=("linear", "ssm"))),
        "LinGen, arXiv 2412.09856",
    ),
    Preset(
        "video/latent_dit_gathered_tiny",
        LatentDit,
        _tiny((3, 2, 2), joins="gathered"),
        "RepVideo, arXiv 2501.08994",
    ),
    Preset(
        "video/latent_dit_motion_tiny",
        LatentDit,
        _tiny((3, 2, 2), channels=6, motion=2),
        "VideoJAM, arXiv 2502.02492",
    ),
    Preset(
        "video/latent_dit_moviegen.30b",
        LatentDit,
        _full((32, 96, 96), 16, 6144, 48, 48, process=_LOGIT_NORMAL),
        "Movie Gen, arXiv 2410.13720",
        "video/latent_dit_tiny",
        serves=("movie-gen",),
    ),
    Preset(
        "video/latent_dit_wan.1b",
        LatentDit,
        _full((21, 60, 104), 16, 1536, 30, 12, process=Process("flow", "flow", shift=5.0)),
        "Wan, arXiv 2503.20314",
        "video/latent_dit_tiny",
    ),
    Preset(
        "video/latent_dit_wan.14b",
        LatentDit,
        _full((21, 90, 160), 16, 5120, 40, 40, process=Process("flow", "flow", shift=5.0)),
        "Wan, arXiv 2503.20314",
        "video/latent_dit_tiny",
    ),
    Preset(
        "video/latent_dit_latte.xl",
        LatentDit,
        _full((16, 32, 32), 4, 1152, 28, 16, mixers=("space", "time")),
        "Latte, arXiv 2401.03048",
        "video/latent_dit_factored_tiny",
    ),
    Preset(
        "video/latent_dit_goku.2b",
        LatentDit,
        _full(
            (37, 36, 64), 16, 1792, 28, 28, 2048, reads="prefix", packed=True, process=_LOGIT_NORMAL
        ),
        "Goku, arXiv 2502.04896",
        "video/latent_dit_packed_tiny",
        serves=("goku",),
    ),
    Preset(
        "video/latent_dit_vidu.l",
        LatentDit,
        _full(
            (64, 32, 32), 4, 1024, 21, 16, 768, joins="skips", process=Process("linear", "noise")
        ),
        "Vidu, arXiv 2405.04233",
        "video/latent_dit_skips_tiny",
        serves=("vidu",),
    ),
    Preset(
        "video/latent_dit_repvideo.2b",
        LatentDit,
        _full((13, 60, 90), 16, 1920, 30, 30, joins="gathered", process=_V),
        "RepVideo, arXiv 2501.08994",
        "video/latent_dit_gathered_tiny",
        serves=("repvideo",),
    ),
    Preset(
        "video/latent_dit_videojam.4b",
        LatentDit,
        _full((32, 32, 32), 32, 3072, 32, 24, motion=16, process=_LOGIT_NORMAL),
        "VideoJAM, arXiv 2502.02492",
        "video/latent_dit_motion_tiny",
        serves=("videojam",),
    ),
    Preset(
        "video/latent_dit_walt.l",
        LatentDit,
        _full((5, 16, 16), 8, 1024, 24, 16, 4096, mixers=("space", "window"), window=8, process=_V),
        "W.A.L.T, arXiv 2312.06662",
        "video/latent_dit_windows_tiny",
        serves=("walt",),
    ),
    Preset(
        "video/latent_dit_hth.2b",
        LatentDit,
        _full((13, 44, 80), 16, 2048, 32, 32, mixers=(*("ssm",) * 7, "full")),
        "HTH, arXiv 2502.00972",
        "video/latent_dit_hybrid_tiny",
        serves=("hth",),
    ),
    Preset(
        "video/latent_dit_lingen.4b",
        LatentDit,
        _full((272, 32, 56), 16, 3072, 32, 24, mixers=("ssm", "linear")),
        "LinGen, arXiv 2412.09856",
        "video/latent_dit_linear_tiny",
        serves=("lingen",),
    ),
)
