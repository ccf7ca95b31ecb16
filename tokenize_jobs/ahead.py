"""Items fetched by a thread while the ones before them are worked on, a few and no more."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

__all__ = ["ahead"]

T = TypeVar("T")

_LOOK_UP_S = 0.1
"""How often a full queue looks whether anybody still wants its items."""


class _End:
    """Closes the queue, with the error that ended the items if there was one."""

    def __init__(self, error: BaseException | None = None):
        self.error = error


@contextmanager
def ahead(items: Iterator[T], most: int) -> Iterator[Iterator[T]]:
    """The same items, at most `most` of them waiting; what `items` raises is raised here."""
    waiting: queue.Queue[T | _End] = queue.Queue(most)
    stopped = threading.Event()

    def put(item: T | _End) -> None:
        while not stopped.is_set():
            try:
                waiting.put(item, timeout=_LOOK_UP_S)
            except queue.Full:
                continue
            return

    def fetch() -> None:
        try:
            for item in items:
                put(item)
                if stopped.is_set():
                    return
        except BaseException as error:  # handed to the consumer, whatever it is
            put(_End(error))
        else:
            put(_End())

    def given() -> Iterator[T]:
        while not isinstance(item := waiting.get(), _End):
            yield item
        if item.error is not None:
            raise item.error

    thread = threading.Thread(target=fetch, daemon=True)
    thread.start()
    try:
        yield given()
    finally:
        stopped.set()
        thread.join()
