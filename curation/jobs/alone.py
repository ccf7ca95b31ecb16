"""A crew of one: this process does the work itself, without Ray.

For a debugger, a notebook, or a few files that are done before a cluster would be up. Decoding is
guarded as ever; but nobody survives the death of this process.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["Alone"]


class Alone:
    """Takes work as `Crew` does, and does a piece of it whenever results are asked for."""

    size = 1

    def __init__(self, make: Callable[[], Any]):
        self._make = make
        self._worker: Any = None
        self._waiting: deque[Any] = deque()
        self.hosts = [socket.gethostname()]

    def start(self, pieces: int) -> None:
        self._worker = self._make()
        self._worker.ready()

    def stop(self, *, keep_logs: bool = False) -> None:
        self._worker = None

    @property
    def has_room(self) -> bool:
        return not self._waiting

    @property
    def busy(self) -> bool:
        return bool(self._waiting)

    def submit(self, job: Any) -> None:
        self._waiting.append(job)

    def collect(self, timeout_s: float) -> Iterator[tuple[Any, Any]]:
        """The next piece of work as (job, result), however long it takes."""
        job = self._waiting.popleft()
        yield job, self._worker.work(job)

    def running(self) -> Iterator[tuple[object, Any, float]]:
        """Nothing is being done while anybody can look."""
        return iter(())
