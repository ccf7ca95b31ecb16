"""How a clip becomes the arrays that a tokenizer takes; its hash stands beside every token.

    Transform(fps=Fraction(24), size=(128, 128), window=17)

Two clips that went through equal transforms can be batched; tokens made through another one are
other tokens, even from the same tokenizer.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, Literal

from catalogs.errors import UsageError

__all__ = ["Fit", "Tail", "Transform"]

Fit = Literal["crop", "bucket"]
Tail = Literal["keep", "drop"]

_DIGITS = 32


@dataclass(frozen=True)
class Transform:
    """Rate, size and windows.

    `fps` None takes every frame as it is. `crop` scales frames until they cover `size` (height,
    width) and crops the middle; `bucket` keeps the aspect: the shorter side becomes `size[0]`, and
    both sides are cropped to a `multiple`, so that clips of like shape make batches. `window`
    frames are encoded together, the next window begins `stride` frames later; None takes the whole
    clip. A shorter last window is kept or dropped (`tail`). `features` names what a take is turned
    into; it is empty for video.
    """

    fps: Fraction | None = None
    size: tuple[int, int] | None = None
    fit: Fit = "crop"
    multiple: int = 1
    window: int | None = None
    stride: int | None = None
    tail: Tail = "keep"
    features: str = ""

    def __post_init__(self) -> None:
        if self.fps is not None and self.fps <= 0:
            raise UsageError(f"{self.fps} frames a second", allowed="more than 0")
        if self.size is not None and min(self.size) < 1:
            raise UsageError(f"frames of {self.size[0]}x{self.size[1]}", allowed="1x1 or more")
        if self.window is not None and self.window < 1:
            raise UsageError(f"windows of {self.window} frames", allowed="1 or more")
        if self.stride is not None and (self.window is None or self.stride < 1):
            raise UsageError(
                f"a stride of {self.stride} frames", allowed="1 or more, together with a window"
            )

    def windows(self, frames: int) -> list[tuple[int, int]]:
        """(start, end) of each window of a clip of so many frames."""
        if self.window is None or frames < 1:
            return [(0, frames)] if frames > 0 else []
        stride = self.stride or self.window
        cut: list[tuple[int, int]] = []
        for start in range(0, frames, stride):
            end = min(start + self.window, frames)
            whole = end - start == self.window
            if (whole or self.tail == "keep") and (not cut or end > cut[-1][1]):
                cut.append((start, end))
        return cut

    def picture_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the frames made of a source of this displayed size."""
        if self.size is None:
            rows, columns = height, width
        elif self.fit == "crop":
            return self.size
        else:
            scale = Fraction(self.size[0], min(height, width))
            rows, columns = round(height * scale), round(width * scale)
        down = (max(self.multiple, side - side % self.multiple) for side in (rows, columns))
        return next(down), next(down)

    @cached_property
    def hash(self) -> str:
        text = json.dumps(self.to_json(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]

    def to_json(self) -> dict[str, Any]:
        return {
            "fps": str(self.fps) if self.fps else None,
            "size": list(self.size) if self.size else None,
            "fit": self.fit,
            "multiple": self.multiple,
            "window": self.window,
            "stride": self.stride or self.window,
            "tail": self.tail,
            "features": self.features,
        }
