"""One clip as a file: the very frames, at the very times, copied where that is exact."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from catalogs.errors import UsageError
from catalogs.testing import Shot, render_video
from curation.export.make import make_clip
from curation.export.settings import MediaSettings
from curation.export.spans import ClipSpan
from curation.media import probe, read_sequential
from curation.media.errors import MediaError
from curation.media.probe import scan

CODEC_NOISE = 4.0
"""Grey levels that a clip may be off on average: rendered media have no noise but many edges."""


def span_of(path: Path, first: int, end: int) -> ClipSpan:
    """The clip of frames `[first, end)` of a file."""
    found = probe(path)
    pts = [*scan(path).index.pts.tolist(), found.end_pts]
    return ClipSpan(
        clip_id="c" * 32,
        split="train",
        kind="video",
        source_id="s" * 32,
        uri=str(path),
        sha256="",
        start_pts=pts[first],
        end_pts=pts[end],
        time_base=found.time_base,
        frames=end - first,
        estimated_bytes=0.0,
    )


def frames_of(path: Path, span: ClipSpan | None = None) -> NDArray[np.uint8]:
    start, end = (span.start_pts, span.end_pts) if span else (None, None)
    with read_sequential(path, start_pts=start, end_pts=end) as reader:
        return np.concatenate([batch.images for batch in reader])


def seconds_of(path: Path) -> list[Fraction]:
    tick = probe(path).time_base
    return [int(pts) * tick for pts in scan(path).index.pts]


def difference(one: NDArray[np.uint8], two: NDArray[np.uint8]) -> float:
    return float(np.abs(one.astype(np.int16) - two.astype(np.int16)).mean())


def assert_same_times(clip: Path, span: ClipSpan) -> None:
    source = [s for s in seconds_of(Path(span.uri)) if s >= span.start_pts * span.time_base]
    expected = [s - source[0] for s in source[: span.frames]]
    assert seconds_of(clip) == expected


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keyframes at 0, 25, 50, 60 (a cut) and 85, B-frames between, a tone."""
    path = tmp_path_factory.mktemp("moving") / "a.mp4"
    shots = [Shot("moving_shapes", 60), Shot("pan_left", 40, seed=2)]
    render_video(path, shots, size=(160, 90), gop=25, audio="tone")
    return path


def closed_end(path: Path, first: int) -> int:
    """The first frame after `first` where the coded order lets a copy stop inside of a GOP."""
    with av.open(str(path)) as container:
        coded = [packet.pts for packet in container.demux(video=0) if packet.size]
    shown = sorted(coded)
    for end in range(first + 2, first + 24):
        if set(coded[first:end]) == set(shown[first:end]):
            return end
    raise AssertionError("no such place")


def test_a_clip_between_keyframes_is_copied_bit_for_bit(moving: Path, tmp_path: Path) -> None:
    span = span_of(moving, 25, 60)
    made = make_clip(str(moving), span, str(tmp_path), MediaSettings())
    clip = tmp_path / made.files[0]
    assert (made.how, made.frames, made.audio) == ("copy", 35, "aac")
    assert np.array_equal(frames_of(clip), frames_of(moving, span))
    assert_same_times(clip, span)


def test_a_copy_may_end_inside_of_a_gop(moving: Path, tmp_path: Path) -> None:
    span = span_of(moving, 25, closed_end(moving, 25))
    made = make_clip(str(moving), span, str(tmp_path), MediaSettings())
    assert made.how == "copy"
    assert np.array_equal(frames_of(tmp_path / made.files[0]), frames_of(moving, span))


def test_frames_are_never_lost_or_added_where_b_frames_reach_over_the_end(
    moving: Path, tmp_path: Path
) -> None:
    ways = set()
    for end in range(30, 38):
        span = span_of(moving, 25, end)
        made = make_clip(str(moving), span, str(tmp_path), MediaSettings(preset="ultrafast"))
        ways.add(made.how)
        assert_same_times(tmp_path / made.files[0], span)
    assert ways == {"copy", "encode"}


def test_a_clip_off_the_keyframes_is_encoded_exactly(moving: Path, tmp_path: Path) -> None:
    span = span_of(moving, 33, 71)
    made = make_clip(str(moving), span, str(tmp_path), MediaSettings())
    clip = tmp_path / made.files[0]
    assert made.how == "encode"
    assert_same_times(clip, span)
    written, source = frames_of(clip), frames_of(moving, span)
    own = [difference(written[n], source[n]) for n in range(len(source))]
    neighbour = [difference(written[n], source[n + 1]) for n in range(len(source) - 1)]
    assert max(own) < CODEC_NOISE
    assert all(mine < other for mine, other in zip(own, neighbour, strict=False))


