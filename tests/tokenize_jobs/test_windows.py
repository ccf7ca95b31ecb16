"""Windows: exact resampling by timestamp, and frames that are what a full decode shows."""

from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalogs.errors import UsageError
from catalogs.testing import Shot, render_video
from catalogs.timebase import Span
from curation.media.decode import read_sequential
from curation.media.errors import MediaError
from curation.media.guard import GuardedWorker
from tokenize_jobs.read import fitted, read_windows
from tokenize_jobs.transform import Transform
from tokenize_jobs.windows import clip_windows, sample_ticks

BASE = Fraction(1, 90000)


def cut(transform: Transform, pts: list[int], span: Span) -> list:
    return list(clip_windows("c" * 32, span, np.array(pts), Fraction(25), transform))


def test_every_frame_once_without_a_rate() -> None:
    pts = list(range(0, 36000, 3600))
    (window,) = cut(Transform(), pts, Span(7200, 25200, BASE))
    assert window.pts.tolist() == pts[2:7]
    assert (window.window.span.start_pts, window.window.span.end_pts) == (7200, 25200)
    assert window.window.fps == 25


def test_the_frame_on_screen_is_taken() -> None:
    pts = [0, 3003, 9000, 12000]
    (window,) = cut(Transform(fps=Fraction(30)), pts, Span(0, 15000, BASE))
    assert window.pts.tolist() == [0, 0, 3003, 9000, 12000]


@given(
    fps=st.sampled_from([Fraction(24), Fraction(30000, 1001), Fraction(7, 3)]),
    start=st.integers(0, 10**6),
    length=st.integers(1, 10**6),
)
def test_samples_fill_the_span_and_no_more(fps: Fraction, start: int, length: int) -> None:
    span = Span(start, start + length, BASE)
    ticks = sample_ticks(span, fps)
    assert ticks[0] == start
    assert (len(ticks) - 1) / fps < span.duration <= len(ticks) / fps
    exact = [start + Fraction(k) / (fps * BASE) for k in range(len(ticks))]
    assert [int(t) for t in exact] == ticks.tolist()


@pytest.mark.parametrize(
    ("transform", "windows"),
    [
        (Transform(window=17), [(0, 17), (17, 34), (34, 40)]),
        (Transform(window=17, tail="drop"), [(0, 17), (17, 34)]),
        (Transform(window=16, stride=8), [(0, 16), (8, 24), (16, 32), (24, 40)]),
        (Transform(window=100), [(0, 40)]),
        (Transform(window=100, tail="drop"), []),
        (Transform(), [(0, 40)]),
    ],
)
def test_windows_cover_the_clip(transform: Transform, windows: list[tuple[int, int]]) -> None:
    assert transform.windows(40) == windows


def test_windows_of_a_clip_join_without_a_gap() -> None:
    pts = list(range(0, 360000, 3000))
    made = cut(Transform(fps=Fraction(24), window=17), pts, Span(3000, 303000, BASE))
    spans = [item.window.span for item in made]
    assert spans[0].start_pts == 3000
    assert spans[-1].end_pts == 303000
    assert all(a.end_pts == b.start_pts for a, b in itertools.pairwise(spans))
    assert sum(item.window.frames for item in made) == 80


def test_a_transform_is_named_by_what_it_does() -> None:
    plain = Transform(fps=Fraction(24), size=(64, 64), window=17)
    assert plain.hash == Transform(fps=Fraction(24), size=(64, 64), window=17, stride=17).hash
    assert plain.hash != Transform(fps=Fraction(25), size=(64, 64), window=17).hash
    with pytest.raises(UsageError, match="stride"):
        Transform(stride=4)


@pytest.mark.parametrize(
    ("transform", "source", "picture"),
    [
        (Transform(size=(128, 128)), (720, 1280), (128, 128)),
        (Transform(size=(128, 128), fit="bucket", multiple=8), (720, 1280), (128, 224)),
        (Transform(size=(128, 128), fit="bucket", multiple=8), (1280, 720), (224, 128)),
        (Transform(multiple=16), (241, 321), (240, 320)),
    ],
)
def test_pictures_have_the_planned_size(
    transform: Transform, source: tuple[int, int], picture: tuple[int, int]
) -> None:
    assert transform.picture_size(*source) == picture


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory):
    path = tmp_path_factory.mktemp("windows") / "pan.mp4"
    return render_video(path, [Shot("pan_left", 60), Shot("still", 60, seed=1)], size=(96, 64))


def test_frames_are_those_of_a_full_decode(video) -> None:
    transform = Transform(fps=Fraction(10), size=(32, 32), window=8, stride=4)
    span = Span(video.pts[0], video.pts[-1] + 1, video.time_base)
    planned = list(clip_windows("c" * 32, span, np.array(video.pts), video.fps, transform))
    step = float(np.diff(video.pts).mean())
    size = (video.size[1], video.size[0])
    with GuardedWorker() as worker:
        found = dict(
            worker.stream(
                read_windows,
                str(video.path),
                [item.pts for item in planned][::-1],
                transform,
                size,
                step,
            )
        )
    assert len(found) == len(planned)
    everything: dict[int, np.ndarray] = {}
    with read_sequential(video.path, short_side=32) as reader:
        for batch in reader:
            everything |= dict(zip(batch.pts.tolist(), batch.images, strict=True))
    for number, item in enumerate(planned[::-1]):
        wanted = np.stack([fitted(everything[int(pts)], (32, 32)) for pts in item.pts])
        assert np.array_equal(found[number], wanted)


def test_far_windows_are_sought_and_equal(video) -> None:
    transform = Transform(size=(32, 32), window=4)
    windows = [np.array(video.pts[2:6]), np.array(video.pts[110:114])]
    step = float(np.diff(video.pts).mean())
    size = (video.size[1], video.size[0])
    sought = dict(read_windows(str(video.path), windows, transform, size, step / 10))
    passed = dict(read_windows(str(video.path), windows, transform, size, step))
    for number in range(2):
        assert np.array_equal(sought[number], passed[number])


def test_a_frame_that_is_not_there_is_named(video, tmp_path: Path) -> None:
    step = float(np.diff(video.pts).mean())
    windows = [np.array([video.pts[3], video.pts[3] + 1])]
    with pytest.raises(MediaError, match="no frame at pts"):
        list(read_windows(str(video.path), windows, Transform(), (64, 96), step))


def test_small_sources_are_scaled_up() -> None:
    picture = np.full((10, 20, 3), 77, np.uint8)
    assert fitted(picture, (32, 32)).shape == (32, 32, 3)
    assert (fitted(picture, (32, 32)) == 77).all()
