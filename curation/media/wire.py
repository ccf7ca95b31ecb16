"""Messages between a guard and its child: pickles whose arrays travel as raw bytes.

The child handles hostile files, so what comes back is loaded by `ResultUnpickler`, which builds
plain data, arrays and the record types of known packages, and calls nothing else.
"""

from __future__ import annotations

import importlib
import io
import pickle
import socket
import struct
from collections.abc import Iterable
from typing import Any

from catalogs.errors import UsageError

__all__ = ["receive", "receive_result", "send"]

_COUNT = struct.Struct("<I")
_LENGTH = struct.Struct("<Q")

_PLAIN = {
    "builtins": {"set", "frozenset", "complex", "bytearray", "range", "slice"},
    "collections": {"OrderedDict", "deque"},
    "datetime": {"date", "datetime", "timedelta", "timezone"},
    "fractions": {"Fraction"},
    "pathlib": {"PosixPath", "PurePosixPath"},
    "numpy": {"dtype", "ndarray"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.numeric": {"_frombuffer"},
}
_OWN_PACKAGES = frozenset(("catalogs", "curation"))
_OWN_BUILDERS = {"catalogs.errors": {"_rebuild"}, "curation.media.errors": {"_rebuild"}}


def send(channel: socket.socket, message: object) -> None:
    """Send one message, arrays without a copy."""
    buffers: list[pickle.PickleBuffer] = []
    parts: list[Any] = [pickle.dumps(message, protocol=5, buffer_callback=buffers.append)]
    parts += [buffer.raw() for buffer in buffers]
    channel.sendall(_COUNT.pack(len(parts)) + b"".join(_LENGTH.pack(len(part)) for part in parts))
    for part in parts:
        channel.sendall(part)


def receive(channel: socket.socket) -> Any:
    """Receive a message from a trusted sender; `EOFError` when it has gone."""
    head, *buffers = _receive_parts(channel)
    return pickle.loads(head, buffers=buffers)  # noqa: S301 the guard wrote it


def receive_result(channel: socket.socket, trusted_packages: Iterable[str]) -> Any:
    """Receive a message from a child that has read files from anywhere."""
    head, *buffers = _receive_parts(channel)
    return ResultUnpickler(head, buffers, _OWN_PACKAGES | set(trusted_packages)).load()


def _receive_parts(channel: socket.socket) -> list[bytearray]:
    (count,) = _COUNT.unpack(_receive_exactly(channel, _COUNT.size))
    table = _receive_exactly(channel, count * _LENGTH.size)
    lengths = [length for (length,) in _LENGTH.iter_unpack(table)]
    return [_receive_exactly(channel, length) for length in lengths]


def _receive_exactly(channel: socket.socket, size: int) -> bytearray:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        received = channel.recv_into(view)
        if not received:
            raise EOFError
        view = view[received:]
    return data


class ResultUnpickler(pickle.Unpickler):
    """Loads data, and classes (never functions) of the packages that own the result."""

    def __init__(self, data: bytearray, buffers: list[bytearray], packages: frozenset[str]):
        super().__init__(io.BytesIO(data), buffers=buffers)
        self._packages = packages

    def find_class(self, module: str, name: str) -> Any:
        """Resolve one global of a pickle, or refuse it."""
        if name in _PLAIN.get(module, ()) or name in _OWN_BUILDERS.get(module, ()):
            return super().find_class(module, name)
        if module.partition(".")[0] in self._packages and "." not in name:
            found = getattr(importlib.import_module(module), name)
            if isinstance(found, type):
                return found
        raise UsageError(
            f"a guarded function returned {module}.{name}",
            allowed="plain data, numpy arrays, classes of " + ", ".join(sorted(self._packages)),
        )
