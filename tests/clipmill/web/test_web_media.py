"""Files that play clips: ranges of the source, films of the span; and files that are others."""

from __future__ import annotations

import json
import os
import shutil
import urllib.error
import urllib.parse
import urllib.request
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from catalogs import Catalog
from catalogs.errors import ClipmillError
from catalogs.ids import file_sha256
from catalogs.testing import Shot, render_video
from clipmill.web.answers import BusyError
from clipmill.web.media import WAITING, Media, browser_plays
from clipmill.web.sources import FoundClip, SourceFiles


def ask(served: Any, path: str, method: str = "GET", **headers: str) -> tuple[int, Any, bytes]:
    """Status, headers and body of an answer, good or bad."""
    request = served.request(path, **headers)
    request.method = method
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, response.headers, response.read()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.headers, refused.read()


def play(served: Any, clip_id: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(ask(served, f"/api/play/{clip_id}")[2])
    return told


def clip_of(corpus: Path, name: str, place: int = 0) -> dict[str, Any]:
    query = "select * from clips where uri like ? order by start_s limit 1 offset ?"
    return Catalog.open(corpus).sql(query, [f"%{name}", place]).dicts()[0]


def found(path: Path, *, codec: str, container: str, pix_fmt: str = "yuv420p") -> FoundClip:
    """A clip of frames 6 to 18 of a film of 12 frames a second, as a catalog would tell of it."""
    with av.open(str(path)) as film:
        tick = film.streams.video[0].time_base
    frame = int(Fraction(1, 12) / tick)
    source = {
        "source_id": "5" * 32,
        "kind": "video",
        "uri": str(path),
        "bytes": path.stat().st_size,
        "sha256": file_sha256(path),
        "codec": codec,
        "container": container,
        "pix_fmt": pix_fmt,
        "audio_codec": None,
        "created": None,
    }
    clip = {
        "clip_id": "c" * 32,
        "source_id": "5" * 32,
        "kind": "video",
        "start_pts": 6 * frame,
        "end_pts": 18 * frame,
        "time_base_num": tick.numerator,
        "time_base_den": tick.denominator,
        "frames": 12,
        "duration_s": 1.0,
    }
    return FoundClip(clip, source)


@pytest.fixture(scope="module")
def mpeg4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("media") / "old.mp4"
    render_video(path, [Shot("pan_left", 24, 1)], codec="mpeg4", size=(160, 90), fps=12)
    return path


@pytest.fixture(scope="module")
def media() -> Media:
    return Media()


# -- ranges ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "status", "start", "end"),
    [
        (None, 200, 0, None),
        ("bytes=0-99", 206, 0, 100),
        ("bytes=100-", 206, 100, None),
        ("bytes=-50", 206, -50, None),
        ("bytes=0-99999999999999999999", 206, 0, None),
        ("bytes=0-1,5-9", 200, 0, None),
    ],
)
def test_ranges_are_those_of_the_source(
    web_server: Any, web_corpus: Path, asked: str | None, status: int, start: int, end: int | None
) -> None:
    clip = clip_of(web_corpus, "cuts.mp4")
    wanted = {"Range": asked} if asked else {}
    found, headers, body = ask(web_server, f"/api/media/{clip['clip_id']}", **wanted)
    whole = Path(clip["uri"]).read_bytes()
    assert (found, body) == (status, whole[start:end])
    assert headers["Content-Type"] == "video/mp4"
    assert headers["Accept-Ranges"] == "bytes"


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ("bytes=99999999-", 416),
        ("bytes=99999999999999999999-", 416),
        ("bytes=" + "9" * 5000 + "-", 400),
        ("bytes=5-1", 400),
        ("bytes=x-y", 400),
        ("pages=1-2", 400),
    ],
)
def test_bad_ranges_are_refused(web_server: Any, web_corpus: Path, asked: str, status: int) -> None:
    clip_id = clip_of(web_corpus, "cuts.mp4")["clip_id"]
    assert ask(web_server, f"/api/media/{clip_id}", Range=asked)[0] == status


def test_a_range_of_another_file_gives_all_of_this_one(web_server: Any, web_corpus: Path) -> None:
    clip_id = clip_of(web_corpus, "cuts.mp4")["clip_id"]
    address = f"/api/media/{clip_id}"
    tag = ask(web_server, address, Range="bytes=0-9")[1]["ETag"]
    for condition, status in ((tag, 206), ('"another"', 200)):
        headers = {"Range": "bytes=0-9", "If-Range": condition}
        assert ask(web_server, address, **headers)[0] == status


