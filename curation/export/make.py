"""Making one clip, in the guarded child: copy, else encode, and look at what was written.

A clip counts as made only when the written file, read back, shows the clip's frames at the clip's
times. A copy that does not is encoded; an encoding that does not is repeated without a seek.
"""

from __future__ import annotations

from pathlib import Path

from curation.export.encode import encode_frames
from curation.export.made import How, Made
from curation.export.mp4 import Written
from curation.export.pictures import Clock
from curation.export.remux import NotCopyableError, copy_frames
from curation.export.settings import MediaSettings
from curation.export.spans import ClipSpan
from curation.export.stills import write_stills
from curation.media.errors import MediaError
from curation.media.probe import scan

__all__ = ["make_clip"]


def make_clip(path: str, span: ClipSpan, folder: str, settings: MediaSettings) -> Made:
    """Write the files of one clip into `folder`; raises `MediaError` when it cannot be exact."""
    if span.kind == "mocap":
        from curation.export.takes import write_take

        return write_take(path, span, folder)
    if settings.may_copy and (copied := _copied(path, span, folder, settings)) is not None:
        return copied
    made = _anew(path, span, folder, settings, from_start=False)
    if problem := _problem(made, span, settings):
        made = _anew(path, span, folder, settings, from_start=True)
        problem = _problem(made, span, settings)
    if problem or made is None:
        raise MediaError("verify", "mismatch", problem)
    return made


def _problem(made: Made | None, span: ClipSpan, settings: MediaSettings) -> str:
    """What is wrong with a clip that was written, in words."""
    if made is None:
        return "the written file does not show the frames that went into it"
    wanted = span.frames
    if settings.fps is not None:
        wanted = Clock(span, settings.fps).grid(span.end_pts)
    if wanted is not None and made.frames != wanted:
        return f"{made.frames} frames were found in the span, the clip has {wanted}"
    return "" if made.frames else "no frame of the clip decodes"


def _copied(path: str, span: ClipSpan, folder: str, settings: MediaSettings) -> Made | None:
    """A copy that was read back and is right, or None."""
    from av.error import FFmpegError

    target = Path(folder) / f"{span.clip_id}.mp4"
    clock = Clock(span, None)
    try:
        done = copy_frames(path, span, clock, str(target), audio=settings.audio)
        made = _read_back(target, span, clock, done, "copy")
    except (NotCopyableError, FFmpegError, MediaError):
        return None
    return None if _problem(made, span, settings) else made


def _anew(
    path: str, span: ClipSpan, folder: str, settings: MediaSettings, *, from_start: bool
) -> Made | None:
    if settings.pictures != "mp4":
        return write_stills(path, span, folder, settings, from_start=from_start)
    target = Path(folder) / f"{span.clip_id}.mp4"
    clock = Clock(span, settings.fps)
    done = encode_frames(path, span, clock, str(target), settings, from_start=from_start)
    return _read_back(target, span, clock, done, "encode") if done.times else None


def _read_back(target: Path, span: ClipSpan, clock: Clock, done: Written, how: How) -> Made | None:
    """The clip as its file shows it; None when that is not what was written."""
    found = scan(target)
    size = found.geometry.display_size
    if found.index.pts.tolist() != done.times or size != (done.size or size):
        return None
    return Made(
        clip_id=span.clip_id,
        how=how,
        files=(target.name,),
        frames=len(done.times),
        last_time_s=done.times[-1] / clock.scale,
        width=size[0],
        height=size[1],
        bit_depth=done.bit_depth,
        audio=done.audio,
        pixel_sums=done.pixel_sums,
    )
