"""The door: no file can make FFmpeg open another one, and no name confuses it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from catalogs.testing import Shot, VideoTruth, playlist_disguised, render_video
from curation.media import door
from curation.media.decode import read_sequential
from curation.media.errors import MediaError
from curation.media.probe import probe


class Listener:
    """A web server on this machine that remembers what was asked of it."""

    def __init__(self) -> None:
        requests: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                requests.append(self.path)
                self.send_error(404)

            def log_message(self, *_: object) -> None:
                """Keep the test output clean."""

        self.requests = requests
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def listener() -> Iterator[Listener]:
    listening = Listener()
    thread = threading.Thread(target=listening.server.serve_forever)
    thread.start()
    yield listening
    listening.server.shutdown()
    thread.join()
    listening.server.server_close()


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> VideoTruth:
    """A video that no other file may lead to."""
    return render_video(tmp_path_factory.mktemp("secret") / "secret.mp4", [Shot("still", 8)])


def playlists(target: str) -> dict[str, bytes]:
    """Every kind of text that FFmpeg's own probing would follow to `target`."""
    hls = f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{target}\n#EXT-X-ENDLIST\n"
    mpd = (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'profiles="urn:mpeg:dash:profile:isoff-main:2011" mediaPresentationDuration="PT5S">'
        f"<Period><AdaptationSet><Representation id='1' bandwidth='1'><BaseURL>{target}</BaseURL>"
        "</Representation></AdaptationSet></Period></MPD>"
    )
    sdp = f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns={target}\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n"
    return {
        "hls": hls.encode(),
        "concat": f"ffconcat version 1.0\nfile '{target}'\n".encode(),
        "dash": mpd.encode(),
        "sdp": sdp.encode(),
        "winamp": f"[playlist]\nFile1={target}\n".encode(),
    }


@pytest.mark.parametrize("kind", ["hls", "concat", "dash", "sdp", "winamp"])
@pytest.mark.parametrize("name", ["movie.mp4", "movie.ts", "list.m3u8"])
def test_playlists_are_refused_and_lead_nowhere(
    tmp_path: Path, listener: Listener, secret: VideoTruth, kind: str, name: str
) -> None:
    for target in (f"{listener.url}/a.ts", str(secret.path), f"file:{secret.path}"):
        path = tmp_path / name
        path.write_bytes(playlists(target)[kind])
        with pytest.raises(MediaError) as caught:
            probe(path)
        assert caught.value.error_class in {"playlist", "unknown_container"}
    assert listener.requests == []


def test_the_rendered_disguises_are_refused(tmp_path: Path, secret: VideoTruth) -> None:
    for form in ("hls", "concat"):
        path = playlist_disguised(tmp_path / f"{form}.mp4", secret.path, form)  # type: ignore[arg-type]
        with pytest.raises(MediaError) as caught:
            next(read_sequential(path))
        assert caught.value.error_class == "playlist"


@pytest.mark.parametrize("kind", ["hls", "concat"])
def test_even_a_demuxer_that_follows_references_is_held_back(
    tmp_path: Path, listener: Listener, secret: VideoTruth, kind: str
) -> None:
    """Were the magic bytes ever fooled, nested opens are still refused."""
    for target in (f"{listener.url}/a.ts", str(secret.path)):
        path = tmp_path / "movie.mp4"
        path.write_bytes(playlists(target)[kind])
        with path.open("rb", buffering=0) as file, pytest.raises(MediaError):  # noqa: PT012
            container = door._open_container(file, kind)  # type: ignore[arg-type]
            with container:
                assert not any(packet.size for packet in container.demux()), "it was followed"
            raise MediaError("open", "bad_container", "an empty shell")
    assert listener.requests == []


def test_a_playlist_behind_magic_bytes_is_not_followed(
    tmp_path: Path, listener: Listener, secret: VideoTruth
) -> None:
    for magic in (
        b"\x1a\x45\xdf\xa3",
        b"\x00\x00\x00\x18ftypisom",
        b"RIFF\0\0\0\0AVI ",
        b"G" * 800,
    ):
        for text in playlists(f"{listener.url}/a.ts").values():
            path = tmp_path / "movie.mp4"
            path.write_bytes(magic + b"\n" + text)
            for backend in ("av", "decord"):
                with pytest.raises(MediaError):
                    next(read_sequential(path, backend=backend))  # type: ignore[arg-type]
    assert listener.requests == []


NAMES: list[str | bytes] = [
    "-i.mp4",
    "%03d.mp4",
    "img%d.mp4",
    "a:b.mp4",
    "http:x.mp4",
    "pipe:0",
    "concat:a.mp4|b.mp4",
    "with space 'and' \"quotes\".mp4",
    "line\nbreak.mp4",
    "Ünïcödé 影片.mp4",
    b"not-utf8-\xff\xfe.mp4",
]


@pytest.mark.parametrize("name", NAMES)
def test_no_name_is_interpreted(
    tmp_path: Path, secret: VideoTruth, monkeypatch: pytest.MonkeyPatch, name: str | bytes
) -> None:
    raw = os.fsencode(name)
    with open(os.path.join(os.fsencode(tmp_path), raw), "wb") as file:
        file.write(secret.path.read_bytes())
    monkeypatch.chdir(tmp_path)
    for path in (raw, os.fsdecode(raw), tmp_path / os.fsdecode(raw)):
        assert probe(path).frames == secret.frames
        with read_sequential(path) as reader:
            assert sum(len(batch) for batch in reader) == secret.frames


def test_errors_about_strange_names_can_be_printed(tmp_path: Path) -> None:
    path = os.path.join(os.fsencode(tmp_path), b"\xff.mp4")
    with open(path, "wb"):
        pass
    with pytest.raises(MediaError) as caught:
        probe(path)
    assert "\\xff.mp4" in str(caught.value)


def test_pipes_and_devices_do_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    for path in (tmp_path / "pipe.mp4", Path("/dev/zero"), tmp_path):
        with pytest.raises(MediaError) as caught:
            probe(path)
        assert caught.value.error_class == "unreadable"
