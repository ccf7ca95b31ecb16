"""Do one thing in a thread while another waits for processes to start."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["meanwhile"]


@contextmanager
def meanwhile(function: Callable[..., object], /, *arguments: object) -> Iterator[None]:
    """Call `function` in a thread; at the end of the block it has returned."""
    thread = threading.Thread(target=function, args=arguments)
    thread.start()
    try:
        yield
    finally:
        thread.join()
