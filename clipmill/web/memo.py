"""Values that are computed once and kept while they are asked for."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

__all__ = ["Memo"]

_Value = TypeVar("_Value")


class Memo:
    """The `size` values used last, each computed by one thread while others wait for it.

    What a computation raises is not kept.
    """

    def __init__(self, size: int):
        self._size = size
        self._lock = threading.Lock()
        self._values: OrderedDict[Hashable, Any] = OrderedDict()
        self._making: dict[Hashable, threading.Lock] = {}

    def get(self, key: Hashable, make: Callable[[], _Value]) -> _Value:
        """The value of a key, made now unless it is there."""
        with self._lock:
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                if key in self._values:
                    self._values.move_to_end(key)
                    value: _Value = self._values[key]
                    return value
            try:
                made = make()
            except BaseException:
                with self._lock:
                    self._making.pop(key, None)
                raise
            with self._lock:
                self._values[key] = made
                while len(self._values) > self._size:
                    dropped, _ = self._values.popitem(last=False)
                    self._making.pop(dropped, None)
            return made
