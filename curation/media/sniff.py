"""Which demuxer may open a file, decided from its first bytes and never from its name.

FFmpeg's own probing would happily open a text file called `holiday.mp4` as a playlist and then
read whatever it names. Here the magic bytes choose one demuxer from a closed list, and that
demuxer is the only one that FFmpeg is allowed to use.
"""

from __future__ import annotations

from curation.media.errors import MediaError

__all__ = ["CONTAINERS", "HEAD_BYTES", "looks_like_playlist", "sniff"]

HEAD_BYTES = 4096

CONTAINERS = (
    "mov",
    "matroska",
    "avi",
    "mpegts",
    "mpeg",
    "flv",
    "ogg",
    "asf",
    "mxf",
    "nut",
    "ivf",
    "yuv4mpegpipe",
    "gif",
    "jpeg_pipe",
    "png_pipe",
    "webp_pipe",
)
"""FFmpeg demuxers that files may be opened with: none of them follows references."""

_ISO_BOXES = frozenset(
    (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"moof", b"sidx")
)
_PREFIXES: tuple[tuple[bytes, str], ...] = (
    (b"\x1a\x45\xdf\xa3", "matroska"),
    (b"\x00\x00\x01\xba", "mpeg"),
    (b"FLV\x01", "flv"),
    (b"OggS", "ogg"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
    (b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02", "mxf"),
    (b"nut/multimedia container\x00", "nut"),
    (b"DKIF", "ivf"),
    (b"YUV4MPEG2 ", "yuv4mpegpipe"),
    (b"GIF8", "gif"),
    (b"\xff\xd8\xff", "jpeg_pipe"),
    (b"\x89PNG\r\n\x1a\n", "png_pipe"),
)
_RIFF = {b"AVI ": "avi", b"AVIX": "avi", b"AVI\x19": "avi", b"WEBP": "webp_pipe"}
_AUDIO_PREFIXES = (b"ID3", b"fLaC", b"\xff\xfb", b"\xff\xf1", b"#!AMR", b"MThd")
_PLAYLIST_MARKS = (b"#EXTM3U", b"ffconcat", b"<MPD", b"<SmoothStreamingMedia", b"[playlist]")
_TS_PACKETS = ((188, 0), (192, 4), (204, 0))


def looks_like_playlist(head: bytes) -> bool:
    """Whether the text of a playlist stands anywhere in the head, behind whatever magic bytes."""
    return any(mark in head for mark in _PLAYLIST_MARKS) or head.startswith(b"v=0")


def sniff(head: bytes) -> str:
    """Name the demuxer for a file that begins with `head`, or raise a `MediaError`."""
    if not head:
        raise MediaError("open", "empty", "the file has no bytes")
    demuxer = _by_magic(head)
    if demuxer is not None:
        return demuxer
    if head.startswith(_AUDIO_PREFIXES) or head[8:12] == b"WAVE":
        raise MediaError("open", "audio_only", "an audio file")
    if head.startswith(b"version https://git-lfs"):
        raise MediaError("open", "placeholder", "a Git LFS pointer in place of the file")
    if looks_like_playlist(head):
        raise MediaError("open", "playlist", "a playlist, not a media file")
    raise MediaError(
        "open",
        "unknown_container",
        f"the first bytes {head[:12]!r} belong to no container that is read here",
    )


def _by_magic(head: bytes) -> str | None:
    if head[4:8] in _ISO_BOXES:
        return "mov"
    if head.startswith(b"RIFF"):
        return _RIFF.get(head[8:12])
    for prefix, demuxer in _PREFIXES:
        if head.startswith(prefix):
            return demuxer
    for size, offset in _TS_PACKETS:
        marks = head[offset : offset + 4 * size : size]
        if len(marks) >= 2 and set(marks) == {0x47}:
            return "mpegts"
    return None
