"""Where a take is cut, from stored signals alone.

    >>> start, end = trim_rest(signals, fps)                  # T-pose and waiting at both ends
    >>> for segment in segments(signals, fps, start, end): ...
    >>> cycle(signals, fps, segment.start, segment.end).period_s
    1.07

Every function is pure: signals and rate in, frame spans out, so a new cut of a thousand takes
reads no take again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from catalogs.errors import UsageError
from curation.mocap.curves import runs, smoothed

__all__ = [
    "BoundaryOptions",
    "Cycle",
    "Segment",
    "cycle",
    "fixed_windows",
    "novelty",
    "segments",
    "trim_rest",
]

Array = npt.NDArray[np.floating]
Signals = Mapping[str, Array]

_SCALES = {
    "root_speed_m_s": 0.4,
    "root_height_m": 0.15,
    "joint_speed_m_s": 0.3,
    "hands_speed_m_s": 0.8,
    "turn_deg_s": 45.0,
    "feet_near": 2.0,
}
"""How much of each signal counts as much as the others when an activity changes."""
_CYCLE_SCALES = {
    "hands_speed_m_s": 0.1,
    "feet_speed_m_s": 0.1,
    "joint_speed_m_s": 0.05,
    "root_height_m": 0.01,
    "root_speed_m_s": 0.1,
    "contact_left": 0.2,
    "contact_right": 0.2,
}
"""How much a signal must vary to take part in finding a period: less is sway or noise."""


@dataclass(frozen=True)
class BoundaryOptions:
    """How eagerly a take is cut."""

    min_s: float = 1.0
    """No segment is shorter."""
    max_s: float | None = None
    """Longer segments are split into equal parts."""
    window_s: float = 1.2
    """Signals before and after a moment are compared over this time: longer than a stride."""
    threshold: float = 1.0
    """How different they must be, in units of `_SCALES`, for a cut."""
    rest_change_m_s: float = 0.08
    """A posture that changes more slowly is rest, unless the body travels or turns."""
    rest_limb_m_s: float = 0.3
    """A hand or foot that moves faster is not at rest."""
    rest_turn_deg_s: float = 12.0
    """A body that turns faster is not at rest."""
    min_rest_s: float = 0.6
    """Shorter stillness belongs to the activity around it."""


@dataclass(frozen=True)
class Segment:
    """Frames [start, end) of one activity."""

    start: int
    end: int
    kind: str
    """`rest` or `active`."""
    starts_with: str
    """take start, change or split."""
    ends_with: str
    """take end, change or split."""


@dataclass(frozen=True)
class Cycle:
    """A motion that repeats."""

    period_s: float
    strength: float
    """Autocorrelation at the period: 1 repeats exactly, below 0.5 hardly at all."""
    count: float
    """Periods in the span."""


def trim_rest(
    signals: Signals, fps: float, options: BoundaryOptions | None = None
) -> tuple[int, int]:
    """The frames [start, end) without T-pose and rest at both ends.

    A quarter of a second of rest stays, so that a motion begins where it begins. A take that
    only rests is kept whole.
    """
    chosen = options or BoundaryOptions()
    frames = len(signals["pose_change_m_s"])
    rest = _resting(signals, chosen)
    # a calibration pose that is cut to the action in one frame is not at rest there
    head = _leading_pose(signals)
    rest[:head] = True
    active = np.flatnonzero(~rest)
    if not len(active):
        return 0, frames
    margin = round(0.25 * fps)
    start = max(int(active[0]) - margin, head)
    posed = signals["rest_pose"][start : int(active[0])] > 0.5
    if posed.any():
        start += int(np.flatnonzero(posed)[-1]) + 1
    return start, min(int(active[-1]) + 1 + margin, frames)


def _leading_pose(signals: Signals) -> int:
    """Frames of T-pose before a jump into the action within the first tenth of a second."""
    posed = signals["rest_pose"] > 0.5
    if not posed[0]:
        return 0
    length = int(np.argmin(posed)) if not posed.all() else 0
    jumped = np.nanmax(signals["jump_m"][max(length - 1, 0) : length + 2], initial=0.0) > 0.02
    return length if jumped else 0


def _resting(signals: Signals, options: BoundaryOptions) -> npt.NDArray[np.bool_]:
    change = np.nan_to_num(signals["pose_change_m_s"], nan=np.inf)
    travel = np.nan_to_num(signals["root_speed_m_s"], nan=np.inf)
    turn = np.abs(np.nan_to_num(signals["turn_deg_s"]))
    limbs = np.fmax(signals["hands_speed_m_s"], signals["feet_speed_m_s"])
    slow = (change < options.rest_change_m_s) & (travel < 2 * options.rest_change_m_s)
    return slow & (turn < options.rest_turn_deg_s) & ~(limbs > options.rest_limb_m_s)


def novelty(signals: Signals, fps: float, window_s: float = 1.2) -> Array:
    """How much the activity before each frame differs from that after it."""
    columns = [
        np.nan_to_num(signals[name]) / scale for name, scale in _SCALES.items() if name in signals
    ]
    features = np.stack(columns, axis=-1)
    window = max(round(window_s * fps), 1)
    total = np.concatenate([np.zeros((1, features.shape[1])), np.cumsum(features, axis=0)])
    at = np.arange(len(features) + 1)
    before, after = np.maximum(at - window, 0), np.minimum(at + window, len(features))
    earlier = (total[at] - total[before]) / np.maximum(at - before, 1)[:, None]
    later = (total[after] - total[at]) / np.maximum(after - at, 1)[:, None]
    curve = np.linalg.norm(later - earlier, axis=-1)
    # with half a window there is nothing to compare
    curve[: window // 2] = 0.0
    curve[len(curve) - window // 2 :] = 0.0
    return smoothed(curve, fps, 0.1)[: len(features)]


def segments(
    signals: Signals,
    fps: float,
    start: int = 0,
    end: int | None = None,
    options: BoundaryOptions | None = None,
) -> list[Segment]:
    """The activities of a span: cut where energy, contacts, height or heading change."""
    chosen = options or BoundaryOptions()
    frames = len(signals["pose_change_m_s"])
    end = frames if end is None else end
    if not 0 <= start < end <= frames:
        raise UsageError(
            f"frames [{start}, {end}) lie outside the take", allowed=f"0 <= start < end <= {frames}"
        )
    span = {name: values[start:end] for name, values in signals.items()}
    resting = _lasting(_resting(span, chosen), chosen.min_rest_s * fps)
    turning = [edge for first, last in runs(resting) for edge in (first, last)]
    changes = _peaks(
        np.where(resting, 0.0, novelty(span, fps, chosen.window_s)),
        chosen.threshold,
        chosen.min_s * fps,
        [0, end - start, *turning],
    )
    edges = sorted({0, end - start, *turning, *changes})
    spans = [(first, last, bool(resting[first:last].all())) for first, last in pairwise(edges)]
    parts = [
        Segment(
            start + first,
            start + last,
            "rest" if rest else "active",
            "change" if first else "take start",
            "change" if last < end - start else "take end",
        )
        for first, last, rest in _merged(spans, chosen.min_s * fps)
    ]
    return [part for segment in parts for part in _split(segment, fps, chosen.max_s)]


def _merged(spans: list[tuple[int, int, bool]], shortest: float) -> list[tuple[int, int, bool]]:
    """Spans of at least `shortest` frames: a shorter one joins a neighbour.

    A hold in the middle of an activity is joined before the rest at either end of the take.
    """
    spans = list(spans)

    def reluctance(i: int) -> tuple[bool, int]:
        outer_rest = spans[i][2] and i in (0, len(spans) - 1)
        return outer_rest, spans[i][1] - spans[i][0]

    while len(spans) > 1:
        at = min(range(len(spans)), key=lambda i: spans[i][1] - spans[i][0])
        if spans[at][1] - spans[at][0] >= shortest:
            break
        beside = [i for i in (at - 1, at + 1) if 0 <= i < len(spans)]
        other = min(beside, key=reluctance)
        first, second = sorted((at, other))
        rest = spans[first][2] and spans[second][2]
        spans[first : second + 1] = [(spans[first][0], spans[second][1], rest)]
    return spans


def _lasting(flags: npt.NDArray[np.bool_], frames: float) -> npt.NDArray[np.bool_]:
    """Only the stretches of at least `frames`."""
    out = np.zeros_like(flags)
    for start, end in runs(flags):
        out[start:end] = end - start >= frames
    return out


def _peaks(curve: Array, threshold: float, distance: float, edges: list[int]) -> list[int]:
    """Maxima above the threshold, the highest first, none nearer than `distance` to an edge."""
    inner = np.arange(1, len(curve) - 1)
    rising, falling = curve[inner] >= curve[inner - 1], curve[inner] > curve[inner + 1]
    candidates = inner[rising & falling & (curve[inner] > threshold)]
    taken: list[int] = []
    for at in candidates[np.argsort(-curve[candidates], kind="stable")]:
        if all(abs(int(at) - other) >= distance for other in (*edges, *taken)):
            taken.append(int(at))
    return sorted(taken)


def _split(segment: Segment, fps: float, max_s: float | None) -> list[Segment]:
    length = segment.end - segment.start
    if max_s is None or length <= max_s * fps:
        return [segment]
    parts = int(np.ceil(length / (max_s * fps)))
    edges = np.linspace(segment.start, segment.end, parts + 1).round().astype(int).tolist()
    last = parts - 1
    return [
        Segment(
            edges[i],
            edges[i + 1],
            segment.kind,
            "split" if i else segment.starts_with,
            "split" if i < last else segment.ends_with,
        )
        for i in range(parts)
    ]


def fixed_windows(
    start: int, end: int, fps: float, length_s: float, hop_s: float | None = None
) -> list[tuple[int, int]]:
    """Windows of equal length; what is left over at the end is left out."""
    length = round(length_s * fps)
    hop = length if hop_s is None else round(hop_s * fps)
    if length < 1 or hop < 1:
        raise UsageError(f"windows of {length} frames every {hop}", allowed="at least one frame")
    return [(at, at + length) for at in range(start, end - length + 1, hop)]


def cycle(
    signals: Signals, fps: float, start: int = 0, end: int | None = None, *, min_s: float = 0.3
) -> Cycle | None:
    """The period of a repeating motion, or None when nothing repeats."""
    columns = []
    for name, least in _CYCLE_SCALES.items():
        values = smoothed(np.nan_to_num(signals[name][start:end]).astype(np.float64), fps, 0.05)
        spread = values.std()
        if spread > least:
            columns.append((values - values.mean()) / spread)
    if not columns:
        return None
    features = np.stack(columns, axis=-1)
    frames = len(features)
    shortest, longest = round(min_s * fps), frames // 2
    if longest <= shortest:
        return None
    match = np.array([_agreement(features, lag) for lag in range(longest + 1)])
    inner = np.arange(max(shortest, 1), longest)
    peaks = inner[(match[inner] >= match[inner - 1]) & (match[inner] > match[inner + 1])]
    peaks = peaks[match[peaks] > 0.35]
    if not len(peaks):
        return None
    # the first peak that is nearly as good as the best: later ones are its multiples
    best = int(peaks[np.argmax(match[peaks] > 0.85 * match[peaks].max())])
    return Cycle(best / fps, float(match[best]), frames / best)


def _agreement(features: Array, lag: int) -> float:
    """Mean correlation of the curves with themselves `lag` frames later."""
    a, b = features[: len(features) - lag], features[lag:]
    norm = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    return float(np.mean((a * b).sum(axis=0) / np.maximum(norm, 1e-9)))
