"""Batches read one ahead by a thread, each with the position that follows it.

A feed's own position runs ahead of what was trained on; a checkpoint needs the position after the
batch it has seen, so the two travel together.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator
from typing import Any

import torch
from torch import Tensor

from zoo.errors import InputError

__all__ = ["batches"]

_AHEAD = 2


def batches(feed: Any, size: int | None) -> Generator[tuple[Any, dict[str, Any]], None, None]:
    """Batches and the feed's state after them; an error of the feed is raised here.

    `size` examples of the feed are stacked; None takes what it gives, which are batches already.
    """
    ready: queue.Queue[tuple[Any, dict[str, Any]] | BaseException] = queue.Queue(_AHEAD)
    stopped = threading.Event()
    thread = threading.Thread(target=_read, args=(feed, size, ready, stopped), daemon=True)
    thread.start()
    try:
        while True:
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        while thread.is_alive():
            _drain(ready)
            thread.join(0.01)


def _read(feed: Any, size: int | None, ready: queue.Queue[Any], stopped: threading.Event) -> None:
    try:
        items = iter(feed)
        while not stopped.is_set():
            batch = next(items) if size is None else _stack([next(items) for _ in range(size)])
            ready.put((batch, feed.state_dict()))
    except StopIteration:
        ready.put(InputError("the feed ended", hint="a training feed repeats without end"))
    except BaseException as error:
        ready.put(error)


def _stack(clips: list[Tensor]) -> Tensor:
    shapes = {tuple(clip.shape) for clip in clips}
    if len(shapes) > 1:
        raise InputError(f"clips of one batch differ in shape: {sorted(shapes)}")
    return torch.stack(clips)


def _drain(ready: queue.Queue[Any]) -> None:
    while not ready.empty():
        ready.get_nowait()
