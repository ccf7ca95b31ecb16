"""A limit of time for what a DuckDB connection does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

__all__ = ["deadline"]

AGAIN_S = 0.05


@contextmanager
def deadline(connection: duckdb.DuckDBPyConnection, seconds: float) -> Iterator[threading.Event]:
    """Interrupt a connection when the time is up; the event that is given tells whether it was.

    It is interrupted again until the block is left: what comes between two queries is lost.
    """
    done, late = threading.Event(), threading.Event()

    def watch() -> None:
        if done.wait(seconds):
            return
        late.set()
        connection.interrupt()
        while not done.wait(AGAIN_S):
            connection.interrupt()

    watchman = threading.Thread(target=watch, daemon=True)
    watchman.start()
    try:
        yield late
    finally:
        done.set()
        watchman.join()
