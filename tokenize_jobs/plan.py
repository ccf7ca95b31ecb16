"""What is to be encoded: the windows of the chosen clips, minus those that the catalog has.

A unit is what is missing of one source; it can be split between windows. The plan is an anti-join
on (clip, window, transform, spec, weights), so a rerun does only what is missing, and tokens of an
older tokenizer or transform are left beside the new ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from catalogs.catalog import Catalog
from catalogs.errors import UsageError
from catalogs.query import Session
from catalogs.schema import view_name
from tokenize_jobs.clips import ChosenClip, ChosenSource, Kind, chosen_sources, frame_times
from tokenize_jobs.shards import TokenStream, TokenTable, Window
from tokenize_jobs.takes import features_for
from tokenize_jobs.transform import Transform
from tokenize_jobs.windows import FrameWindow, clip_windows, sample_count

if TYPE_CHECKING:
    from zoo.spec import TokenizerSpec

__all__ = ["Plan", "Unit", "kind_of", "make_plan", "table_of", "transform_for"]

Done = Mapping[str, set[int]]


@dataclass(frozen=True, slots=True, eq=False)
class Unit:
    """What is missing of a source: whole clips of a take, windows of a video.

    A plan holds no windows and no frames' times, which of a large corpus would not fit into memory:
    `opened` makes them of a unit whose turn has come.
    """

    source: ChosenSource
    frames: int
    """Of all windows that are missing."""
    windows: tuple[tuple[Window, NDArray[np.int64]], ...] = ()
    clips: tuple[ChosenClip, ...] = ()
    done: Done = field(default_factory=dict)
    attempt: int = 0

    @property
    def label(self) -> str:
        return self.source.uri

    def opened(self, session: Session, transform: Transform) -> Unit:
        """With the windows of a video that are missing."""
        if self.source.kind == "mocap" or self.windows:
            return self
        cut = _windows_of(session, self.source, self.done, transform)
        return replace(self, windows=tuple((w.window, w.pts) for w, missing in cut if missing))

    def split(self, frames: int) -> tuple[Unit, Unit | None]:
        """The first windows, of so many frames or a window more, and the rest if there is any.

        Takes stay whole: their features are made at once.
        """
        if not self.windows:
            return self, None
        taken = count = 0
        while count < frames and taken < len(self.windows):
            count += self.windows[taken][0].frames
            taken += 1
        if taken == len(self.windows):
            return self, None
        first = replace(self, windows=self.windows[:taken], frames=count)
        return first, replace(self, windows=self.windows[taken:], frames=self.frames - count)


@dataclass(slots=True)
class Plan:
    """The units, and what they come to."""

    transform: Transform
    units: list[Unit] = field(default_factory=list)
    windows: int = 0
    present: int = 0
    frames: int = 0
    media_s: float = 0.0
    tokens: int = 0
    bytes: int = 0

    def to_dict(self) -> dict[str, Any]:
        return {
            "windows": self.windows,
            "present": self.present,
            "frames": self.frames,
            "hours": self.media_s / 3600,
            "tokens": self.tokens,
            "bytes": self.bytes,
            "transform": self.transform.to_json(),
        }


def table_of(spec: TokenizerSpec, versions: Mapping[str, str]) -> TokenTable:
    """The table of a tokenizer's tokens."""
    streams = [TokenStream(s.name, s.levels, s.channels) for s in spec.streams]
    return TokenTable(spec.name, spec.hash, spec.weights_sha256, streams, versions=versions)


def kind_of(spec: TokenizerSpec) -> Kind:
    """The kind of clip that a tokenizer reads."""
    if spec.layout == "BCTHW":
        return "video"
    if spec.modality in ("motion", "joints"):
        return "mocap"
    raise UsageError(
        f"{spec.name} reads {spec.modality}, which no catalog holds", allowed="video or motion"
    )


