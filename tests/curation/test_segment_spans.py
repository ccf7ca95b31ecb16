"""From boundaries to clips, and the settings that say how."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalogs.errors import RecipeError, UsageError
from curation.segment import (
    DETECTORS,
    Boundary,
    ClipSpan,
    SegmentSettings,
    detect,
    segment,
    spans,
)
from curation.signals import VideoSignals

RATE = 10


def video(
    frames: int, pts: list[int] | None = None, looks: list[int] | None = None
) -> VideoSignals:
    """Signals of a 10 fps video with ticks of 10 ms; `looks` numbers the picture of each frame."""
    pictures = np.random.default_rng(0).integers(0, 256, (20, 7, 12)).astype(np.uint8)
    times = np.array(pts if pts is not None else range(0, frames * 10, 10), np.int64)
    return VideoSignals(
        time_base=Fraction(1, 100),
        pts=times,
        end_pts=int(times[-1]) + 10,
        small_size=(96, 56),
        columns={name: np.zeros(frames, np.float32) for name in ("hue_delta", "sat_delta",
                                                                "lum_delta", "unexplained",
                                                                "unexplained_share")},
        thumbs=pictures[looks if looks is not None else [0] * frames],
    )  # fmt: skip


def cut(frame: int) -> Boundary:
    return Boundary(frame, frame, "cut", frame * 10)


def clips(frames: int, boundaries: list[Boundary], **settings: Any) -> list[tuple[int, int]]:
    found = spans(boundaries, video(frames), SegmentSettings(**settings))
    return [(clip.start_frame, clip.end_frame) for clip in found]


def test_clips_lie_between_cuts_with_exclusive_ends() -> None:
    found = spans([cut(30), cut(50)], video(80), SegmentSettings())
    assert found == [
        ClipSpan(0, 30, 0, 300, "file end", "cut"),
        ClipSpan(30, 50, 300, 500, "cut", "cut"),
        ClipSpan(50, 80, 500, 800, "cut", "file end"),
    ]


def test_times_are_those_of_the_frames_when_the_rate_varies() -> None:
    signals = video(4, pts=[5, 15, 45, 50])
    found = spans([cut(2)], signals, SegmentSettings())
    assert [(clip.start_pts, clip.end_pts) for clip in found] == [(5, 45), (45, 60)]


MIXED = {
    "dissolve": Boundary(20, 29, "dissolve", 200),
    "fade_in": Boundary(20, 29, "fade_in", 200),
    "fade_out": Boundary(20, 29, "fade_out", 200),
}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("dissolve", [(0, 25), (25, 60)]), ("fade_in", [(0, 20), (20, 60)]),
     ("fade_out", [(0, 30), (30, 60)])],
)  # fmt: skip
def test_mixed_frames_are_left_out_or_shared(kind: str, expected: list[tuple[int, int]]) -> None:
    assert clips(60, [MIXED[kind]]) == [(0, 20), (30, 60)]
    assert clips(60, [MIXED[kind]], trim_mixed=False) == expected
    table = segment_table(MIXED[kind])
    assert [clip.starts_with for clip in table] == ["file end", kind.split("_")[0]]


def segment_table(boundary: Boundary) -> list[ClipSpan]:
    return spans([boundary], video(60), SegmentSettings())


def test_a_cut_inside_a_dissolve_leaves_no_clip_behind() -> None:
    assert clips(60, [MIXED["dissolve"], cut(25)]) == [(0, 20), (30, 60)]


def test_short_clips_are_left_out() -> None:
    assert clips(80, [cut(30), cut(49)], min_s=2) == [(0, 30), (49, 80)]
    assert clips(80, [cut(30), cut(50)], min_s=2) == [(0, 30), (30, 50), (50, 80)]


def test_long_shots_are_split_kept_or_dropped() -> None:
    assert clips(100, [cut(20)], max_s=3) == [(0, 20), (20, 47), (47, 74), (74, 100)]
    assert clips(100, [cut(20)], max_s=3, long_shot="keep") == [(0, 20), (20, 100)]
    assert clips(100, [cut(20)], max_s=3, long_shot="drop") == [(0, 20)]
    edges = [clip.starts_with for clip in spans([cut(20)], video(100), SegmentSettings(max_s=3))]
    assert edges == ["file end", "cut", "split", "split"]


def test_trimming_spares_the_ends_of_the_file() -> None:
    assert clips(60, [cut(30)], trim_s=0.25) == [(0, 27), (33, 60)]


LOOKS = [1] * 20 + [2] * 3 + [1] * 20 + [3] * 10 + [1] * 20


def test_a_shot_goes_on_after_a_short_cutaway() -> None:
    boundaries = [cut(20), cut(23), cut(43), cut(53)]
    signals = video(len(LOOKS), looks=LOOKS)
    joined = spans(boundaries, signals, SegmentSettings(stitch_s=0.3))
    assert [(clip.start_frame, clip.end_frame) for clip in joined] == [(0, 43), (43, 53), (53, 73)]
    joined = spans(boundaries, signals, SegmentSettings(stitch_s=1.0))
    assert [(clip.start_frame, clip.end_frame) for clip in joined] == [(0, 73)]
    assert joined[0].ends_with == "file end"


def test_another_shot_is_not_joined() -> None:
    signals = video(60, looks=[1] * 20 + [2] * 3 + [3] * 37)
    found = spans([cut(20), cut(23)], signals, SegmentSettings(stitch_s=5))
    assert len(found) == 3


@given(
    frames=st.integers(1, 120),
    marks=st.lists(
        st.tuples(st.integers(1, 119), st.integers(0, 12), st.sampled_from(["cut", *MIXED]))
    ),
    min_s=st.sampled_from([0, 0.5, 2]),
    max_s=st.sampled_from([None, 2.5, 4]),
    long_shot=st.sampled_from(["split", "keep", "drop"]),
    trim=st.booleans(),
    trim_s=st.sampled_from([0, 0.2]),
)
def test_clips_are_ordered_apart_and_within_limits(
    frames, marks, min_s, max_s, long_shot, trim, trim_s
) -> None:
    boundaries = [
        Boundary(at, at if kind == "cut" else min(at + extra, frames - 1), kind, at * 10)
        for at, extra, kind in marks
        if at < frames
    ]
    settings = SegmentSettings(
        min_s=min_s, max_s=max_s, long_shot=long_shot, trim_mixed=trim, trim_s=trim_s
    )
    found = spans(boundaries, video(frames), settings)
    assert found == sorted(found)
    for before, after in pairwise(found):
        assert before.end_frame <= after.start_frame
    for clip in found:
        assert 0 <= clip.start_frame < clip.end_frame <= frames
        assert (clip.start_pts, clip.end_pts) == (clip.start_frame * 10, clip.end_frame * 10)
        assert clip.end_pts - clip.start_pts >= min_s * 100
        if max_s and long_shot != "keep":
            assert clip.end_pts - clip.start_pts <= max_s * 100


def test_fixed_shots_begin_on_time() -> None:
    settings = SegmentSettings(detector="fixed", options={"every_s": 2.5})
    table = segment(video(60), settings)
    assert table.start_frame.tolist() == [0, 25, 50]
    assert len(table) == 3


def test_none_keeps_the_file_whole() -> None:
    assert segment(video(60), SegmentSettings(detector="none")).rows() == [
        ClipSpan(0, 60, 0, 600, "file end", "file end")
    ]


@pytest.mark.parametrize("name", [name for name in DETECTORS if name not in ("transnet", "fixed")])
def test_a_still_picture_has_no_boundaries(name: str) -> None:
    signals = video(60)
    signals.columns["hist_correlation"] = np.ones(60, np.float32)
    signals.columns["phash"] = np.zeros(60, np.int64)
    signals.columns["rgb_mean"] = np.full(60, 90, np.float32)
    assert detect(signals, SegmentSettings(detector=name)) == []


@pytest.mark.parametrize(
    ("mapping", "problem"),
    [
        ({"detector": "shot"}, "detector 'shot' is unknown"),
        ({"treshold": 3}, "no key 'treshold'"),
        ({"options": {"windw": 3}}, "no option 'windw'"),
        ({"detector": "none", "threshold": 3}, "no option 'threshold'"),
        ({"min_s": -1}, "min_s is -1"),
        ({"min_s": 4, "max_s": 4}, "max_s is 4"),
        ({"long_shot": "cut"}, "long_shot is 'cut'"),
    ],
)
def test_wrong_settings_are_refused(mapping: dict[str, Any], problem: str) -> None:
    with pytest.raises(RecipeError, match=problem):
        SegmentSettings.from_mapping(mapping)


def test_a_window_must_be_a_frame_or_more() -> None:
    with pytest.raises(UsageError, match="window of 0"):
        detect(video(9), SegmentSettings(detector="adaptive", options={"window": 0}))


def test_the_cutting_names_what_decides_the_clips() -> None:
    base = SegmentSettings(detector="adaptive", threshold=3)
    assert base.cutting == SegmentSettings.from_mapping({"detector": "adaptive"}).cutting
    assert base.cutting == SegmentSettings(detector="adaptive", options={"window": 2}).cutting
    different = [
        SegmentSettings(),
        SegmentSettings(detector="adaptive", threshold=3.5),
        SegmentSettings(detector="adaptive", options={"window": 3}),
        SegmentSettings(detector="adaptive", min_s=2),
        SegmentSettings(detector="adaptive", max_s=60),
        SegmentSettings(detector="adaptive", stitch_s=0.5),
    ]
    assert len({base.cutting, *(settings.cutting for settings in different)}) == 7
