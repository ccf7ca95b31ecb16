"""Rendering of short videos whose every frame is known.

The same call writes the same bytes: one encoder thread, bit-exact flags, no time stamps of the
machine in the container.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np

from catalogs.errors import UsageError
from catalogs.testing.encoding import AudioKind, VideoWriter, stream_time_base
from catalogs.testing.scenes import Picture, Scene, build_scene
from catalogs.testing.video_truth import Dissolve, Fade, Shot, ShotTruth, VideoTruth

__all__ = ["render_video"]

FLAT_KINDS = {"black", "white"}


def render_video(
    path: str | Path,
    shots: Sequence[Shot],
    *,
    size: tuple[int, int] = (320, 180),
    fps: Fraction | int = Fraction(24),
    codec: str = "libx264",
    gop: int = 48,
    seed: int = 0,
    rotate_deg: Literal[0, 90, 180, 270] = 0,
    pts: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 90000),
    audio: AudioKind | None = None,
) -> VideoTruth:
    """Render `shots` one after another; the container follows the suffix of `path`.

    Args:
        path: .mp4, .mov, .mkv, .webm or .avi.
        shots: what to show.
        size: width and height as displayed.
        fps: constant frame rate, unless `pts` is given.
        codec: an encoder of PyAV's FFmpeg: libx264, libx265, mpeg4, libvpx-vp9 ...
        gop: most frames between keyframes.
        seed: added to the seed of every shot.
        rotate_deg: store the picture turned; players turn it back counter-clockwise by this.
        pts: presentation time of every frame in ticks of `time_base` (variable frame rate).
        time_base: the tick of `pts`.
        audio: a soundtrack of that kind.
    """
    path, fps = Path(path), Fraction(fps)
    timeline = _Timeline(shots, size, seed)
    if pts is not None and len(pts) != timeline.frames:
        raise UsageError(
            f"{len(pts)} pts were given for {timeline.frames} frames",
            allowed="one pts per frame, strictly increasing",
        )
    tick = 1 / fps if pts is None else time_base
    ticks = list(range(timeline.frames)) if pts is None else list(pts)
    if pts is not None and timeline.frames > 1:
        fps = (timeline.frames - 1) / ((ticks[-1] - ticks[0]) * tick)
    with VideoWriter(
        path, size, fps, tick, codec=codec, gop=gop, rotate_deg=rotate_deg, audio=audio
    ) as writer:
        for when, picture in zip(ticks, timeline.pictures(), strict=True):
            writer.write(picture, when)
    stored_tick = stream_time_base(path)
    return VideoTruth(
        path=path,
        frames=timeline.frames,
        fps=fps,
        size=size,
        time_base=stored_tick,
        pts=[round(when * tick / stored_tick) for when in ticks],
        cuts=timeline.cuts,
        dissolves=timeline.dissolves,
        fades=timeline.fades,
        flashes=timeline.flashes,
        shots=timeline.truths,
        codec=codec,
        rotate_deg=rotate_deg,
        audio=audio,
        is_vfr=pts is not None,
    )


class _Timeline:
    """Shots laid end to end: what each frame shows, and what is true of it."""

    def __init__(self, shots: Sequence[Shot], size: tuple[int, int], seed: int):
        if not shots:
            raise UsageError("a video needs at least one shot")
        if isinstance(shots[0].transition, Dissolve):
            raise UsageError("the first shot has nothing to dissolve from", allowed="None or Fade")
        self.shots = shots
        self.scenes: list[Scene] = []
        self.truths: list[ShotTruth] = []
        for shot in shots:
            scene = build_scene(shot.kind, size, shot.frames, shot.seed + seed)
            start = self.frames
            self.scenes.append(scene)
            self.truths.append(
                ShotTruth(start, start + shot.frames, shot.kind, shot.seed + seed, scene.params)
            )

    @property
    def frames(self) -> int:
        return self.truths[-1].end if self.truths else 0

    def pictures(self) -> Iterator[Picture]:
        for number, shot in enumerate(self.shots):
            for index in range(shot.frames):
                yield self._picture(number, index)

    def _picture(self, number: int, index: int) -> Picture:
        shot, picture = self.shots[number], self.scenes[number].frame(index)
        opening, closing = shot.transition, shot.ending
        if isinstance(opening, Dissolve) and index < opening.frames:
            share = (index + 1) / (opening.frames + 1)
            before = self.scenes[number - 1].frame(self.shots[number - 1].frames + index)
            return _mixed(before, picture, share)
        if isinstance(opening, Fade) and index < opening.frames:
            picture = _dimmed(picture, index / opening.frames, opening)
        left = shot.frames - 1 - index
        if closing and left < closing.frames:
            picture = _dimmed(picture, left / closing.frames, closing)
        return picture

    @property
    def cuts(self) -> list[int]:
        pairs = zip(self.shots, self.shots[1:], self.truths[1:], strict=False)
        return [truth.start for before, after, truth in pairs if _is_hard_cut(before, after)]

    @property
    def dissolves(self) -> list[tuple[int, int]]:
        return [
            (truth.start, truth.start + shot.transition.frames - 1)
            for shot, truth in zip(self.shots, self.truths, strict=True)
            if isinstance(shot.transition, Dissolve)
        ]

    @property
    def fades(self) -> list[tuple[str, int, int]]:
        found = []
        for shot, truth in zip(self.shots, self.truths, strict=True):
            if isinstance(shot.transition, Fade):
                found.append(("fade_in", truth.start, truth.start + shot.transition.frames - 1))
            if shot.ending:
                found.append(("fade_out", truth.end - shot.ending.frames, truth.end - 1))
        return found

    @property
    def flashes(self) -> list[int]:
        return [
            truth.start + index
            for scene, truth in zip(self.scenes, self.truths, strict=True)
            for index in scene.flashes
        ]


def _is_hard_cut(before: Shot, after: Shot) -> bool:
    """Whether the picture jumps: no mix, and no flat colour met from both sides."""
    if isinstance(after.transition, Dissolve):
        return False
    leaves = before.ending.colour if before.ending else _flat_colour(before.kind)
    enters = after.transition.colour if after.transition else _flat_colour(after.kind)
    return leaves is None or leaves != enters


def _flat_colour(kind: str) -> str | None:
    return kind if kind in FLAT_KINDS else None


def _mixed(before: Picture, after: Picture, share: float) -> Picture:
    return (before * np.float32(1 - share) + after * np.float32(share)).astype(np.uint8)


def _dimmed(picture: Picture, share: float, fade: Fade) -> Picture:
    flat = np.full_like(picture, 0 if fade.colour == "black" else 255)
    return _mixed(flat, picture, share)
