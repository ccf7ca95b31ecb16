"""The error that a damaged or unknown mocap file raises: where it is and why.

Its text is what quarantine shows, so it always names the line (or the array) and the offending
token, and it survives pickling between processes.
"""

from __future__ import annotations

from typing import Self

import numpy as np
import numpy.typing as npt

from catalogs.errors import ClipmillError

__all__ = ["LARGEST", "MocapFileError", "check_plausible"]

LARGEST = 1e9
"""No position in any unit and no angle is larger."""


class MocapFileError(ClipmillError):
    """A mocap file that cannot be read as what it claims to be."""

    @classmethod
    def at(
        cls, line: int, reason: str, *, allowed: str | None = None, hint: str | None = None
    ) -> Self:
        """An error in line `line`, counted from 1."""
        return cls(f"line {line}: {reason}", allowed=allowed, hint=hint)


def check_plausible(values: npt.NDArray[np.floating]) -> None:
    """Refuse infinite and absurd numbers, naming the first frame that holds one.

    NaN passes: it stands for what was not seen.
    """
    with np.errstate(invalid="ignore"):
        absurd = np.abs(values) > LARGEST
    if absurd.any():
        frame = int(np.argwhere(absurd)[0][0])
        raise MocapFileError(
            f"frame {frame} holds the number {values[absurd][0]:.3g}",
            allowed=f"numbers of at most {LARGEST:.0e}",
            hint="the file is damaged: fetch it again",
        )
