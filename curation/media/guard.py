"""Runs decoding in a child process that may hang, crash or eat memory without harm.

    with GuardedWorker(memory_mb=2048) as worker:
        signals = worker.call(measure, path, wall_s=120)

One child serves many calls, so a call costs a message; only a crash or an exceeded limit makes
the next call start a fresh one. The child is a new interpreter (never a fork of this process),
imports the function by name and dies with its parent. A call gives a whole result or raises a
`MediaError` with the class (`crash`, `timeout`, `memory`, or the function's own) and the signal.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import IO, Any, Self, TypeVar

from catalogs.errors import ClipmillError, UsageError
from curation.media.errors import MediaError
from curation.media.wire import receive_result, send

__all__ = ["GuardedWorker", "run_guarded"]

T = TypeVar("T")

DEFAULT_WALL_S = 600.0
DEFAULT_MEMORY_MB = 4096

_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]); "
    "from curation.media.guard_child import serve; serve(int(sys.argv[1]))"
)
_ONE_THREAD = {
    "MALLOC_ARENA_MAX": "2",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
_LAST_WORDS_BYTES = 4000
_EXIT_WAIT_S = 5.0


class GuardedWorker:
    """A reusable child process; serves one caller at a time."""

    def __init__(self, *, memory_mb: int = DEFAULT_MEMORY_MB):
        if memory_mb < 1:
            raise UsageError(f"memory_mb {memory_mb} is not positive", allowed="1 or more")
        self._memory_bytes = memory_mb << 20
        self._child: _Child | None = None
        self._lock = threading.Lock()

    @property
    def pid(self) -> int | None:
        """Process id of the child, None before the first call and after a failure."""
        return self._child.process.pid if self._child else None

    def call(
        self,
        function: Callable[..., T],
        /,
        *args: Any,
        wall_s: float = DEFAULT_WALL_S,
        **options: Any,
    ) -> T:
        """Run a top-level function of an importable module and return its result."""
        with self._lock:
            child = self._begin(function, args, options, wall_s)
            answer = self._next(child, function, time.monotonic() + wall_s, wall_s)
            if answer[0] == "result":
                result: T = answer[1]
                return result
            self.close()
            raise UsageError(
                f"{_name_of(function)} is a generator function", hint="use stream() for it"
            )

    def stream(
        self,
        function: Callable[..., Iterator[T]],
        /,
        *args: Any,
        wall_s: float = DEFAULT_WALL_S,
        **options: Any,
    ) -> Iterator[T]:
        """Run a generator function and yield its items as they come.

        `wall_s` limits the time spent waiting for the child in all. Items that came before an
        error are part of a failed whole: the caller must not use them.
        """
        with self._lock:
            child = self._begin(function, args, options, wall_s)
            waited = 0.0
            finished = False
            try:
                while True:
                    began = time.monotonic()
                    answer = self._next(child, function, began + wall_s - waited, wall_s)
                    waited += time.monotonic() - began
                    if answer[0] != "item":
                        finished = True
                        return
                    yield answer[1]
            finally:
                if not finished:
                    self.close()

    def close(self) -> None:
        """End the child."""
        child, self._child = self._child, None
        if child is not None:
            child.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _begin(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        options: dict[str, Any],
        wall_s: float,
    ) -> _Child:
        module, name = _importable(function)
        if wall_s <= 0:
            raise UsageError(f"wall_s {wall_s} is not positive", allowed="more than 0 seconds")
        child = self._child
        if child is None or child.owner_pid != os.getpid() or child.process.poll() is not None:
            self.close()
            child = self._child = _Child()
        child.channel.settimeout(wall_s)
        try:
            send(child.channel, (module, name, args, options, wall_s, self._memory_bytes))
        except OSError as error:
            raise self._died(child, function) from error
        return child

    def _next(
        self, child: _Child, function: Callable[..., Any], deadline: float, wall_s: float
    ) -> tuple[Any, ...]:
        package = _importable(function)[0].partition(".")[0]
        try:
            child.channel.settimeout(max(deadline - time.monotonic(), 1e-3))
            answer: tuple[Any, ...] = receive_result(child.channel, [package])
        except TimeoutError as error:
            self.close()
            detail = f"{_name_of(function)} took longer than {wall_s:g} s"
            raise MediaError("guard", "timeout", detail) from error
        except (EOFError, ConnectionError) as error:
            raise self._died(child, function) from error
        except BaseException:
            self.close()
            raise
        if answer[0] == "error":
            raise self._failure(answer[1], answer[2])
        return answer

    def _failure(self, error: ClipmillError, trace: str) -> ClipmillError:
        if isinstance(error, MediaError) and error.error_class == "memory":
            self.close()
        if trace:
            error.add_note(f"In the guarded process:\n{trace}")
        return error

    def _died(self, child: _Child, function: Callable[..., Any]) -> MediaError:
        self._child = None
        code, last_words = child.post_mortem()
        signal_name = signal.Signals(-code).name if code < 0 else None
        how = f"died of {signal_name}" if signal_name else f"left with exit code {code}"
        detail = f"the process that ran {_name_of(function)} {how}"
        error = MediaError("guard", "crash", detail, signal=signal_name)
        if last_words:
            error.add_note(f"Last words of the guarded process:\n{last_words}")
        return error


class _Child:
    """One running interpreter and the socket to it."""

    def __init__(self) -> None:
        self.owner_pid = os.getpid()
        self.channel, theirs = socket.socketpair()
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 closed by _end
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _BOOT, str(theirs.fileno()), json.dumps(sys.path)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                env=os.environ | _ONE_THREAD,
            )
        self.end = weakref.finalize(
            self, _end, self.owner_pid, self.process, self.channel, self._errors
        )
        """Kills the process; happens by itself when nobody holds the child any more."""

    def post_mortem(self) -> tuple[int, str]:
        """Exit code and the end of standard error of a process that closed its socket."""
        try:
            code = self.process.wait(_EXIT_WAIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - _LAST_WORDS_BYTES))
        last_words = self._errors.read().decode("utf-8", "replace").strip()
        self.end()
        return code, last_words


def _end(
    owner_pid: int, process: subprocess.Popen[bytes], channel: socket.socket, errors: IO[bytes]
) -> None:
    if owner_pid == os.getpid():  # a fork of the owner holds a copy, not the child
        process.kill()
        process.wait()
    channel.close()
    errors.close()


_own = threading.local()


def run_guarded(
    function: Callable[..., T],
    /,
    *args: Any,
    wall_s: float = DEFAULT_WALL_S,
    memory_mb: int = DEFAULT_MEMORY_MB,
    **options: Any,
) -> T:
    """Run one function under guard, in a child that this thread keeps for its next call."""
    workers: dict[int, GuardedWorker] = _own.__dict__.setdefault("workers", {})
    worker = workers.get(memory_mb)
    if worker is None:
        worker = workers[memory_mb] = GuardedWorker(memory_mb=memory_mb)
    return worker.call(function, *args, wall_s=wall_s, **options)


def _name_of(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", repr(function))


def _importable(function: Callable[..., Any]) -> tuple[str, str]:
    module = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", "<none>")
    if module in (None, "__main__") or "<" in name:
        raise UsageError(
            f"{name} of {module} cannot be imported by another process",
            allowed="functions at the top level of an importable module",
        )
    return str(module), name
