"""Refuses input that a network would swallow and answer with nonsense, and says the mend."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from zoo.errors import InputError
from zoo.spec import TokenizerSpec

__all__ = ["check_input"]

RANGE_SLACK = 0.01
"""Resampling filters overshoot by less than this."""


def check_input(x: Tensor, spec: TokenizerSpec, fps: float | None = None) -> None:
    """Raise InputError unless `x` is what `spec` takes."""
    _check_shape(x, spec)
    if fps is not None and spec.fps is not None and not math.isclose(fps, spec.fps, rel_tol=1e-3):
        raise InputError(
            f"{spec.name} was trained at {spec.fps:g} frames a second, this clip has {fps:g}",
            hint=f"resample the clip to {spec.fps:g} frames a second",
        )
    _check_values(x, spec)


def _check_shape(x: Tensor, spec: TokenizerSpec) -> None:
    shape = tuple(x.shape)
    if x.dim() != len(spec.layout):
        raise InputError(
            f"{spec.name} takes {spec.layout}, this input has {x.dim()} axes: {shape}",
            hint=_axes_hint(spec.layout, x.dim()),
        )
    if min(shape) == 0:
        raise InputError(f"this input is empty: {shape}", allowed="1 frame or more")
    extents = dict(zip(spec.layout, shape, strict=True))
    if extents.get("C", extents.get("D")) != spec.channels or extents.get("J", 0) != spec.joints:
        wanted = f"{spec.joints} joints x {spec.channels}" if spec.joints else f"{spec.channels}"
        raise InputError(
            f"{spec.name} takes {wanted} values a frame as {spec.layout}, this input is {shape}",
            hint="permute the axes or convert the features",
        )
    if spec.size and (extents["H"], extents["W"]) != spec.size:
        raise InputError(
            f"{spec.name} takes frames of {spec.size[0]}x{spec.size[1]}, "
            f"these are {extents['H']}x{extents['W']}",
            hint="resize or crop the clip first",
        )


def _check_values(x: Tensor, spec: TokenizerSpec) -> None:
    if not x.is_floating_point():
        raise InputError(
            f"{spec.name} takes floats, this input is {str(x.dtype).removeprefix('torch.')}",
            hint="for pixels of 0..255: x.float() / 127.5 - 1",
        )
    low, high = (float(value) for value in torch.aminmax(x))
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InputError("this input holds NaN or infinite values", hint="repair or drop the clip")
    if spec.value_range is None:
        return
    floor, ceiling = spec.value_range
    if low < floor - RANGE_SLACK or high > ceiling + RANGE_SLACK:
        raise InputError(
            f"values run from {low:.4g} to {high:.4g}",
            allowed=f"{floor:g} to {ceiling:g}",
            hint="for pixels of 0..255: x / 127.5 - 1; for pixels of 0..1: x * 2 - 1",
        )


def _axes_hint(layout: str, axes: int) -> str | None:
    if layout == "BCTHW" and axes == 4:
        return "an image is a clip of one frame: x.unsqueeze(2); a clip is a batch of one: x[None]"
    if axes == len(layout) - 1:
        return "one clip is a batch of one: x[None]"
    return None
