"""Errors of the zoo: what was wrong, what is allowed, what to do next.

The zoo stands alone, so it brings its own tree; the command line prints both trees the same way.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "InputError",
    "MissingExtraError",
    "NotFoundError",
    "SpecMismatchError",
    "UnsafeFileError",
    "UsageError",
    "ZooError",
    "nearest",
]


class ZooError(Exception):
    """The root of every error that the zoo raises on purpose."""

    exit_code = 1

    def __init__(self, problem: str, *, allowed: str | None = None, hint: str | None = None):
        self.problem = problem
        self.allowed = allowed
        self.hint = hint
        super().__init__(problem)

    def __str__(self) -> str:
        lines = [self.problem]
        if self.allowed:
            lines.append(f"Allowed: {self.allowed}")
        if self.hint:
            lines.append(f"Next: {self.hint}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.problem, self.allowed, self.hint)


def _rebuild(cls: type[ZooError], problem: str, allowed: str | None, hint: str | None) -> ZooError:
    return cls(problem, allowed=allowed, hint=hint)


class UsageError(ZooError):
    """The caller asked for something that cannot be: a wrong argument, option or name."""

    exit_code = 2


class InputError(UsageError):
    """Media whose layout, size, length, range or rate the model does not take."""


class NotFoundError(UsageError):
    """A model, file or repository that does not exist."""


class MissingExtraError(UsageError):
    """A feature whose optional dependency is not installed."""


class SpecMismatchError(ZooError):
    """Tokens or weights that were not made by this very tokenizer."""


class UnsafeFileError(ZooError):
    """A checkpoint that would have to run code to be read, or whose bytes are not as recorded."""


def nearest(name: str, names: Iterable[str]) -> str | None:
    """A "did you mean" hint, or None when nothing comes close."""
    close = difflib.get_close_matches(name, list(names), n=3, cutoff=0.5)
    return f"did you mean {' or '.join(repr(c) for c in close)}?" if close else None
