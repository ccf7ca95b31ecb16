"""One line that says how far a run is, and which file holds it up.

On a terminal the line is rewritten in place; in a log it is printed now and then.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TextIO

from catalogs.amounts import duration_text

__all__ = ["Progress", "Tally", "Watchdog", "duration_text"]

LOG_EVERY_S = 15.0
REDRAW_EVERY_S = 0.5


@dataclass(slots=True)
class Tally:
    """What has been done so far."""

    total: int = 0
    total_bytes: int = 0
    sources: int = 0
    bytes: int = 0
    media_s: float = 0.0
    frames: int = 0
    clips: int = 0
    quarantined: int = 0
    started: float = field(default_factory=time.monotonic)

    def elapsed(self) -> float:
        return max(time.monotonic() - self.started, 1e-6)

    def remaining_s(self) -> float | None:
        """Seconds to go at the present rate, by bytes."""
        if not self.bytes or not self.total_bytes:
            return None
        return self.elapsed() * max(self.total_bytes - self.bytes, 0) / self.bytes

    def line(self, stage: str) -> str:
        speed = self.media_s / self.elapsed()
        parts = [
            f"{stage} {self.sources}/{self.total} files",
            f"{self.media_s / 3600:.2f} h",
            f"{speed:.1f} h/h",
            f"{self.clips} clips",
        ]
        if self.quarantined:
            parts.append(f"{self.quarantined} quarantined")
        remaining = self.remaining_s()
        if remaining is not None and self.sources < self.total:
            parts.append(f"{duration_text(remaining)} left")
        return " | ".join(parts)


class Progress:
    """Writes the tally's line to a stream; silent when `stream` is None."""

    def __init__(self, tally: Tally, stage: str, stream: TextIO | None = sys.stderr):
        self.tally = tally
        self._stage = stage
        self._stream = stream
        self._live = bool(stream and stream.isatty())
        self._drawn = 0.0

    def update(self) -> None:
        every = REDRAW_EVERY_S if self._live else LOG_EVERY_S
        if self._stream and time.monotonic() - self._drawn >= every:
            self._write(self.tally.line(self._stage), end="" if self._live else "\n")

    def note(self, text: str) -> None:
        """A line of its own, above the progress line."""
        if self._stream:
            self._write(text, end="\n")

    def close(self) -> None:
        if self._stream:
            self._write(self.tally.line(self._stage), end="\n")

    def _write(self, text: str, end: str) -> None:
        assert self._stream is not None
        self._stream.write(("\r\x1b[K" if self._live else "") + text + end)
        self._stream.flush()
        self._drawn = time.monotonic()


class Watchdog:
    """Names what has been running for suspiciously long, once for each piece of work."""

    def __init__(self, patience_s: float, tell: Callable[[str], None]):
        self._patience_s = patience_s
        self._tell = tell
        self._told: set[object] = set()

    def check(self, running: dict[object, tuple[str, float]]) -> None:
        """Look at what runs: for each piece of work what it is and when it began."""
        now = time.monotonic()
        for key, (what, began) in running.items():
            if key not in self._told and now - began > self._patience_s:
                self._told.add(key)
                self._tell(f"no progress for {duration_text(now - began)}: {what}")
