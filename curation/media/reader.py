"""What every backend's sequential reader is: batches to iterate, a file to close, a health."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from types import TracebackType
from typing import Self

from curation.media.frames import FrameBatch
from curation.media.health import DecodeHealth

__all__ = ["BatchReader"]


class BatchReader(Iterator[FrameBatch], ABC):
    """One pass over a source.

    Memory stays at one batch whatever the length of the source. Nothing is opened before the
    first batch is asked for; `health` is complete once the iteration has ended.
    """

    def __init__(self) -> None:
        self.health = DecodeHealth()
        self._batches = self._read()

    @abstractmethod
    def _read(self) -> Generator[FrameBatch, None, None]:
        """Yield the batches, counting into `health`."""

    def __next__(self) -> FrameBatch:
        return next(self._batches)

    def close(self) -> None:
        """Close the file before the end of the pass."""
        self._batches.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
