"""Reading frames: sequential passes, parts of sources, exact timestamps, damage."""

from __future__ import annotations

import json
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from catalogs.errors import UsageError
from catalogs.testing import Shot, VideoTruth, corrupt_bytes, render_video
from curation.media import decord_backend
from curation.media.decode import Backend, read_exact, read_sequential
from curation.media.door import open_video
from curation.media.errors import MediaError
from curation.media.frames import FrameBatch
from curation.media.probe import probe
from curation.media.retry import retry_other_backend
from curation.media.stream import StreamDecoder
from curation.media.verify import verify

needs_decord = pytest.mark.skipif(
    not decord_backend.decord_installed(), reason="decord has no wheel for this platform"
)


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> VideoTruth:
    """Motion in every frame, B-frames, keyframes apart: the hard case for seeks."""
    folder = tmp_path_factory.mktemp("moving")
    shots = [Shot("moving_shapes", 70), Shot("pan_left", 50, seed=2)]
    return render_video(folder / "a.mp4", shots, size=(160, 90), gop=30)


@pytest.fixture(scope="module")
def transport_stream(moving: VideoTruth) -> Path:
    """The same pictures without an index to seek by."""
    path = moving.path.with_suffix(".ts")
    with av.open(str(moving.path)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    return path


def everything(path: Path, **options: object) -> FrameBatch:
    with read_sequential(path, **options) as reader:  # type: ignore[arg-type]
        batches = list(reader)
    return FrameBatch(
        np.concatenate([batch.pts for batch in batches]),
        np.concatenate([batch.images for batch in batches]),
        np.concatenate([batch.keyframe for batch in batches]),
    )


def test_a_pass_gives_the_decoder_s_own_frames(moving: VideoTruth) -> None:
    with av.open(str(moving.path)) as container:
        expected = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    seen = everything(moving.path, pixel_format="gray")
    assert seen.pts.tolist() == moving.pts
    np.testing.assert_array_equal(seen.images, expected)


def test_batches_are_bounded_and_health_is_clean(moving: VideoTruth) -> None:
    with read_sequential(moving.path, batch_frames=32) as reader:
        sizes = [len(batch) for batch in reader]
    assert sizes == [32, 32, 32, 24]
    health = reader.health
    assert (health.frames, health.decoded_frames, health.expected_frames) == (120, 120, 120)
    assert health.is_clean


@pytest.mark.parametrize("container", ["mp4", "ts"])
def test_parts_join_to_the_whole(
    moving: VideoTruth, transport_stream: Path, container: str
) -> None:
    path = moving.path if container == "mp4" else transport_stream
    whole = everything(path, short_side=48)
    edges = [None, *(int(whole.pts[frame]) for frame in (1, 29, 31, 63, 64, 118)), None]
    parts = [
        everything(path, short_side=48, start_pts=start, end_pts=end)
        for start, end in pairwise(edges)
    ]
    np.testing.assert_array_equal(np.concatenate([part.pts for part in parts]), whole.pts)
    np.testing.assert_array_equal(np.concatenate([part.images for part in parts]), whole.images)


def test_a_part_is_decoded_from_its_keyframe_not_from_the_start(moving: VideoTruth) -> None:
    with read_sequential(moving.path, start_pts=moving.pts[95]) as reader:
        assert sum(len(batch) for batch in reader) == 25
    assert reader.health.decoded_frames == 120 - 70
    assert reader.health.expected_frames == 25


@pytest.mark.parametrize("container", ["mp4", "ts"])
def test_exact_frames_are_those_of_the_pass(
    moving: VideoTruth, transport_stream: Path, container: str
) -> None:
    path = moving.path if container == "mp4" else transport_stream
    whole = everything(path)
    for frames in ([0], [119], [28, 29, 30, 31], [3, 60, 97]):
        asked = whole.pts[frames]
        found = read_exact(path, asked[::-1])
        np.testing.assert_array_equal(found.pts, asked)
        np.testing.assert_array_equal(found.images, whole.images[frames])


def test_a_seek_that_lands_late_is_made_good(
    moving: VideoTruth, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = everything(moving.path, short_side=48)
    honest_seek = StreamDecoder.seek
    monkeypatch.setattr(
        StreamDecoder, "seek", lambda self, pts: honest_seek(self, pts + moving.pts[40])
    )
    asked = moving.pts[35]
    part = everything(moving.path, short_side=48, start_pts=asked)
    np.testing.assert_array_equal(part.pts, whole.pts[35:])
    found = read_exact(moving.path, [asked], short_side=48)
    np.testing.assert_array_equal(found.images, whole.images[35:36])


def test_a_timestamp_between_frames_is_refused(moving: VideoTruth) -> None:
    with pytest.raises(MediaError) as caught:
        read_exact(moving.path, [moving.pts[3], moving.pts[4] + 1])
    assert (caught.value.stage, caught.value.error_class) == ("seek", "frame_missing")
    assert str(moving.pts[4] + 1) in caught.value.detail


def test_variable_rate_keeps_its_timestamps(tmp_path: Path) -> None:
    pts = [0, 3000, 4500, 9000, 9090, 30000]
    truth = render_video(tmp_path / "a.mp4", [Shot("pan_left", 6)], pts=pts)
    seen = everything(truth.path)
    assert [Fraction(int(p)) * truth.time_base * 90000 for p in seen.pts] == pts
    assert read_exact(truth.path, seen.pts[4:5]).pts.tolist() == seen.pts[4:5].tolist()


def test_the_displayed_picture_does_not_depend_on_how_it_is_stored(tmp_path: Path) -> None:
    shots = [Shot("pan_left", 4)]
    upright = render_video(tmp_path / "0.mp4", shots, size=(96, 64))
    for pixel_format in ("rgb24", "gray", "yuv420p"):
        expected = everything(upright.path, short_side=32, pixel_format=pixel_format).images
        for turn in (90, 180, 270):
            turned = render_video(
                tmp_path / f"{turn}.mp4",
                shots,
                size=(96, 64),
                rotate_deg=turn,  # type: ignore[arg-type]
            )
            seen = everything(turned.path, short_side=32, pixel_format=pixel_format).images
            assert seen.shape == expected.shape
            assert np.abs(seen.astype(int) - expected).mean() < 4, (pixel_format, turn)


def test_pixel_formats_show_the_same_picture(moving: VideoTruth) -> None:
    rgb = everything(moving.path, short_side=48).images[0]
    gray = everything(moving.path, short_side=48, pixel_format="gray").images[0]
    i420 = everything(moving.path, short_side=48, pixel_format="yuv420p").images[0]
    height, width = gray.shape
    assert (height, width % 2, i420.shape) == (48, 0, (72, width))
    assert np.abs(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(int) - gray).mean() < 3
    back = cv2.cvtColor(i420, cv2.COLOR_YUV2RGB_I420)
    assert np.abs(back.astype(int) - rgb).mean() < 6


def test_full_range_footage_comes_out_in_studio_range(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuvj420p"
        white = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 255, np.uint8), "rgb24")
        container.mux(stream.encode(white))
        container.mux(stream.encode(None))
    assert everything(path, pixel_format="yuv420p").images[0, :64].max() == 235
    assert everything(path, pixel_format="gray").images.min() == 255


def test_small_sources_are_never_enlarged(tmp_path: Path) -> None:
    truth = render_video(tmp_path / "a.mp4", [Shot("still", 3)], size=(32, 24))
    assert everything(truth.path, short_side=144).images.shape == (3, 24, 32, 3)


def test_motion_vectors_follow_the_pan(tmp_path: Path) -> None:
    truth = render_video(tmp_path / "a.mp4", [Shot("pan_left", 12)], size=(160, 96), codec="mpeg4")
    with read_sequential(truth.path, motion_vectors=True) as reader:
        (batch,) = reader
    assert batch.motion_vectors is not None
    assert batch.motion_vectors[0] is None
    field = batch.motion_vectors[5]
    assert field is not None
    assert {"motion_x", "motion_y", "motion_scale", "dst_x", "dst_y"} <= set(field.dtype.names)


def test_skipping_the_loop_filter_keeps_the_frames(moving: VideoTruth) -> None:
    exact = everything(moving.path, short_side=48)
    rough = everything(moving.path, short_side=48, skip_loop_filter="nokey")
    np.testing.assert_array_equal(exact.pts, rough.pts)
    assert np.abs(exact.images.astype(int) - rough.images).mean() < 3


@pytest.mark.parametrize(
    "options",
    [{"skip_loop_filter": "some"}, {"pixel_format": "bgr"}, {"short_side": 0}, {"batch_frames": 0}],
)
def test_wrong_options_name_the_allowed_ones(
    moving: VideoTruth, options: dict[str, object]
) -> None:
    with pytest.raises(UsageError) as caught:
        everything(moving.path, **options)
    assert caught.value.allowed


def test_damage_is_counted_and_the_rest_is_read(tmp_path: Path) -> None:
    whole = render_video(tmp_path / "whole.mp4", [Shot("moving_shapes", 60)]).path
    damaged = corrupt_bytes(whole, tmp_path / "damaged.mp4", seed=3)
    seen = everything(damaged, short_side=48)
    with read_sequential(damaged, short_side=48) as reader:
        for _ in reader:
            pass
    health = reader.health
    assert 0 < health.frames == len(seen)
    assert health.expected_frames == 60
    assert health.corrupt_frames + health.decode_errors + health.undecoded_frames > 0


# ---------------------------------------------------------------- the second opinion


@needs_decord
def test_both_backends_agree(moving: VideoTruth) -> None:
    result = verify(moving.path)
    assert result.agrees
    assert (result.frames, result.pts[0], result.pts[-1]) == (8, moving.pts[0], moving.pts[-1])
    assert result.worst_difference_255 < 4


@needs_decord
def test_a_frame_off_by_one_is_noticed(moving: VideoTruth, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = decord_backend._fit_for_decord

    def shifted(path: Path) -> tuple[object, ...]:
        pts, keyframe, geometry = honest(path)
        return np.roll(pts, 20), keyframe, geometry

    monkeypatch.setattr(decord_backend, "_fit_for_decord", shifted)
    assert not verify(moving.path).agrees


@needs_decord
@pytest.mark.parametrize("pixel_format", ["rgb24", "gray", "yuv420p"])
def test_decord_reads_parts_in_every_format(moving: VideoTruth, pixel_format: str) -> None:
    options = {"short_side": 48, "start_pts": moving.pts[20], "end_pts": moving.pts[90]}
    ours = everything(moving.path, pixel_format=pixel_format, **options)
    theirs = everything(moving.path, pixel_format=pixel_format, backend="decord", **options)
    np.testing.assert_array_equal(ours.pts, theirs.pts)
    assert ours.images.shape == theirs.images.shape
    assert np.abs(ours.images.astype(int) - theirs.images).mean() < 6


@needs_decord
def test_decord_is_kept_from_files_it_reads_wrong(transport_stream: Path) -> None:
    with pytest.raises(MediaError) as caught:
        everything(transport_stream, backend="decord")
    assert caught.value.error_class == "backend_unfit"


def test_everything_works_without_decord(
    moving: VideoTruth, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decord_backend, "decord_installed", lambda: False)
    result = verify(moving.path)
    assert not result.agrees
    assert result.unread == "decord is not installed"


@needs_decord
def test_the_other_backend_gets_one_try() -> None:
    tried: list[Backend] = []

    def task(backend: Backend) -> str:
        tried.append(backend)
        if backend == "av":
            raise MediaError("decode", "undecodable", "no")
        return "frames"

    assert retry_other_backend(task) == ("frames", "decord")
    assert tried == ["av", "decord"]


@needs_decord
def test_two_failures_are_told_as_one() -> None:
    def task(backend: Backend) -> None:
        if backend == "av":
            raise MediaError("decode", "undecodable", "no picture", source="a.mp4")
        raise MediaError("guard", "crash", "it died", signal="SIGSEGV")

    with pytest.raises(MediaError) as caught:
        retry_other_backend(task)
    error = caught.value
    assert (error.stage, error.error_class, error.signal) == ("decode", "undecodable", "SIGSEGV")
    assert error.detail == "no picture; decord: it died"


def test_faults_of_the_file_are_not_tried_twice() -> None:
    tried: list[Backend] = []

    def task(backend: Backend) -> None:
        tried.append(backend)
        raise MediaError("open", "empty", "the file has no bytes")

    with pytest.raises(MediaError):
        retry_other_backend(task)
    assert tried == ["av"]


def test_real_footage_reads_the_same_by_seek_and_by_pass(shared_data: Path) -> None:
    for name in ("daft_sample_video.mp4", "asl_yes.mkv", "muxjs_test_segment.ts", "bikes.mp4"):
        path = shared_data / "video" / name
        found = probe(path)
        whole = everything(path, short_side=64, pixel_format="gray")
        assert len(whole) == found.frames
        middle = len(whole) // 2
        part = everything(
            path, short_side=64, pixel_format="gray", start_pts=int(whole.pts[middle])
        )
        np.testing.assert_array_equal(part.images, whole.images[middle:])
        picked = whole.pts[[1, middle, -1]]
        exact = read_exact(path, picked, short_side=64, pixel_format="gray")
        np.testing.assert_array_equal(exact.images, whole.images[[1, middle, -1]])


def test_frame_times_of_real_footage_match_an_independent_list(shared_data: Path) -> None:
    listed = json.loads((shared_data / "video" / "nasa_13013.stream0.frames.json").read_text())
    path = shared_data / "video" / "nasa_13013.mp4"
    pts = everything(path, short_side=32, pixel_format="gray").pts
    with open_video(path) as video:
        time_base = video.stream.time_base
    assert len(pts) == len(listed)
    for instant, entry in zip(pts, listed, strict=True):
        assert float(int(instant) * time_base) == pytest.approx(float(entry["pts_time"]), abs=1e-6)