def test_head_tells_the_size(web_server: Any, web_corpus: Path) -> None:
    clip = clip_of(web_corpus, "cuts.mp4")
    status, headers, body = ask(web_server, f"/api/media/{clip['clip_id']}", "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) == os.path.getsize(clip["uri"])


@pytest.mark.parametrize("area", ["play", "media", "take", "clip"])
@pytest.mark.parametrize(
    "clip_id", ["f" * 32, "..%2f..%2fetc%2fpasswd", "a' or 1=1", "/etc/passwd", "A" * 32, "%00"]
)
def test_other_ids_reach_nothing(web_server: Any, area: str, clip_id: str) -> None:
    address = f"/api/{area}/{urllib.parse.quote(clip_id, safe='%')}"
    assert ask(web_server, address)[0] in (400, 404)


# -- what plays ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "how", "type_"),
    [
        ("cuts.mp4", "source", "video/mp4"),
        ("pan.webm", "source", "video/webm"),
        ("zoom.mkv", "copy", "video/mp4"),
    ],
)
def test_how_a_clip_is_played(
    web_server: Any, web_corpus: Path, name: str, how: str, type_: str
) -> None:

    clip = clip_of(web_corpus, name)
    told = play(web_server, clip["clip_id"])
    assert (told["how"], told["type"], told["is_whole"]) == (how, type_, True)
    assert told["end_s"] - told["start_s"] == pytest.approx(clip["duration_s"])
    assert len(told["ticks"]) == clip["frames"] == told["frames"]


def test_a_span_in_the_middle_is_told_on_the_clock_of_the_file(
    web_server: Any, web_corpus: Path
) -> None:

    clip = clip_of(web_corpus, "cuts.mp4", 1)
    told = play(web_server, clip["clip_id"])
    assert clip["start_s"] > 1
    assert told["start_s"] == pytest.approx(clip["start_s"])


def test_what_browsers_do_not_decode_is_encoded(media: Media, mpeg4: Path) -> None:
    clip = found(mpeg4, codec="mpeg4", container="mov")
    assert not browser_plays(clip.source)
    playable = media.playable("c" * 32, lambda: clip)
    assert (playable.how, playable.start_s, playable.end_s) == ("encode", 0.0, 1.0)
    with av.open(str(playable.path)) as film:
        stream = film.streams.video[0]
        frames = list(film.decode(stream))
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
    assert len(frames) == 12
    assert media.playable("c" * 32, lambda: pytest.fail("it was looked up again")) == playable


def test_a_film_that_was_dropped_is_made_again(media: Media, mpeg4: Path) -> None:
    clip = found(mpeg4, codec="mpeg4", container="mov")
    playable = media.playable("c" * 32, lambda: clip)
    playable.path.unlink()
    assert media.playable("c" * 32, lambda: clip).path.is_file()


def test_ten_bits_are_not_for_browsers() -> None:
    source = {"codec": "h264", "container": "mov", "pix_fmt": "yuv420p10le", "audio_codec": None}
    assert not browser_plays(source)
    assert browser_plays(source | {"pix_fmt": "yuv420p"})
    assert not browser_plays(source | {"pix_fmt": "yuv420p", "audio_codec": "pcm_s16le"})


def test_only_so_many_films_wait(media: Media, mpeg4: Path) -> None:
    rooms = [media._maker._room.acquire(blocking=False) for _ in range(WAITING)]
    try:
        with pytest.raises(BusyError):
            media.playable("d" * 32, lambda: found(mpeg4, codec="mpeg4", container="mov"))
    finally:
        for _ in rooms:
            media._maker._room.release()


# -- files that are not the ones --------------------------------------------------------------


def source_of(path: Path) -> dict[str, Any]:
    return {
        "source_id": "5" * 32,
        "uri": str(path),
        "bytes": path.stat().st_size,
        "sha256": file_sha256(path),
        "created": None,
    }


def test_a_file_of_other_bytes_is_refused(tmp_path: Path, mpeg4: Path) -> None:
    path = Path(shutil.copy(mpeg4, tmp_path / "film.mp4"))
    source, files = source_of(path), SourceFiles(tmp_path)
    assert files.path(source) == path
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, (1, 1))
    with pytest.raises(ClipmillError, match="other bytes"):
        files.path(source)


def test_a_longer_file_is_refused(tmp_path: Path, mpeg4: Path) -> None:
    path = Path(shutil.copy(mpeg4, tmp_path / "film.mp4"))
    source = source_of(path)
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(ClipmillError, match="another file now"):
        SourceFiles(tmp_path).path(source)


def test_a_file_that_is_gone_is_told(tmp_path: Path, mpeg4: Path) -> None:
    source = source_of(mpeg4) | {"uri": str(tmp_path / "gone.mp4")}
    with pytest.raises(ClipmillError, match="not where the catalog saw it"):
        SourceFiles(tmp_path).path(source)


def test_a_source_of_an_object_store_is_fetched_within_bounds(tmp_path: Path, mpeg4: Path) -> None:
    source = source_of(mpeg4) | {"uri": "s3://far/away.mp4", "bytes": 1 << 40}
    with pytest.raises(ClipmillError, match="at most"):
        SourceFiles(tmp_path).path(source)


def test_a_folder_or_device_is_no_source(tmp_path: Path, mpeg4: Path) -> None:
    for uri in (str(tmp_path), "/dev/zero"):
        with pytest.raises(ClipmillError, match="regular file"):
            SourceFiles(tmp_path).path(source_of(mpeg4) | {"uri": uri})
