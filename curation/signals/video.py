"""The one pass: frames go in once, in order, and every signal comes out.

The meter decodes nothing. Whoever reads the video hands each frame over (`add_planes`), or small
RGB frames in batches (`update`), and takes the signals at the end:

    meter = VideoMeter(1280, 720, Fraction(1, 12800))
    for pts, y, u, v in frames:
        meter.add_planes(pts, y, u, v)
    signals = meter.finish()

No value depends on anything but its frame and the one before. A source may therefore be measured
in chunks: each chunk but the first starts with the last frame of the one in front as a lead-in
(`finish(skip=1)`), and `join_signals` gives the very columns of one long pass. What lies inside of
bars is the exception (`hash_inside`): bars are judged over the chunk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from catalogs.errors import UsageError
from curation.signals.declare import DETAILS_PER_SECOND, SIGNALS
from curation.signals.detail import DETAIL_SIGNALS, colourfulness, measure_detail
from curation.signals.pairs import Batch, measure_pairs, thumbnails
from curation.signals.pictures import PictureHasher
from curation.signals.shrink import Levels, Plane, Shrinker, small_size
from curation.signals.store import VideoSignals
from curation.signals.transnet import TransNet

__all__ = ["VideoMeter"]

_BATCH = 64
_LARGEST_HALF = float(np.finfo(np.float16).max)


class VideoMeter:
    """Measures the frames of one stream.

    Args:
        width: of the source as displayed.
        height: of the source as displayed.
        time_base: seconds per tick of the pts.
        turn_deg: clockwise turn that shows decoded planes upright, in quarter turns.
        edges: measure `edge_delta` too: half as much work again, which only content detection
            with an edge weight reads.
        network: measure `transnet_cut` too, with this network.
    """

    def __init__(
        self,
        width: int,
        height: int,
        time_base: Fraction,
        *,
        turn_deg: int = 0,
        edges: bool = False,
        network: TransNet | None = None,
    ):
        if width < 1 or height < 1:
            raise UsageError(f"frames of {width}x{height}", allowed="at least 1x1")
        self.small_size = small_size(width, height)
        self._time_base = time_base
        self._quarter_turns = turn_deg // 90
        self._edges = edges
        self._network = network
        self._pts: list[int] = []
        turned = self._quarter_turns % 2
        self._shrinker = Shrinker(self.small_size[::-1] if turned else self.small_size, _BATCH)
        self._staged: list[Plane] = []
        self._last: NDArray[np.uint8] | None = None
        self._columns: list[dict[str, NDArray[Any]]] = []
        self._thumbs: list[NDArray[np.uint8]] = []
        self._hasher = PictureHasher(time_base)
        self._details: dict[int, dict[str, float]] = {}
        self._quarter: int | None = None

    def add_planes(
        self, pts: int, luma: Plane, blue: Plane, red: Plane, levels: Levels | None = None
    ) -> None:
        """Measure one decoded frame, given as 8-bit Y, U and V planes.

        Args:
            pts: when it is shown.
            luma: the plane.
            blue: the plane.
            red: the plane.
            levels: tables for luma and chroma that make the samples studio range.
        """
        if self._staged:
            self._measure_staged()
        self._shrinker.add(luma, blue, red, levels)
        detail = None
        if self.wants_detail(pts):
            detail = self._upright(luma if levels is None else cv2.LUT(luma, levels[0]))
        self._append(pts, detail)
        if len(self._shrinker) == _BATCH:
            self._measure_staged()

    def update(
        self,
        pts: Sequence[int] | NDArray[np.int64],
        small: NDArray[np.uint8],
        details: Mapping[int, Plane] | None = None,
    ) -> None:
        """Measure a batch of (n, h, w, 3) RGB frames of `small_size`.

        Args:
            pts: strictly increasing.
            small: the frames.
            details: native-size luma of those frames for which `wants_detail` was true, by
                position in the batch.
        """
        width, height = self.small_size
        if small.shape != (len(pts), height, width, 3) or small.dtype != np.uint8:
            raise UsageError(
                f"a batch of shape {small.shape} and type {small.dtype} for {len(pts)} pts",
                allowed=f"uint8 of shape ({len(pts)}, {height}, {width}, 3)",
            )
        if len(self._shrinker):
            self._measure_staged()
        for position, (when, frame) in enumerate(zip(pts, small, strict=True)):
            self._staged.append(frame)
            self._append(int(when), (details or {}).get(position))
            if len(self._staged) == _BATCH:
                self._measure_staged()

    def wants_detail(self, pts: int) -> bool:
        """Whether the frame at `pts` is the first of its quarter second; ask once per frame."""
        quarter = (
            pts * self._time_base.numerator * DETAILS_PER_SECOND // self._time_base.denominator
        )
        first = quarter != self._quarter
        self._quarter = quarter
        return first

    def finish(self, *, skip: int = 0, end_pts: int | None = None) -> VideoSignals:
        """The signals of all frames but the first `skip`.

        Args:
            skip: lead-in frames, measured only so that the next one has a predecessor.
            end_pts: first tick after the last frame; by default the last frame lasts as long
                as the median one.
        """
        self._measure_staged()
        if len(self._pts) <= skip:
            raise UsageError(f"no frames were measured after the {skip} of the lead-in")
        columns = {
            name: np.concatenate([part[name] for part in self._columns])
            for name in self._columns[0]
        }
        columns.update(self._detail_columns())
        if self._network:
            columns["transnet_cut"] = self._network.finish()
        pts = np.array(self._pts, np.int64)
        return VideoSignals(
            time_base=self._time_base,
            pts=pts[skip:],
            end_pts=end_pts if end_pts is not None else _expected_end(pts),
            small_size=self.small_size,
            columns={
                name: _stored(name, columns[name][skip:]) for name in SIGNALS if name in columns
            },
            thumbs=np.concatenate(self._thumbs)[skip:],
            pictures=self._hasher.finish(skip),
        )

    def _upright(self, pictures: Plane) -> Plane:
        """A plane, or a batch of frames, turned as it is displayed."""
        if not self._quarter_turns:
            return pictures
        axes = (0, 1) if pictures.ndim == 2 else (1, 2)
        return np.ascontiguousarray(np.rot90(pictures, k=-self._quarter_turns, axes=axes))

    def _append(self, pts: int, detail: Plane | None) -> None:
        if self._pts and pts <= self._pts[-1]:
            raise UsageError(
                f"pts {pts} after pts {self._pts[-1]}",
                allowed="frames in presentation order, each pts once",
            )
        if detail is not None:
            self._details[len(self._pts)] = measure_detail(detail)
        self._pts.append(pts)

    def _measure_staged(self) -> None:
        if self._staged:
            fresh, self._staged = np.stack(self._staged), []
        elif len(self._shrinker):
            fresh = self._upright(self._shrinker.take())
        else:
            return
        before = self._last if self._last is not None else fresh[0]
        batch = Batch.of(np.concatenate([before[None], fresh]))
        self._last = fresh[-1]
        columns = measure_pairs(batch, edges=self._edges)
        self._columns.append(columns)
        first = len(self._pts) - len(fresh)
        for index, change in enumerate(columns["lum_delta"].tolist(), start=first):
            self._hasher.look(index, self._pts[index], batch.luma[index - first + 1], change)
            if index in self._details:
                self._details[index]["colourfulness"] = colourfulness(fresh[index - first])
        if self._network:
            self._network.add(fresh)
        self._thumbs.append(thumbnails(batch))

    def _detail_columns(self) -> dict[str, NDArray[np.float32]]:
        columns = {
            name: np.full(len(self._pts), np.nan, np.float32)
            for name in (*DETAIL_SIGNALS, "colourfulness")
        }
        for index, values in self._details.items():
            for name, value in values.items():
                columns[name][index] = value
        return columns


def _expected_end(pts: NDArray[np.int64]) -> int:
    step = int(np.median(np.diff(pts))) if len(pts) > 1 else 1
    return int(pts[-1]) + max(step, 1)


def _stored(name: str, values: NDArray[Any]) -> NDArray[Any]:
    """As it is kept: hashes as they are, the rest as float32, most at float16 precision."""
    signal = SIGNALS[name]
    if signal.storage == "int64":
        return values
    if signal.step:
        values = np.rint(values / signal.step) * signal.step
    if signal.storage == "float16":
        values = np.minimum(values, _LARGEST_HALF).astype(np.float16)
    return values.astype(np.float32)
