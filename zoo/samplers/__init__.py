"""Samplers: plug-ins over any generator that denoises, and a few over any generator at all.

A sampler is a generator around a generator, so seeds, known parts and guidance work as ever, and
samplers go around each other:

    long = CoDenoised(model, frames=64)
    Steered(long, outside_the_wall).sample(1, conditions, seed=3)

`SAMPLERS` tells for each published system which sampler makes it work.
"""

from __future__ import annotations

from dataclasses import dataclass

from zoo.samplers.extend import extend, segments, smooth
from zoo.samplers.queue import queue
from zoo.samplers.reduce import reduced
from zoo.samplers.steer import (
    Composed,
    Intervalled,
    LeaningOnMotion,
    Steered,
    like_motion_of,
    motion_signature,
    programmed,
)
from zoo.samplers.timeline import Row, Timeline
from zoo.samplers.windows import Blended, CoDenoised, Parallel, Rescheduled

__all__ = [
    "SAMPLERS",
    "Blended",
    "CoDenoised",
    "Composed",
    "Intervalled",
    "LeaningOnMotion",
    "Parallel",
    "Rescheduled",
    "Row",
    "Sampler",
    "Steered",
    "Timeline",
    "extend",
    "like_motion_of",
    "motion_signature",
    "programmed",
    "queue",
    "reduced",
    "segments",
    "smooth",
]


@dataclass(frozen=True)
class Sampler:
    """A sampler by its name in this package, the papers behind it, and the systems it serves."""

    name: str
    papers: str
    serves: tuple[str, ...] = ()


SAMPLERS = (
    Sampler("CoDenoised", "Gen-L-Video, arXiv 2305.18264", ("gen-l-video",)),
    Sampler("Rescheduled", "FreeNoise, arXiv 2310.15169"),
    Sampler("Blended", "FreeLong, arXiv 2407.19918", ("freelong",)),
    Sampler("Parallel", "Video-Infinity, arXiv 2406.16260", ("video-infinity",)),
    Sampler("segments", "MTVG, arXiv 2312.04086", ("mtvg",)),
    Sampler("smooth", "ZeroSmooth, arXiv 2406.00908", ("zerosmooth",)),
    Sampler("queue", "Ouroboros-Diffusion, arXiv 2501.09019", ("ouroboros-diffusion",)),
    Sampler("reduced", "AsymRnR, arXiv 2412.11706", ("asymrnr",)),
    Sampler("Composed", "Video Adapter, arXiv 2306.01872", ("video-adapter",)),
    Sampler("Intervalled", "guidance in an interval, arXiv 2404.07724"),
    Sampler("LeaningOnMotion", "VideoJAM, arXiv 2502.02492", ("videojam",)),
    Sampler(
        "like_motion_of",
        "Motion Consistency Loss, arXiv 2501.07563",
        ("motion-consistency-loss",),
    ),
    Sampler(
        "Steered",
        "InterControl, arXiv 2311.15864; DIP, arXiv 2411.09136",
        ("intercontrol", "dip"),
    ),
    Sampler("programmed", "ProgMoGen, arXiv 2405.19283", ("progmogen",)),
    Sampler("Timeline", "STMC, arXiv 2401.08559", ("stmc",)),
)