def test_uneven_times_stay(tmp_path: Path) -> None:
    pts = [0]
    for frame in range(59):
        pts.append(pts[-1] + (1501, 3003, 4500, 9000)[frame % 4])
    path = tmp_path / "uneven.mp4"
    render_video(path, [Shot("pan_left", 60)], size=(96, 64), pts=pts, gop=20)
    for first, how in ((20, "copy"), (7, "encode")):
        span = span_of(path, first, 40)
        made = make_clip(str(path), span, str(tmp_path), MediaSettings())
        clip = tmp_path / made.files[0]
        assert made.how == how
        gaps = [b - a for a, b in pairwise(seconds_of(clip))]
        assert len(set(gaps)) == 4
        assert_same_times(clip, span)


@pytest.mark.parametrize("rotate_deg", [90, 180, 270])
def test_encoded_clips_are_upright(rotate_deg: Any, tmp_path: Path) -> None:
    path = tmp_path / "turned.mp4"
    render_video(path, [Shot("moving_shapes", 30)], size=(96, 160), rotate_deg=rotate_deg, gop=10)
    for first, how in ((10, "copy"), (5, "encode")):
        span = span_of(path, first, 20)
        made = make_clip(str(path), span, str(tmp_path), MediaSettings())
        clip = tmp_path / made.files[0]
        assert (made.how, made.width, made.height) == (how, 96, 160)
        assert difference(frames_of(clip), frames_of(path, span)) < CODEC_NOISE
    assert probe(clip).rotation_deg == 0


@pytest.mark.parametrize(
    ("name", "codec", "how"),
    [
        ("a.mkv", "libx264", "copy"),
        ("a.webm", "libvpx-vp9", "copy"),
        ("a.mp4", "libx265", "encode"),
        ("a.mp4", "mpeg4", "copy"),
        ("a.webm", "libvpx", "encode"),
        ("a.avi", "mpeg4", "copy"),
    ],
)
def test_containers_and_codecs(name: str, codec: str, how: str, tmp_path: Path) -> None:
    path = tmp_path / name
    render_video(path, [Shot("pan_right", 45)], size=(96, 64), codec=codec, gop=15)
    first = int(np.flatnonzero(scan(path).index.keyframe)[1])
    span = span_of(path, first, 45)
    made = make_clip(str(path), span, str(tmp_path), MediaSettings())
    clip = tmp_path / made.files[0]
    assert made.how == how
    assert_same_times(clip, span)
    assert difference(frames_of(clip), frames_of(path, span)) <= (0 if how == "copy" else 4)


