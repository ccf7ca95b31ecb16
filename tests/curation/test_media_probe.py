"""Probing: what a file is, or the reason why it cannot be used."""

from __future__ import annotations

import pickle
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from catalogs.testing import Shot, corrupt_bytes, render_video, truncate_file, zero_byte
from catalogs.timebase import Timestamp
from curation.media.decode import read_sequential
from curation.media.errors import MediaError
from curation.media.packets import count_gaps
from curation.media.probe import AudioProbe, SourceProbe, probe

SHOTS = [Shot("pan_left", 20), Shot("still", 16, seed=1)]


def encode(
    path: Path,
    *,
    codec: str = "mpeg4",
    pix_fmt: str = "yuv420p",
    first_pts: int = 0,
    sample_aspect: Fraction | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    frames: int = 12,
) -> Path:
    """A small clip with what the shared renderer does not offer."""
    with av.open(str(path), "w", container_options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height, stream.pix_fmt = 64, 48, pix_fmt
        stream.codec_context.gop_size = 4
        if sample_aspect:
            stream.codec_context.sample_aspect_ratio = sample_aspect
        for index in range(frames):
            pixels = np.full((48, 64, 3), 10 * index, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = first_pts + index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def reason(path: Path) -> str:
    with pytest.raises(MediaError) as caught:
        probe(path)
    assert str(path) in str(caught.value)
    return caught.value.error_class


def test_constant_rate_mp4_is_described_exactly(tmp_path: Path) -> None:
    truth = render_video(
        tmp_path / "a.mp4", SHOTS, fps=Fraction(30000, 1001), gop=12, audio="speech"
    )
    found = probe(truth.path)
    assert (found.kind, found.container, found.codec) == ("video", "mov", "h264")
    assert (found.width, found.height) == truth.size
    assert (found.fps, found.is_vfr, found.frames) == (Fraction(30000, 1001), False, 36)
    assert (found.start_pts, found.time_base) == (truth.pts[0], truth.time_base)
    assert found.duration == Timestamp(36, Fraction(1001, 30000))
    assert found.span.start_pts == found.start_pts
    assert found.keyframe_pts == tuple(truth.pts[frame] for frame in (0, 12, 20, 32))
    assert found.audio is not None
    assert (found.bit_depth, found.has_alpha, found.hdr_transfer) == (8, False, None)
    assert found.file_bytes == truth.path.stat().st_size


def test_broadcast_rate_survives_a_millisecond_clock(tmp_path: Path) -> None:
    truth = render_video(tmp_path / "a.mkv", SHOTS, fps=Fraction(60000, 1001))
    found = probe(truth.path)
    assert (found.fps, found.is_vfr) == (Fraction(60000, 1001), False)


def test_variable_rate_is_decided_by_timestamps(tmp_path: Path) -> None:
    pts = [index * 3000 for index in range(36)]
    pts[20:] = [instant + 1500 for instant in pts[20:]]
    truth = render_video(tmp_path / "a.mp4", SHOTS, pts=pts)
    found = probe(truth.path)
    assert found.is_vfr
    assert found.fps == 36 / found.duration.seconds
    assert pts[-1] < found.end_pts * found.time_base * 90000 <= pts[-1] + 3000


@pytest.mark.parametrize("stored_turn", [90, 180, 270])
def test_size_is_as_displayed(tmp_path: Path, stored_turn: int) -> None:
    truth = render_video(tmp_path / "a.mp4", SHOTS, size=(96, 160), rotate_deg=stored_turn)  # type: ignore[arg-type]
    found = probe(truth.path)
    assert (found.width, found.height) == (96, 160)
    assert found.rotation_deg == 360 - stored_turn
    assert (found.coded_width < found.coded_height) == (stored_turn == 180)


def test_sample_aspect_widens_the_picture(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", sample_aspect=Fraction(3, 2))
    found = probe(path)
    assert (found.sample_aspect, found.width, found.height) == (Fraction(3, 2), 96, 48)
    with read_sequential(path) as reader:
        assert next(reader).images.shape[1:] == (48, 96, 3)


@pytest.mark.parametrize(
    ("name", "codec", "container"),
    [("a.avi", "mpeg4", "avi"), ("a.ts", "mpeg2video", "mpegts"), ("a.mpg", "mpeg1video", "mpeg"),
     ("a.flv", "flv", "flv"), ("a.webm", "libvpx", "matroska"), ("a.gif", "gif", "gif")],
)  # fmt: skip
def test_containers_are_told_by_their_bytes(
    tmp_path: Path, name: str, codec: str, container: str
) -> None:
    pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
    path = encode(tmp_path / name, codec=codec, pix_fmt=pix_fmt)
    disguised = path.rename(tmp_path / "movie.mp4")
    found = probe(disguised)
    assert (found.container, found.frames, found.is_vfr) == (container, 12, False)
    with read_sequential(disguised) as reader:
        assert sum(len(batch) for batch in reader) == 12


def test_late_start_is_kept(tmp_path: Path) -> None:
    found = probe(encode(tmp_path / "a.mkv", first_pts=50))
    assert found.start_pts * found.time_base == 2
    assert found.duration.seconds == Fraction(12, 25)


def test_frames_that_an_edit_list_hides_do_not_count(tmp_path: Path) -> None:
    path = encode(
        tmp_path / "a.mp4",
        codec="libx264",
        first_pts=-6,
        container_options={"avoid_negative_ts": "disabled"},
    )
    found = probe(path)
    assert (found.frames, found.discarded_frames, found.start_pts) == (6, 2, 0)
    assert found.lost_frames == 0
    with read_sequential(path) as reader:
        (batch,) = reader
    assert len(batch) == 6
    assert reader.health.is_clean


def test_deep_colour_alpha_and_hdr(tmp_path: Path) -> None:
    deep = encode(
        tmp_path / "deep.mp4",
        codec="libx265",
        pix_fmt="yuv420p10le",
        options={"x265-params": "transfer=smpte2084:log-level=none"},
    )
    assert (probe(deep).bit_depth, probe(deep).hdr_transfer) == (10, "pq")
    clear = encode(tmp_path / "clear.webm", codec="libvpx-vp9", pix_fmt="yuva420p")
    assert probe(clear).has_alpha


def test_a_still_picture_is_an_image(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (40, 30), "red").save(path)
    found = probe(path)
    assert (found.kind, found.container, found.width, found.frames) == ("image", "png", 40, 1)


def test_encrypted_files_say_so(tmp_path: Path) -> None:
    key = "0123456789abcdef0123456789abcdef"
    scheme = {
        "encryption_scheme": "cenc-aes-ctr",
        "encryption_key": key,
        "encryption_kid": key,
    }
    path = encode(tmp_path / "a.mp4", codec="libx264", container_options=scheme)
    assert reason(path) == "encrypted"


@pytest.mark.parametrize(("name", "codec"), [("a.m4a", "aac"), ("a.wav", "pcm_s16le")])
def test_audio_only(tmp_path: Path, name: str, codec: str) -> None:
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream(codec, rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), "s16", "mono")
        frame.rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert reason(tmp_path / name) == "audio_only"


def test_damaged_and_foreign_files_name_their_reason(tmp_path: Path) -> None:
    whole = render_video(tmp_path / "whole.mp4", SHOTS).path
    (tmp_path / "pointer.mp4").write_text("version https://git-lfs.github.com/spec/v1\n")
    (tmp_path / "notes.mp4").write_text("HIERARCHY\nROOT Hips\n")
    assert reason(tmp_path / "absent.mp4") == "missing"
    assert reason(tmp_path) == "unreadable"
    assert reason(zero_byte(tmp_path / "zero.mp4")) == "empty"
    assert reason(tmp_path / "pointer.mp4") == "placeholder"
    assert reason(tmp_path / "notes.mp4") == "unknown_container"
    assert reason(truncate_file(whole, tmp_path / "head.mp4", 0.5)) == "bad_container"


def test_a_header_without_its_media_data_is_truncated(tmp_path: Path) -> None:
    whole = encode(tmp_path / "whole.mp4", container_options={"movflags": "faststart"})
    data = whole.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: data.index(b"mdat") + 8])
    assert reason(cut) == "truncated"


