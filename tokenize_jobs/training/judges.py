"""How media of one side, real or made, are seen: as vectors in spaces, and by themselves.

A judge turns media into vectors that distances compare, and holds the metrics that need no other
side. Bodies are seen as statistics of their joints and, with an evaluator, in the space that it
learned together with texts; clips by a feature net.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from catalogs.errors import UsageError
from curation.mocap.layouts import HUMANML22
from tokenize_jobs.takes import features_named
from tokenize_jobs.training.media import Media
from zoo.evaluators.text_motion import TextMotion, load_evaluator
from zoo.metrics import (
    TAKE_STATISTICS,
    BodyPhysics,
    DynamicDegree,
    FeatureNet,
    FeatureProtocol,
    FilterBank,
    FlickerScore,
    FootSkate,
    MotionSmoothness,
    SubjectConstancy,
    clip_features,
    load_lpips,
    take_features,
)

__all__ = ["EVALUATOR", "BodyJudge", "ClipJudge", "Judge", "judge_of"]

EVALUATOR = "evaluator"
"""The space that texts share."""

EVALUATED = "humanml263"
BYTES: tuple[float, float] = (0, 255)


class Judge(ABC):
    """Sees media of one kind."""

    spaces: Mapping[str, FeatureProtocol]
    evaluator: TextMotion | None = None

    @abstractmethod
    def vectors(self, media: Sequence[Media]) -> dict[str, Tensor]:
        """(N, D) in each space."""

    @abstractmethod
    def metrics(self) -> tuple[Any, ...]:
        """New metrics of media by themselves."""

    @abstractmethod
    def update(self, metrics: Sequence[Any], media: Sequence[Media]) -> None:
        """Show media to metrics that this judge made."""


class BodyJudge(Judge):
    """Bodies, by statistics of their joints and by an evaluator where one is given."""

    def __init__(self, fps: float, split: str = "", evaluator: TextMotion | None = None):
        self.fps, self.evaluator = fps, evaluator
        self.spaces = {
            "statistics": FeatureProtocol(TAKE_STATISTICS, frames=-1, split=split, fps=fps)
        }
        if evaluator is not None:
            self.spaces[EVALUATOR] = FeatureProtocol(
                f"{EVALUATED} of {evaluator.identity}", frames=-1, split=split, fps=fps
            )

    def vectors(self, media: Sequence[Media]) -> dict[str, Tensor]:
        takes = [torch.from_numpy(item.values) for item in media]
        made = {"statistics": torch.cat([take_features(take[None], self.fps) for take in takes])}
        if self.evaluator is not None:
            features = features_named(EVALUATED)
            motions = [torch.from_numpy(features.make(item.values)).float() for item in media]
            made[EVALUATOR] = self.evaluator.motions(motions)
        return made

    def metrics(self) -> tuple[Any, ...]:
        feet = [joint for foot in HUMANML22.feet for joint in foot]
        return FootSkate(feet, self.fps), BodyPhysics(self.fps)

    def update(self, metrics: Sequence[Any], media: Sequence[Media]) -> None:
        for item in media:
            for metric in metrics:
                metric.update(torch.from_numpy(item.values)[None])


class ClipJudge(Judge):
    """Clips, by a feature net."""

    def __init__(self, net: FeatureNet, fps: float, split: str = ""):
        self.net = net
        protocol = FeatureProtocol(net.name, net.sha256, frames=-1, split=split, fps=fps)
        self.spaces = {"frames": protocol}

    def vectors(self, media: Sequence[Media]) -> dict[str, Tensor]:
        made = [clip_features(self.net, _clip(item), value_range=BYTES) for item in media]
        return {"frames": torch.cat(made)}

    def metrics(self) -> tuple[Any, ...]:
        return (
            FlickerScore(BYTES),
            MotionSmoothness(BYTES),
            DynamicDegree(BYTES),
            SubjectConstancy(self.net, BYTES),
        )

    def update(self, metrics: Sequence[Any], media: Sequence[Media]) -> None:
        for item in media:
            for metric in metrics:
                metric.update(_clip(item))


def judge_of(media: Media, *, split: str = "", features: str = "", evaluator: str = "") -> Judge:
    """The judge of media like this one; `features` is `lpips:FILE`, `evaluator` a folder."""
    if media.is_body:
        if features:
            raise UsageError(
                f"no features are called {features!r} for bodies", hint="use --evaluator FOLDER"
            )
        return BodyJudge(float(media.fps), split, load_evaluator(evaluator) if evaluator else None)
    if evaluator:
        raise UsageError("the evaluator reads bodies, the model makes clips")
    kind, _, path = features.partition(":")
    if kind not in ("", "filters", "lpips"):
        raise UsageError(
            f"no features are called {features!r}", allowed="filters, lpips:FILE.safetensors"
        )
    net = load_lpips(Path(path)) if kind == "lpips" else FilterBank()
    return ClipJudge(net, float(media.fps), split)


def _clip(item: Media) -> Tensor:
    """(1, 3, T, H, W) in 0..255."""
    return torch.from_numpy(item.values).permute(3, 0, 1, 2)[None].float()
