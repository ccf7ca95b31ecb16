"""Encodes and decodes the same windows with every model, and measures what came back.

One table: quality against bits and speed. Speeds are of this machine, weights and media in memory,
one clip at a time. Ordinary codecs are asked for the very bits that each tokenizer spent.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from catalogs.catalog import Catalog
from catalogs.errors import UsageError
from tokenize_jobs.bakeoff.codec import at_most_bits, available
from tokenize_jobs.bakeoff.media import motion_windows, picture_windows
from tokenize_jobs.takes import FEATURES, MotionFeatures, features_for
from tokenize_jobs.transform import Transform

if TYPE_CHECKING:
    from torch import Tensor

    from zoo.metrics import Measurement, Metric
    from zoo.tokenizer import Tokenizer

__all__ = ["Bakeoff", "Contender", "bakeoff"]

Windows = Sequence[tuple[Fraction, NDArray[Any]]]


@dataclass(frozen=True)
class Contender:
    """One model's row. `pictures` are its frames of the first clips, for looking at."""

    name: str
    bits_per_s: float
    tokens_per_s: float
    encode_fps: float
    decode_fps: float
    quality: tuple[Measurement, ...]
    codecs: Mapping[str, float] = field(default_factory=dict)
    """PSNR in dB of ordinary codecs in the same bits; NaN where they need more."""
    pictures: Sequence[NDArray[np.uint8]] = ()

    def value(self, metric: str) -> float:
        return next((m.value for m in self.quality if m.info.name == metric), float("nan"))


@dataclass(frozen=True)
class Bakeoff:
    """The whole comparison."""

    modality: str
    clips: int
    frames: int
    size: tuple[int, int] | None
    contenders: tuple[Contender, ...]
    originals: Sequence[NDArray[np.uint8]] = ()

    @property
    def headline(self) -> str:
        """The measure that stands in the picture."""
        return "psnr" if self.modality == "video" else "mpjpe"

    def to_json(self) -> dict[str, Any]:
        return {
            "modality": self.modality,
            "clips": self.clips,
            "frames": self.frames,
            "size": self.size,
            "models": [
                {
                    "name": row.name,
                    "bits_per_s": row.bits_per_s,
                    "tokens_per_s": row.tokens_per_s,
                    "encode_fps": row.encode_fps,
                    "decode_fps": row.decode_fps,
                    **{m.info.name: m.value for m in row.quality},
                    **{f"{name}_psnr_db": value for name, value in row.codecs.items()},
                    "protocols": {m.info.name: m.info.protocol for m in row.quality},
                }
                for row in self.contenders
            ],
        }


def bakeoff(
    catalog: Catalog,
    models: Sequence[Tokenizer],
    *,
    selection: str | None = None,
    where: str | None = None,
    clips: int = 16,
    frames: int = 17,
    size: tuple[int, int] = (128, 128),
    fps: Fraction | None = None,
) -> Bakeoff:
    """Compare models of one modality on the chosen clips of a catalog."""
    if not models:
        raise UsageError("no models to compare", allowed="one or more")
    pictures = {model.spec.layout == "BCTHW" for model in models}
    if len(pictures) > 1:
        raise UsageError(
            "models of video and of motion cannot be compared",
            allowed=", ".join(f"{m.spec.name} ({m.spec.modality})" for m in models),
        )
    if pictures == {True}:
        transform = Transform(fps=fps, size=size, window=frames, tail="drop")
        shown = picture_windows(catalog, transform, clips=clips, selection=selection, where=where)
        rows = tuple(_video(model, shown) for model in models)
        originals = [window for _, window in shown[:SHOWN]]
        return Bakeoff("video", len(shown), frames, size, rows, originals)
    features = {features_for(m.spec.channels, m.spec.joints, m.spec.name) for m in models}
    if len(features) > 1:
        raise UsageError(
            "models of different features cannot be compared",
            allowed=", ".join(sorted(item.name for item in features)),
        )
    transform = Transform(fps=fps, window=frames, tail="drop", features=features.pop().name)
    taken = motion_windows(catalog, transform, clips=clips, selection=selection, where=where)
    rows = tuple(_motion(model, taken, FEATURES[transform.features]) for model in models)
    return Bakeoff("motion", len(taken), frames, None, rows)