def test_a_download_that_broke_off_says_how_much_is_lost(tmp_path: Path) -> None:
    whole = encode(tmp_path / "whole.mp4", container_options={"movflags": "faststart"})
    found = probe(truncate_file(whole, tmp_path / "part.mp4", 0.8))
    assert 0 < found.frames < 12
    assert found.frames + found.lost_frames == 12


def test_an_initialisation_segment_has_no_frames(tmp_path: Path) -> None:
    flags = {"movflags": "frag_keyframe+empty_moov+delay_moov"}
    whole = encode(tmp_path / "whole.mp4", container_options=flags).read_bytes()
    (tmp_path / "init.mp4").write_bytes(whole[: whole.index(b"moof") - 4])
    assert reason(tmp_path / "init.mp4") == "no_frames"


def test_corrupt_bytes_still_decode_and_are_counted(tmp_path: Path) -> None:
    whole = render_video(tmp_path / "whole.mp4", [Shot("moving_shapes", 60)]).path
    damaged = corrupt_bytes(whole, tmp_path / "damaged.mp4", seed=3)
    with read_sequential(damaged) as reader:
        delivered = sum(len(batch) for batch in reader)
    assert delivered == reader.health.frames > 0
    assert not reader.health.is_clean


def test_missing_frames_are_counted_only_on_a_nominal_grid() -> None:
    grid = np.arange(0, 3000, 100)
    assert count_gaps(grid) == 0
    assert count_gaps(np.delete(grid, [5, 11, 12])) == 3
    assert count_gaps(np.cumsum(np.arange(1, 40))) == 0
    milliseconds = np.rint(np.arange(100) * 1001 / 30).astype(np.int64)
    assert count_gaps(np.delete(milliseconds, 40)) == 1


