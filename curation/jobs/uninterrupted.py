"""Finish what must not be cut short."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["uninterrupted"]


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Finish committing even when the user is impatient with Ctrl-C."""
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # not in the main thread: no Ctrl-C arrives here
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
