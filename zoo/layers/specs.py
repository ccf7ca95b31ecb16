"""The two specs that most families give: pictures frame by frame, and clips window by window.

Both go through a stream in constant memory, because neither looks beyond its frame or window.
"""

from __future__ import annotations

import math

from zoo.layers.quantizers import Quantizer
from zoo.spec import Axis, LengthRule, StreamSpec, TokenizerSpec

__all__ = ["divided_spec", "grid_stream", "image_spec", "window_spec"]


def image_spec(
    *streams: StreamSpec, multiple: int, size: tuple[int, int] | None = None
) -> TokenizerSpec:
    """Every frame on its own."""
    return TokenizerSpec(
        modality="image",
        channels=3,
        length=LengthRule(1, 1),
        streams=streams,
        size=size,
        multiple=multiple,
        value_range=(-1.0, 1.0),
        causal=True,
        streaming=True,
    )


def window_spec(
    frames: int, *streams: StreamSpec, multiple: int, size: tuple[int, int] | None = None
) -> TokenizerSpec:
    """Every window of `frames` on its own."""
    return TokenizerSpec(
        modality="video",
        channels=3,
        length=LengthRule(frames, frames),
        streams=streams,
        size=size,
        multiple=multiple,
        value_range=(-1.0, 1.0),
        streaming=True,
    )


def divided_spec(quantizer: Quantizer, frames: int, factors: tuple[int, int, int]) -> TokenizerSpec:
    """Windows of `frames` whose time, rows and columns are divided by `factors`."""
    time, rows, columns = factors
    axes = Axis("h", stride=rows), Axis("w", stride=columns)
    stream = grid_stream(quantizer, *axes, positions=frames // time)
    return window_spec(frames, stream, multiple=math.lcm(rows, columns))


def grid_stream(
    quantizer: Quantizer, *axes: Axis, name: str = "tokens", positions: int = 1, ordered: str = ""
) -> StreamSpec:
    """What `quantizer` gives on a grid, with `positions` in time for each step of the rule."""
    if not ordered and quantizer.nested:
        ordered = "level"
    return StreamSpec(
        name, axes, positions, positions, quantizer.levels, quantizer.channels, ordered
    )
