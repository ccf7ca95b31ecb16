"""What the one pass measures: every signal with its unit and meaning.

The table is the contract between the pass, the catalog and whoever reads stored signals. A change
of how a number is computed raises `NUMBERS_VERSION`, so that stored and fresh numbers are never
mixed; that, or something more that is stored, raises `SET_VERSION`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = [
    "DETAILS_PER_SECOND",
    "NUMBERS_VERSION",
    "READABLE_VERSIONS",
    "SET_VERSION",
    "SIGNALS",
    "Signal",
]

SET_VERSION = 3
"""What the pass stores now: since 2 also hashes of pictures, since 3 of what is inside bars too."""

NUMBERS_VERSION = 1
READABLE_VERSIONS = (1, 2, 3)
"""Sets whose numbers are those of `NUMBERS_VERSION`: they can be cut and scored together."""

DETAILS_PER_SECOND = 4
"""How often a frame is looked at in its native size."""

Storage = Literal["float16", "float32", "int64"]
Rate = Literal["frame", "detail"]


@dataclass(frozen=True, slots=True)
class Signal:
    """One number per frame."""

    name: str
    unit: str
    meaning: str
    storage: Storage = "float16"
    """`float16` values are rounded to that precision and held as float32."""
    step: float = 0.0
    """Values are rounded to multiples of this, for digits that measure nothing cost space."""
    rate: Rate = "frame"
    """`detail` signals are measured on the first frame of every quarter second, NaN between."""


_DECLARED = (
    Signal("hue_delta", "0..180", "mean |change| of HSV hue since the frame before", "float32"),
    Signal("sat_delta", "0..255", "mean |change| of HSV saturation since the frame before",
           "float32"),
    Signal("lum_delta", "0..255", "mean |change| of HSV value since the frame before", "float32"),
    Signal("edge_delta", "0..255", "mean |change| of dilated Canny edges; only when asked for",
           "float32"),
    Signal("rgb_mean", "0..255", "mean of all red, green and blue samples", "float32"),
    Signal("hist_correlation", "-1..1", "correlation of luma histograms with the frame before",
           "float32"),
    Signal("phash", "64 bits", "perceptual hash: signs of the low DCT terms against their median",
           "int64"),
    Signal("transnet_cut", "0..1", "probability by TransNetV2 that a shot ends with this frame; "
           "only when asked for", step=1 / 256),
    Signal("luma_mean", "0..255", "mean luma", step=1 / 16),
    Signal("luma_std", "0..255", "standard deviation of luma over the frame", step=1 / 16),
    Signal("dark_share", "0..1", "share of pixels with luma below 16", step=1 / 256),
    Signal("bright_share", "0..1", "share of pixels with luma of 236 and above", step=1 / 256),
    Signal("unexplained", "0..255", "mean change that no local motion explains: how far samples "
           "leave the range of their neighbourhood in the other frame", step=1 / 32),
    Signal("unexplained_share", "0..1", "share of the frame where that change is above 8",
           step=1 / 256),
    Signal("pan", "% of width per frame", "camera travel, right positive", step=1 / 64),
    Signal("tilt", "% of width per frame", "camera travel, down positive", step=1 / 64),
    Signal("zoom", "% per frame", "growth of the picture, zooming in positive", step=1 / 64),
    Signal("roll", "degrees per frame", "turn of the camera, clockwise positive (the picture turns "
           "the other way)", step=1 / 64),
    Signal("motion", "% of width per frame", "mean length of local motion, camera included",
           step=1 / 64),
    Signal("residual_motion", "% of width per frame", "the same after the camera is taken out",
           step=1 / 64),
    Signal("sharpness", "luma^2", "variance of the Laplacian of luma, longer side at 320 pixels",
           rate="detail"),
    Signal("text_likeness", "0..1", "share of the frame covered by runs of strong thin strokes",
           rate="detail"),
    Signal("colourfulness", "0..~150", "spread and offset of the opponent colours", rate="detail"),
    Signal("blockiness", "ratio", "luma steps at 8-pixel block borders over steps beside them",
           rate="detail"),
    Signal("noise", "0..255", "standard deviation of pixel noise at native size", rate="detail"),
    Signal("bar_top", "0..1", "height of a flat dark bar at the top, of frame height",
           rate="detail"),
    Signal("bar_bottom", "0..1", "the same at the bottom", rate="detail"),
    Signal("bar_left", "0..1", "width of a flat dark bar at the left, of frame width",
           rate="detail"),
    Signal("bar_right", "0..1", "the same at the right", rate="detail"),
)  # fmt: skip

SIGNALS: dict[str, Signal] = {signal.name: signal for signal in _DECLARED}
