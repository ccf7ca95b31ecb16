"""Do two decoders agree? A sample of frames read by both, timestamps and pixels compared.

PyAV seeks to each sampled frame and decord decodes up to it from the start, so agreement vouches
for the decoding and for the seeks. Run it under guard: decord can hang.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import UsageError
from curation.media.decode import read_exact, read_sequential
from curation.media.door import PathInput
from curation.media.errors import MediaError
from curation.media.probe import scan

__all__ = ["VerifyResult", "verify"]

_SHORT_SIDE = 144
_SAME_PICTURE = 6.0
"""Mean difference in grey levels (of 255) up to which two decoders show the same picture: they
round colours and scale differently; a neighbouring frame of moving footage differs more."""


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """How far the backends agree on a sample of one source."""

    frames: int
    """Sampled frames."""
    pts: tuple[int, ...]
    mean_difference_255: tuple[float, ...]
    """Mean absolute difference of each sampled frame, over pixels and channels."""
    unread: str | None
    """Why decord could not be asked, or None when it was; nothing is verified then."""

    @property
    def worst_difference_255(self) -> float:
        return max(self.mean_difference_255, default=0.0)

    @property
    def agrees(self) -> bool:
        """Whether both backends were asked and show the same pictures."""
        return self.unread is None and self.worst_difference_255 <= _SAME_PICTURE


def verify(path: PathInput, *, frames: int = 8, among_first: int = 1000) -> VerifyResult:
    """Compare `frames` frames, spread evenly over the first `among_first` ones.

    Raises `MediaError` when PyAV cannot read them or the backends disagree on time.
    """
    if frames < 1 or among_first < 1:
        raise UsageError(f"cannot sample {frames} of {among_first} frames", allowed="1 or more")
    all_pts = scan(path).index.pts[:among_first]
    chosen = np.unique(np.linspace(0, len(all_pts) - 1, frames).round().astype(int))
    pts = tuple(int(instant) for instant in all_pts[chosen])
    expected = read_exact(path, pts, short_side=_SHORT_SIDE, interpolation="bicubic")
    try:
        seen = _decord_frames(path, set(pts))
    except MediaError as error:
        if error.error_class == "mismatch":
            raise
        return VerifyResult(len(pts), pts, (), error.detail)
    differences = tuple(
        float(np.abs(image.astype(np.int16) - seen[instant]).mean())
        for instant, image in zip(pts, expected.images, strict=True)
    )
    return VerifyResult(len(pts), pts, differences, None)


def _decord_frames(path: PathInput, wanted: set[int]) -> dict[int, NDArray[np.uint8]]:
    found: dict[int, NDArray[np.uint8]] = {}
    with read_sequential(path, short_side=_SHORT_SIDE, backend="decord") as reader:
        for batch in reader:
            for pts, image in zip(batch.pts, batch.images, strict=True):
                if int(pts) in wanted:
                    found[int(pts)] = image
            if len(found) == len(wanted):
                break
    return found
