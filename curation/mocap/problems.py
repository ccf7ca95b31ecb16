"""The error that a damaged or unknown mocap file raises: where it is and why.

Its text is what quarantine shows, so it always names the line (or the array) and the offending
token, and it survives pickling between processes.
"""

from __future__ import annotations

from typing import Self

from catalogs.errors import ClipmillError

__all__ = ["MocapFileError"]


class MocapFileError(ClipmillError):
    """A mocap file that cannot be read as what it claims to be."""

    @classmethod
    def at(
        cls, line: int, reason: str, *, allowed: str | None = None, hint: str | None = None
    ) -> Self:
        """An error in line `line`, counted from 1."""
        return cls(f"line {line}: {reason}", allowed=allowed, hint=hint)
