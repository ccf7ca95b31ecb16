"""Do one thing in a thread while another waits for processes to start.

Not while Ray starts them: it forks with Python code in between, and a module that is being imported
by a thread at that moment may have its locks released that were never taken.
"""

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
