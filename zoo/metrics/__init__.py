"""Metrics that state their protocol, add up over a data set and merge across processes.

    psnr, use = PSNR(), CodebookUse(spec.streams[0].levels)
    for clips in loader:
        tokens = tokenizer.encode(clips)
        psnr.update(clips, tokenizer.decode(tokens))
        use.update(tokens.ids)
    report = Report("reconstruction", "org/clips", split="test")
    report.add(psnr.compute(), *use.measurements())
    print(report.to_markdown())

`METRICS` lists every metric by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from zoo.metrics.base import Measurement, Metric, MetricInfo, combine_runs
from zoo.metrics.codebook import CodebookUse, split_codes
from zoo.metrics.dimensions import (
    DynamicDegree,
    FlickerScore,
    MotionSmoothness,
    SubjectConstancy,
)
from zoo.metrics.distribution import Diversity, MatchingScore, Multimodality, RPrecision
from zoo.metrics.features import FeatureNet, FilterBank, clip_features
from zoo.metrics.frechet import FeatureProtocol, FeatureStats, FrechetDistance
from zoo.metrics.kid import KernelDistance
from zoo.metrics.likelihood import Likelihood
from zoo.metrics.lpips import load_lpips
from zoo.metrics.motion import (
    MPJPE,
    AccelerationError,
    ContactRule,
    FootSkate,
    VelocityError,
    procrustes_align,
)
from zoo.metrics.perceptual import PerceptualDistance, perceptual_distance
from zoo.metrics.physics import BodyPhysics
from zoo.metrics.pixels import MSSSIM, PSNR, SSIM, ms_ssim, psnr, ssim
from zoo.metrics.rate import Rate, bd_rate, tokenizer_rate
from zoo.metrics.report import Report
from zoo.metrics.take_features import TAKE_STATISTICS, take_features
from zoo.metrics.temporal import Flicker, SeamDip, TemporalSimilarity

__all__ = [
    "METRICS",
    "MPJPE",
    "MSSSIM",
    "PSNR",
    "SSIM",
    "TAKE_STATISTICS",
    "AccelerationError",
    "BodyPhysics",
    "CodebookUse",
    "ContactRule",
    "Diversity",
    "DynamicDegree",
    "FeatureNet",
    "FeatureProtocol",
    "FeatureStats",
    "FilterBank",
    "Flicker",
    "FlickerScore",
    "FootSkate",
    "FrechetDistance",
    "KernelDistance",
    "Likelihood",
    "MatchingScore",
    "Measurement",
    "Metric",
    "MetricInfo",
    "MotionSmoothness",
    "Multimodality",
    "PerceptualDistance",
    "RPrecision",
    "Rate",
    "Report",
    "SeamDip",
    "SubjectConstancy",
    "TemporalSimilarity",
    "VelocityError",
    "bd_rate",
    "clip_features",
    "combine_runs",
    "load_lpips",
    "ms_ssim",
    "perceptual_distance",
    "procrustes_align",
    "psnr",
    "split_codes",
    "ssim",
    "take_features",
    "tokenizer_rate",
]

METRICS: Mapping[str, type[Metric]] = MappingProxyType(
    {
        "psnr": PSNR,
        "ssim": SSIM,
        "ms_ssim": MSSSIM,
        "perceptual": PerceptualDistance,
        "frechet": FrechetDistance,
        "kernel": KernelDistance,
        "codebook": CodebookUse,
        "flicker": Flicker,
        "temporal_similarity": TemporalSimilarity,
        "seam_dip": SeamDip,
        "mpjpe": MPJPE,
        "velocity": VelocityError,
        "acceleration": AccelerationError,
        "foot_skate": FootSkate,
        "diversity": Diversity,
        "multimodality": Multimodality,
        "matching": MatchingScore,
        "r_precision": RPrecision,
        "likelihood": Likelihood,
        "physics": BodyPhysics,
        "temporal_flickering": FlickerScore,
        "motion_smoothness": MotionSmoothness,
        "dynamic_degree": DynamicDegree,
        "subject_constancy": SubjectConstancy,
    }
)