def test_errors_cross_process_borders() -> None:
    error = MediaError("guard", "crash", "it died", signal="SIGSEGV", source="a.mp4")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert vars(copy) == vars(error)
    assert str(copy) == str(error)


SHARED: dict[str, str | dict[str, object]] = {
    "-video-with-dash-.mp4": {"frames": 5, "width": 1, "fps": 1},
    "alpha_transparent.webm": {"frames": 150, "has_alpha": True},
    "bvh_full_precision_frame_time.bvh": "unknown_container",
    "bvh_skeleton_no_motion.bvh": "unknown_container",
    "decord_corrupted.mp4": {"frames": 50, "decoded": 49},
    "decord_rot180.mov": {"frames": 3, "rotation_deg": 180, "width": 568},
    "decord_rot90.mov": {"frames": 3, "rotation_deg": 90, "width": 320, "height": 568},
    "decord_unordered.mov": {"frames": 4},
    "lfs_pointer.npy": "placeholder",
    "mp4parse_chunk_out_of_range.mp4": "bad_container",
    "mp4parse_init_only.mp4": "no_frames",
    "mp4parse_invalid_userdata.mp4": "truncated",
    "mp4parse_no_timescale.mp4": {"frames": 182, "decoded": 168, "rotation_deg": 0},
    "mp4parse_opus_audio_only.mp4": "audio_only",
    "mp4parse_short_encrypted.mp4": "encrypted",
    "no_duration.webm": {"frames": 74, "is_vfr": True, "has_alpha": False},
    "psd_delayed_start.mp4": {"frames": 24, "start_pts": 13760},
    "tc_discard_first_keyframe.mp4": {"frames": 25, "discarded_frames": 5, "start_pts": 0},
    "tc_mpeg1_ps.mpg": {"frames": 100, "container": "mpeg", "start_pts": 48600, "fps": 25},
    "tc_non_zero_start.mp4": {"frames": 12, "start_pts": 127995, "width": 199},
    "tc_odd_321x241_vp9.mp4": {"frames": 25, "width": 321, "height": 241},
    "vfr_rot180_fire2.mp4": {"frames": 25, "rotation_deg": 180, "is_vfr": True},
    "zero_byte.webm": "empty",
}


def test_the_table_covers_the_folder(shared_data: Path) -> None:
    assert {path.name for path in (shared_data / "broken").iterdir()} == set(SHARED)


@pytest.mark.parametrize("name", SHARED)
def test_broken_files_are_read_or_refused_with_the_reason(shared_data: Path, name: str) -> None:
    path = shared_data / "broken" / name
    expected = SHARED[name]
    if isinstance(expected, str):
        assert reason(path) == expected
        return
    found = probe(path)
    with read_sequential(path, short_side=48) as reader:
        pts = np.concatenate([batch.pts for batch in reader])
    decoded = expected.get("decoded", found.frames)
    assert len(pts) == decoded
    assert (np.diff(pts) > 0).all()
    assert reader.health.is_clean == (decoded == found.frames)
    for field, value in expected.items():
        if field != "decoded":
            assert getattr(found, field) == value, field


def test_real_footage_is_probed_as_its_listing_says(shared_data: Path) -> None:
    video = shared_data / "video"
    first = probe(video / "nasa_13013.mp4")
    assert (first.width, first.height, first.frames, first.video_streams) == (320, 180, 325, 2)
    assert first.audio == AudioProbe("aac", 2, 8000)
    assert probe(video / "hdr_bt2020_10bit.mp4").hdr_transfer == "pq"
    assert probe(video / "rocket.mkv").fps == Fraction(60000, 1001)
    turned: SourceProbe = probe(video / "psd_goldeneye_rotate.mp4")
    assert (turned.width, turned.height, turned.rotation_deg) == (544, 1280, 90)
    dropped = probe(video / "psd_goldeneye_vfr_drop3.mp4")
    assert (dropped.is_vfr, dropped.frames) == (True, 160)
    assert probe(video / "arm_wrestling.mp4").width == 427
