"""Another frame rate for a motion.

`resample` keeps time: frame n of the result is the motion at n / fps seconds. Rotations are
interpolated on the sphere, positions by cubic curves; going down, frequencies that the new rate
cannot hold are filtered out first, because they would come back as motion that never was.

`legacy_stride` is what published data sets did instead: every n-th frame with n rounded down,
the result then taken for the target rate (59 and 150 frames per second do not land on 20). Use it
only to rebuild such data.
"""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from catalogs.errors import UsageError
from curation.mocap import rotations as rot
from curation.mocap.skeleton import Motion

__all__ = ["legacy_stride", "resample"]

Array = npt.NDArray[np.floating]
_PASS_SHARE = 0.45
"""The filter's half-power point, as a share of the new rate."""
_LOBES = 4


def resample(motion: Motion, fps: Fraction) -> Motion:
    """The motion at `fps`, from the first frame to the last instant that it covers."""
    if fps <= 0:
        raise UsageError(f"{fps} frames per second", allowed="above 0")
    if fps == motion.fps:
        return motion
    ratio = motion.fps / fps
    count = math.floor((len(motion) - 1) / ratio) + 1
    at = np.array([float(n * ratio) for n in range(count)])
    down = float(ratio) if ratio > 1 else None

    def positions(values: Array | None) -> Array | None:
        return None if values is None else _cubic(_low_pass(values, down), at)

    turns = motion.rotations
    if turns is not None:
        smooth = rot.normalised(_low_pass(rot.continuous(turns), down))
        before = np.minimum(at.astype(np.intp), max(len(turns) - 2, 0))
        after = np.minimum(before + 1, len(turns) - 1)
        turns = rot.slerp(smooth[before], smooth[after], (at - before)[:, None])
    return replace(
        motion,
        fps=fps,
        root_positions=positions(motion.root_positions),
        rotations=turns,
        local_positions=positions(motion.local_positions),
        measured=positions(motion.measured),
    )


def legacy_stride(motion: Motion, fps: Fraction) -> Motion:
    """Every int(rate / fps)-th frame, labelled `fps` although its true rate may differ."""
    step = int(motion.fps / fps)
    if step < 1:
        raise UsageError(
            f"a stride cannot raise {motion.fps} to {fps} frames per second", hint="use resample"
        )
    return replace(motion.at(np.arange(0, len(motion), step)), fps=fps)


def _low_pass(values: Array, ratio: float | None) -> Array:
    """Windowed-sinc smoothing along axis 0; edges are mirrored through their end points."""
    if ratio is None or len(values) < 3:
        return values
    cutoff = _PASS_SHARE / ratio
    radius = min(math.ceil(_LOBES / (2 * cutoff)), len(values) - 1)
    offsets = np.arange(-radius, radius + 1)
    weights = np.sinc(2 * cutoff * offsets) * np.kaiser(2 * radius + 1, 5.0)
    flat = values.reshape(len(values), -1)
    seen = np.isfinite(flat)
    filled = np.where(seen, flat, 0.0)
    first, last = filled[:1], filled[-1:]
    head = 2 * first - filled[radius:0:-1]
    tail = 2 * last - filled[-2 : -radius - 2 : -1]
    padded = np.concatenate([head, filled, tail])
    known = np.concatenate([seen[radius:0:-1], seen, seen[-2 : -radius - 2 : -1]]).astype(float)
    total = np.zeros_like(filled)
    weight = np.zeros_like(filled)
    for shift, factor in enumerate(weights):
        part = slice(shift, shift + len(flat))
        total += factor * padded[part] * known[part]
        weight += factor * known[part]
    # a gap stays a gap, and what was not seen has no weight beside it
    usable = seen & (weight > 0.5 * weights.sum())
    smooth = np.where(usable, total / np.where(usable, weight, 1.0), flat)
    return smooth.reshape(values.shape)


def _cubic(values: Array, at: Array) -> Array:
    """Catmull-Rom interpolation along axis 0; linear where a neighbour is missing."""
    last = len(values) - 1
    before = np.minimum(at.astype(np.intp), max(last - 1, 0))
    t = (at - before).reshape(-1, *(1 for _ in values.shape[1:]))
    p1, p2 = values[before], values[np.minimum(before + 1, last)]
    p0 = np.where(before.reshape(t.shape) > 0, values[np.maximum(before - 1, 0)], 2 * p1 - p2)
    beyond = before.reshape(t.shape) + 2 > last
    p3 = np.where(beyond, 2 * p2 - p1, values[np.minimum(before + 2, last)])
    slope1, slope2 = (p2 - p0) / 2, (p3 - p1) / 2
    curve = (
        (2 * t**3 - 3 * t**2 + 1) * p1
        + (t**3 - 2 * t**2 + t) * slope1
        + (3 * t**2 - 2 * t**3) * p2
        + (t**3 - t**2) * slope2
    )
    straight = np.where(t == 0, p1, p1 * (1 - t) + p2 * t)
    return np.where(np.isfinite(curve), curve, straight)
