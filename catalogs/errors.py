"""Errors as part of the interface.

Every error says what was wrong, what is allowed and what to do next. They cross process
borders (workers, guarded children), so they survive pickling with all three parts.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "ClipmillError",
    "ConflictError",
    "FormatError",
    "GateError",
    "LicenceError",
    "MissingExtraError",
    "NotFoundError",
    "QueryError",
    "RecipeError",
    "SchemaError",
    "UsageError",
    "nearest",
]


class ClipmillError(Exception):
    """The root of every error that clipmill raises on purpose.

    `problem` names the value that was wrong, `allowed` what would have been right and `hint`
    the next step. `exit_code` is what the command line returns: 1 failed, 2 wrong usage.
    """

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


def _rebuild(
    cls: type[ClipmillError], problem: str, allowed: str | None, hint: str | None
) -> ClipmillError:
    return cls(problem, allowed=allowed, hint=hint)


class UsageError(ClipmillError):
    """The caller asked for something that cannot be: a wrong argument, option or name."""

    exit_code = 2


class NotFoundError(UsageError):
    """A catalog, table, clip, selection or column that does not exist."""


class RecipeError(UsageError):
    """A recipe that cannot be run: an unknown key, operator, column or an ill-typed value."""


class GateError(RecipeError):
    """A gate whose SQL is refused, fails to bind or runs past its limits."""


class MissingExtraError(UsageError):
    """A feature whose optional dependency is not installed."""


class FormatError(ClipmillError):
    """A catalog written in a format that this version cannot read."""


class SchemaError(ClipmillError):
    """Rows that do not fit their table."""


class QueryError(ClipmillError):
    """SQL that DuckDB refused, with DuckDB's own words."""


class ConflictError(ClipmillError):
    """Another writer kept winning the race for the next commit."""


class LicenceError(ClipmillError):
    """An export or publication that a source's licence terms forbid."""


def nearest(name: str, candidates: Iterable[str], count: int = 3) -> str | None:
    """A `did you mean` hint for a mistyped name, or None when nothing is near."""
    matches = difflib.get_close_matches(name, list(candidates), n=count, cutoff=0.5)
    return f"did you mean {' or '.join(repr(match) for match in matches)}?" if matches else None