def transform_for(spec: TokenizerSpec, asked: Transform) -> Transform:
    """What was asked for, completed and checked by what the tokenizer takes."""
    if kind_of(spec) == "mocap":
        if asked.size is not None:
            raise UsageError("takes have no size", hint="leave --size out")
        features = features_for(spec.channels, spec.joints, spec.name)
        return replace(asked, features=features.name, fps=asked.fps or features.fps)
    size = asked.size or spec.size
    if spec.size and size != spec.size:
        raise UsageError(
            f"{spec.name} takes frames of {spec.size[0]}x{spec.size[1]}", hint="leave --size out"
        )
    return replace(asked, size=size, multiple=spec.multiple, fps=asked.fps or _exact(spec.fps))


def _exact(fps: float | None) -> Fraction | None:
    return None if fps is None else Fraction(fps).limit_denominator(1001)


def make_plan(
    catalog: Catalog,
    spec: TokenizerSpec,
    table: TokenTable,
    transform: Transform,
    *,
    selection: str | None = None,
    where: str | None = None,
) -> Plan:
    """Everything that is missing, in units."""
    plan = Plan(transform)
    done = _present(catalog, table, transform)
    kind = kind_of(spec)
    for session, source in chosen_sources(catalog, kind=kind, selection=selection, where=where):
        if kind == "video":
            _plan_video(plan, session, source, done, spec)
        else:
            _plan_take(plan, source, done, spec)
    return plan


def _present(catalog: Catalog, table: TokenTable, transform: Transform) -> Done:
    if table.name not in catalog.tables():
        return {}
    rows = catalog.sql(
        f'select clip_id, list(window_index) from "{view_name(table.name)}" '
        "where transform_hash = ? and spec_hash = ? and weights_hash = ? group by 1",
        [transform.hash, table.spec_hash, table.weights_hash],
    ).rows()
    return {clip_id: set(indexes) for clip_id, indexes in rows}


def _plan_video(
    plan: Plan, session: Session, source: ChosenSource, done: Done, spec: TokenizerSpec
) -> None:
    size = plan.transform.picture_size(*source.size)
    before = plan.frames
    for item, missing in _windows_of(session, source, done, plan.transform):
        _count(plan, item.window, not missing, spec, size)
    if plan.frames > before:
        plan.units.append(Unit(source, plan.frames - before, done=_done_of(source.clips, done)))


def _windows_of(
    session: Session, source: ChosenSource, done: Done, transform: Transform
) -> Iterator[tuple[FrameWindow, bool]]:
    """Every window of a video's clips, and whether it is missing."""
    times = frame_times(session, source.source_id)
    for clip in source.clips:
        present = done.get(clip.clip_id, set())
        for item in clip_windows(clip.clip_id, clip.span, times, source.fps, transform):
            yield item, item.window.index not in present


def _done_of(clips: Iterable[ChosenClip], done: Done) -> Done:
    return {clip.clip_id: done[clip.clip_id] for clip in clips if clip.clip_id in done}


def _plan_take(plan: Plan, source: ChosenSource, done: Done, spec: TokenizerSpec) -> None:
    """The windows of a take are counted from its time; features are made by the worker."""
    fps = plan.transform.fps
    assert fps is not None
    wanted, before = [], plan.frames
    for clip in source.clips:
        present = done.get(clip.clip_id, set())
        spans = plan.transform.windows(sample_count(clip.span, fps))
        missing = False
        for index, (start, end) in enumerate(spans):
            window = Window(clip.clip_id, index, clip.span, end - start, float(fps), "")
            _count(plan, window, index in present, spec, (spec.joints,) if spec.joints else ())
            missing |= index not in present
        if missing:
            wanted.append(clip)
    if wanted:
        known = _done_of(wanted, done)
        plan.units.append(Unit(source, plan.frames - before, clips=tuple(wanted), done=known))


def _count(
    plan: Plan, window: Window, present: bool, spec: TokenizerSpec, rest: Sequence[int]
) -> None:
    if present:
        plan.present += 1
        return
    plan.windows += 1
    plan.frames += window.frames
    plan.media_s += window.frames / window.fps if window.fps else 0.0
    grids = spec.grid((window.frames, *rest))
    for stream in spec.streams:
        positions = int(np.prod(grids[stream.name]))
        plan.tokens += positions
        plan.bytes += positions * np.dtype(stream.dtype).itemsize * max(1, stream.trailing)
