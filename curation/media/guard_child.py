"""The child side of the guard: runs one task at a time, within limits, until its parent is gone."""

from __future__ import annotations

import faulthandler
import importlib
import os
import resource
import select
import signal
import socket
import threading
import traceback
from collections.abc import Callable
from inspect import isgenerator
from typing import Any

from catalogs.errors import ClipmillError
from curation.media.errors import MediaError
from curation.media.wire import receive, send

__all__ = ["serve"]

_ORPHAN_GRACE_S = 5.0
"""A task that hangs inside C code after the parent has died ends this long after its limit."""


def serve(descriptor: int) -> None:
    """Answer tasks from the socket `descriptor` until it closes."""
    faulthandler.enable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    channel = socket.socket(fileno=descriptor)
    threading.Thread(target=_exit_with_parent, args=(descriptor,), daemon=True).start()
    while True:
        try:
            module, name, args, options, wall_s, memory_bytes = receive(channel)
        except EOFError:
            return
        _answer(channel, module, name, args, options, wall_s, memory_bytes)


def _exit_with_parent(descriptor: int) -> None:
    """Die when the parent's end of the socket closes, whatever the main thread is doing."""
    poll = select.poll()
    poll.register(descriptor, 0)
    poll.poll()
    os._exit(0)


def _answer(
    channel: socket.socket,
    module: str,
    name: str,
    args: tuple[Any, ...],
    options: dict[str, Any],
    wall_s: float,
    memory_bytes: int,
) -> None:
    try:
        _arm(wall_s)
        function = _function(module, name)
        with _MemoryLimit(memory_bytes):
            result = function(*args, **options)
            if not isgenerator(result):
                send(channel, ("result", result))
                return
            for item in result:
                send(channel, ("item", item))
                _arm(wall_s)
        send(channel, ("end", None))
    except MemoryError:
        limit = f"{memory_bytes >> 20} MiB"
        send(channel, ("error", MediaError("guard", "memory", f"needs more than {limit}"), ""))
    except ClipmillError as error:
        send(channel, ("error", error, ""))
    except Exception as error:
        detail = f"{type(error).__name__}: {error}"
        send(channel, ("error", MediaError("guard", "error", detail), traceback.format_exc()))
    finally:
        _arm(0)


def _arm(wall_s: float) -> None:
    """Let the kernel end this process if it outlives its limit and nobody else does."""
    signal.setitimer(signal.ITIMER_REAL, wall_s + _ORPHAN_GRACE_S if wall_s else 0)


def _function(module: str, name: str) -> Callable[..., Any]:
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


class _MemoryLimit:
    """Caps what the process may map beyond what it has mapped already."""

    def __init__(self, memory_bytes: int):
        self._memory_bytes = memory_bytes

    def __enter__(self) -> None:
        with open("/proc/self/statm", encoding="ascii") as statm:
            mapped = int(statm.read().split()[0]) * resource.getpagesize()
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (mapped + self._memory_bytes, hard))

    def __exit__(self, *_: object) -> None:
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
