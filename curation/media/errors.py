"""Why a media file could not be used.

A `MediaError` is a quarantine row in the making: the stage that failed, a stable error class to
group by, the decoder's own words and, for a child process that died, the signal that killed it.
It crosses process borders, so it pickles with all of its parts.
"""

from __future__ import annotations

from typing import Literal

from catalogs.errors import ClipmillError

__all__ = ["ErrorClass", "MediaError", "Stage"]

Stage = Literal["open", "probe", "decode", "seek", "verify", "guard"]

ErrorClass = Literal[
    "missing",
    "unreadable",
    "empty",
    "placeholder",
    "playlist",
    "unknown_container",
    "bad_container",
    "bad_take",
    "audio_only",
    "no_video",
    "encrypted",
    "truncated",
    "no_frames",
    "no_decoder",
    "no_timestamps",
    "undecodable",
    "frame_missing",
    "backend_unfit",
    "mismatch",
    "crash",
    "timeout",
    "memory",
    "error",
]

_HINTS: dict[ErrorClass, str] = {
    "missing": "check the path, or drop the file from the input list",
    "unreadable": "make the file readable for this user",
    "empty": "fetch the file again: it has no bytes",
    "placeholder": "fetch the real file (for Git LFS: git lfs pull)",
    "playlist": "give the media files themselves; playlists are never followed",
    "unknown_container": "remux the file, for example to .mp4 or .mkv",
    "bad_container": "fetch the file again or repair its container",
    "bad_take": "mend the file where it is wrong, or export it again",
    "audio_only": "give a file with a video stream",
    "no_video": "give a file with a video stream",
    "encrypted": "decrypt the file first",
    "truncated": "fetch the file again: its media data is cut off",
    "no_frames": "fetch the file again: it holds headers but no media data",
    "no_decoder": "transcode the file to a codec that FFmpeg decodes",
    "no_timestamps": "remux the file so that its packets carry timestamps",
    "undecodable": "fetch the file again or transcode it",
    "frame_missing": "ask for timestamps that the probe lists",
    "timeout": "raise the time limit if the file is known to be good",
    "memory": "raise the memory limit if the file is known to be good",
    "crash": "report the file: the decoder died on it",
}

# Faults of the file itself: a second decoder would only meet them again.
_FINAL: frozenset[ErrorClass] = frozenset(
    {
        "missing",
        "unreadable",
        "empty",
        "placeholder",
        "playlist",
        "unknown_container",
        "bad_take",
        "audio_only",
        "no_video",
        "encrypted",
        "truncated",
        "no_frames",
    }
)


class MediaError(ClipmillError):
    """A source that could not be read, with everything that quarantine records about it."""

    def __init__(
        self,
        stage: Stage,
        error_class: ErrorClass,
        detail: str,
        *,
        signal: str | None = None,
        source: str | None = None,
    ):
        self.stage: Stage = stage
        self.error_class: ErrorClass = error_class
        self.detail = detail
        self.signal = signal
        self.source = source
        """Where the file was read from, when known; never part of a file's identity."""
        what = f"{source}: {detail}" if source else detail
        super().__init__(f"{what} [{stage}, {error_class}]", hint=_HINTS.get(error_class))

    @property
    def worth_retrying(self) -> bool:
        """Whether another decoder could do better."""
        return self.error_class not in _FINAL

    def located(self, source: str) -> MediaError:
        """The same error, naming the file that it is about."""
        return MediaError(
            self.stage, self.error_class, self.detail, signal=self.signal, source=source
        )

    def __reduce__(self) -> tuple[object, ...]:
        parts = (self.stage, self.error_class, self.detail, self.signal, self.source)
        return _rebuild, (type(self), *parts)


def _rebuild(
    cls: type[MediaError],
    stage: Stage,
    error_class: ErrorClass,
    detail: str,
    signal: str | None,
    source: str | None,
) -> MediaError:
    return cls(stage, error_class, detail, signal=signal, source=source)
