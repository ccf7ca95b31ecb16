"""Processes killed at random moments, for tests of what survives that."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable
from pathlib import Path

__all__ = ["Killer", "processes_below"]


def processes_below(needle: str) -> list[int]:
    """Processes that this one has started, or those have, with `needle` in the command line."""
    parents, commands = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
                commands[int(entry.name)] = (entry / "cmdline").read_text()
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])

    def is_below(pid: int | None) -> bool:
        while pid and pid != os.getpid():
            pid = parents.get(pid)
        return pid == os.getpid()

    return [pid for pid, line in commands.items() if needle in line and is_below(parents.get(pid))]


class Killer(threading.Thread):
    """Kills one of the processes that `victims` finds, at random moments, `most` times at most."""

    def __init__(self, victims: Callable[[], list[int]], most: int, seed: int):
        super().__init__(daemon=True)
        self._victims = victims
        self._most = most
        self._random = random.Random(seed)
        self._done = threading.Event()
        self.killed = 0

    def __enter__(self) -> Killer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self.join()

    def run(self) -> None:
        while self.killed < self._most and not self._done.wait(self._random.uniform(0.05, 0.6)):
            if found := self._victims():
                try:
                    os.kill(self._random.choice(found), signal.SIGKILL)
                except ProcessLookupError:
                    continue
                self.killed += 1