def write_h264(path: Path, frames: int, pix_fmt: str = "yuv420p", **params: int) -> None:
    """H.264 with x264's own settings, which decide what a keyframe is."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, pix_fmt
        text = ":".join(f"{name.replace('_', '-')}={value}" for name, value in params.items())
        stream.codec_context.options = {"x264-params": f"threads=1:scenecut=0:{text}"}
        for number in range(frames):
            grey = np.fromfunction(lambda y, x, n=number: (4 * n + 2 * x + y) % 256, (64, 96))
            image = np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
            frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_keyframes_that_need_earlier_frames_are_not_copied_from(tmp_path: Path) -> None:
    path = tmp_path / "open.mkv"
    write_h264(path, 48, open_gop=1, keyint=12, bframes=3, b_adapt=0)
    keyframes = np.flatnonzero(scan(path).index.keyframe)
    assert len(keyframes) > 1
    span = span_of(path, int(keyframes[1]), 40)
    made = make_clip(str(path), span, str(tmp_path), MediaSettings())
    assert made.how == "encode"
    assert_same_times(tmp_path / made.files[0], span)
    assert make_clip(str(path), span_of(path, 0, 48), str(tmp_path), MediaSettings()).how == "copy"


def test_ten_bits_stay_ten_bits(tmp_path: Path) -> None:
    path = tmp_path / "deep.mp4"
    write_h264(path, 24, "yuv420p10le", keyint=12)
    for first, how in ((12, "copy"), (5, "encode")):
        made = make_clip(str(path), span_of(path, first, 24), str(tmp_path), MediaSettings())
        assert (made.how, made.bit_depth) == (how, 10)
        assert probe(tmp_path / made.files[0]).bit_depth == 10


def test_frames_hidden_by_an_edit_list_do_not_come_out(tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.mp4", tmp_path / "edited.mp4"
    write_h264(whole, 40, keyint=20, bframes=0)
    with av.open(str(whole)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        ticks = int(Fraction(1, 25) / source.streams.video[0].time_base)
        for packet in source.demux(video=0):
            if packet.size:
                packet.pts, packet.dts = packet.pts - 5 * ticks, packet.dts - 5 * ticks
                packet.stream = stream
                target.mux(packet)
    assert probe(path).discarded_frames == 5
    span = span_of(path, 0, 10)
    made = make_clip(str(path), span, str(tmp_path), MediaSettings())
    assert (made.how, made.frames) == ("encode", 10)
    assert difference(frames_of(tmp_path / made.files[0]), frames_of(path, span)) < CODEC_NOISE


def test_a_size_that_changes_on_the_way_is_fitted_into_the_first(tmp_path: Path) -> None:
    path = tmp_path / "switch.ts"
    with av.open(str(path), "w") as container:
        target: Any = container.add_stream("libx264", rate=25)
        target.width, target.height, target.pix_fmt = 96, 64, "yuv420p"
        for part, (width, height) in enumerate(((96, 64), (64, 64))):
            encoder: Any = av.CodecContext.create("libx264", "w")
            encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
            encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
            encoder.options = {"x264-params": "bframes=0:threads=1"}
            bright = av.VideoFrame.from_ndarray(np.full((height, width, 3), 200, np.uint8), "rgb24")
            packets = []
            for number in range(10):
                bright.pts = number + 10 * part
                packets += encoder.encode(bright.reformat(format="yuv420p"))
            for packet in packets + encoder.encode(None):
                packet.stream = target
                packet.time_base = Fraction(1, 25)
                container.mux(packet)
    span = span_of(path, 3, 18)
    made = make_clip(str(path), span, str(tmp_path), MediaSettings())
    assert (made.how, made.width, made.height) == ("encode", 96, 64)
    shown = frames_of(tmp_path / made.files[0])
    assert shown[0].min() > 150
    assert (shown[-1][:, 40:56].min(), shown[-1][:, :8].max()) == pytest.approx((200, 0), abs=20)


def write_sounding(path: Path, onset_s: float) -> None:
    """Three seconds of picture, silent until a tone sets in."""
    rate = 44100
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.codec_context.gop_size = 25
        audio: Any = container.add_stream("aac", rate=rate, layout="stereo")
        moments = np.arange(3 * rate) / rate
        wave = np.where(moments >= onset_s, 0.5 * np.sin(2 * np.pi * 1000 * moments), 0.0)
        sound = av.AudioFrame.from_ndarray(
            np.stack([wave, wave]).astype(np.float32), format="fltp", layout="stereo"
        )
        sound.sample_rate, sound.pts = rate, 0
        for number in range(75):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 3 * number, np.uint8), "rgb24")
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))


def heard(path: Path) -> tuple[float, float]:
    """When the tone sets in, and how long the sound lasts, in seconds."""
    samples = {}
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            start = round(float(frame.pts * frame.time_base) * frame.sample_rate)
            for place, value in enumerate(np.abs(frame.to_ndarray()[0])):
                samples[start + place] = float(value)
        rate = container.streams.audio[0].rate
    onset = min(place for place, value in samples.items() if value > 0.3)
    return onset / rate, (max(samples) + 1) / rate


@pytest.mark.parametrize(("first", "how"), [(25, "copy"), (10, "encode")])
def test_sound_stays_with_the_picture(first: int, how: str, tmp_path: Path) -> None:
    path = tmp_path / "sounding.mp4"
    write_sounding(path, onset_s=1.5)
    made = make_clip(str(path), span_of(path, first, 50), str(tmp_path), MediaSettings())
    assert (made.how, made.audio) == (how, "aac")
    onset, length = heard(tmp_path / made.files[0])
    assert onset == pytest.approx(1.5 - first / 25, abs=0.012)
    assert length == pytest.approx((50 - first) / 25, abs=0.03)


def test_sound_can_be_left_out(moving: Path, tmp_path: Path) -> None:
    span = span_of(moving, 25, 50)
    made = make_clip(str(moving), span, str(tmp_path), MediaSettings(audio=False))
    assert made.audio is None
    assert probe(tmp_path / made.files[0]).audio is None


def test_an_even_grid_shows_what_was_on_screen(moving: Path, tmp_path: Path) -> None:
    span = span_of(moving, 30, 90)
    settings = MediaSettings(fps=Fraction(10), pictures="png")
    made = make_clip(str(moving), span, str(tmp_path), settings)
    times = json.loads((tmp_path / span.clip_id / "times.json").read_text())
    assert times["seconds"] == [n / 10 for n in range(25)]
    all_pts = scan(moving).index.pts
    expected = []
    for n in range(25):
        instant = span.start_pts + Fraction(n, 10) / span.time_base
        expected.append(int(max(pts for pts in all_pts if pts <= instant)))
    assert times["source_pts"] == expected
    with read_sequential(moving) as reader:
        source = {
            int(p): i for batch in reader for p, i in zip(batch.pts, batch.images, strict=True)
        }
    for n, pts in enumerate(expected):
        with Image.open(tmp_path / span.clip_id / f"{n:06d}.png") as picture:
            assert difference(np.asarray(picture), source[pts]) < 1.0
    assert made.frames == 25


def test_an_even_grid_repeats_frames_when_it_is_finer(moving: Path, tmp_path: Path) -> None:
    span = span_of(moving, 25, 37)
    made = make_clip(str(moving), span, str(tmp_path), MediaSettings(fps=Fraction(60)))
    clip = tmp_path / made.files[0]
    assert (made.how, made.frames) == ("encode", 30)
    assert seconds_of(clip) == [Fraction(n, 60) for n in range(30)]


@pytest.mark.parametrize(
    ("size", "shown"), [((128, 128), (128, 72)), ((64, 128), (64, 36)), ((320, 90), (160, 90))]
)
def test_a_given_size_holds_the_whole_picture(
    size: tuple[int, int], shown: tuple[int, int], moving: Path, tmp_path: Path
) -> None:
    made = make_clip(str(moving), span_of(moving, 25, 28), str(tmp_path), MediaSettings(size=size))
    picture = frames_of(tmp_path / made.files[0])[0]
    assert picture.shape[:2] == size[::-1]
    bright = picture.max(axis=2) > 24
    rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
    assert (np.ptp(columns) + 1, np.ptp(rows) + 1) == pytest.approx(shown, abs=4)
    assert columns[0] == pytest.approx((size[0] - shown[0]) / 2, abs=4)


def test_the_same_clip_gives_the_same_bytes(moving: Path, tmp_path: Path) -> None:
    span = span_of(moving, 33, 60)
    written = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        made = make_clip(str(moving), span, str(tmp_path / name), MediaSettings())
        written.append((tmp_path / name / made.files[0]).read_bytes())
    assert written[0] == written[1]


def test_a_clip_that_lacks_frames_is_an_error(moving: Path, tmp_path: Path) -> None:
    span = span_of(moving, 10, 20)
    with pytest.raises(MediaError, match="10 frames were found in the span, the clip has 11"):
        make_clip(str(moving), replace(span, frames=11), str(tmp_path), MediaSettings())


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"crf": 60}, "0 to 51"),
        ({"preset": "quick"}, "ultrafast"),
        ({"pictures": "gif"}, "mp4, jpg, png"),
        ({"size": (63, 64)}, "even"),
        ({"size": (64, 64), "short_side": 64}, "one of the two"),
        ({"fps": Fraction(0)}, "above 0"),
    ],
)
def test_wrong_settings_say_what_is_allowed(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        MediaSettings(**wrong)


@pytest.mark.parametrize(
    "name",
    [
        "video/psd_goldeneye_vfr_drop3.mp4",
        "video/psd_goldeneye_rotate.mp4",
        "video/muxjs_test_segment.ts",
        "video/nasa_13013.mp4",
        "video/av1_video.mkv",
        "broken/vfr_rot180_fire2.mp4",
    ],
)
def test_real_files(shared_data: Path, name: str, tmp_path: Path) -> None:
    path = shared_data / name
    keyframes = np.flatnonzero(scan(path).index.keyframe)
    frames = probe(path).frames
    key = int(keyframes[len(keyframes) // 2])
    for first in (key, frames // 3):
        span = span_of(path, first, min(frames, first + 8))
        made = make_clip(str(path), span, str(tmp_path), MediaSettings(preset="ultrafast"))
        clip = tmp_path / made.files[0]
        assert_same_times(clip, span)
        if made.how == "copy":
            assert np.array_equal(frames_of(clip), frames_of(path, span))