SHOWN = 4
"""Clips whose pictures are kept."""


def _video(model: Tokenizer, windows: Windows) -> Contender:
    import torch

    from zoo.metrics import PSNR, SSIM, Flicker, PerceptualDistance

    metrics: list[Any] = [PSNR(), SSIM(), PerceptualDistance(), Flicker()]
    codecs: dict[str, list[float]] = {codec.name: [] for codec in available()}
    run = _Run(model)
    pictures = []
    for fps, frames in windows:
        x = _pixels(frames)
        back, bits = run.through(x, fps)
        for metric in metrics:
            metric.update(x, back)
        eight_bit = ((back[0].permute(1, 2, 3, 0) + 1) * 127.5).round().to(torch.uint8)
        pictures.append(eight_bit.cpu().numpy())
        for codec in available():
            made = at_most_bits(codec, frames, fps, bits)
            codecs[codec.name].append(float("nan") if made is None else _psnr(x, made.frames))
    means = {name: float(np.mean(values)) for name, values in codecs.items()}
    return run.row(metrics, codecs=means, pictures=pictures[:SHOWN])


def _motion(model: Tokenizer, windows: Windows, features: MotionFeatures) -> Contender:
    import torch

    from zoo.metrics import MPJPE, AccelerationError

    metrics: list[Any] = [MPJPE(), MPJPE("procrustes"), AccelerationError()]
    run = _Run(model)
    for fps, values in windows:
        back, _ = run.through(torch.from_numpy(values)[None], fps)
        pair = [features.joints(item.astype(np.float64)) for item in (values, back[0].numpy())]
        reference, made = (torch.from_numpy(np.ascontiguousarray(item))[None] for item in pair)
        for metric in metrics:
            metric.update(reference, made)
    return run.row(metrics)


class _Run:
    """Times and counts one model."""

    def __init__(self, model: Tokenizer):
        self._model = model
        self._encode_s = self._decode_s = self._media_s = self._bits = 0.0
        self._frames = self._tokens = 0
        self._use: dict[str, Any] = {}
        self._warm = False

    def through(self, x: Tensor, fps: Fraction) -> tuple[Tensor, float]:
        """What comes back, and the bits that it took."""
        from zoo.metrics import CodebookUse

        if not self._warm:
            self._model.decode(self._model.encode(x))
            self._warm = True
        began = time.perf_counter()
        tokens = self._model.encode(x)
        encoded = time.perf_counter()
        back = self._model.decode(tokens)
        self._decode_s += time.perf_counter() - encoded
        self._encode_s += encoded - began
        self._frames += tokens.size[0]
        self._tokens += tokens.count
        self._bits += tokens.bits
        self._media_s += float(tokens.size[0] / fps)
        for stream in tokens.spec.streams:
            if stream.discrete:
                use = self._use.setdefault(stream.name, CodebookUse(stream.levels))
                use.update(tokens[stream.name])
        return back.float().cpu(), tokens.bits

    def row(self, metrics: Sequence[Metric], **more: Any) -> Contender:
        quality = [m for metric in metrics for m in metric.measurements()]
        for use in self._use.values():
            quality += [m for m in use.measurements() if m.info.name == "codebook_usage"]
        return Contender(
            self._model.spec.name,
            self._bits / self._media_s,
            self._tokens / self._media_s,
            self._frames / self._encode_s,
            self._frames / self._decode_s,
            tuple(quality),
            **more,
        )


def _pixels(frames: NDArray[np.uint8]) -> Tensor:
    import torch

    return torch.from_numpy(frames).permute(3, 0, 1, 2)[None].float() / 127.5 - 1


def _psnr(x: Tensor, frames: NDArray[np.uint8]) -> float:
    from zoo.metrics import psnr

    return float(psnr(x, _pixels(frames))[0])
