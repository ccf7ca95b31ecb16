"""Decoded frames as arrays, in the orientation and proportions in which they are displayed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import UsageError
from curation.media.geometry import Geometry

__all__ = ["FrameBatch", "FrameConverter", "Interpolation", "PixelFormat", "batch_of", "rotated"]

PixelFormat = Literal["rgb24", "gray", "yuv420p"]
Interpolation = Literal["area", "fast_bilinear", "bilinear", "bicubic", "point"]

_STUDIO_RANGE = 1


@dataclass(frozen=True, slots=True, eq=False)
class FrameBatch:
    """Consecutive frames of one stream."""

    pts: NDArray[np.int64]
    """Strictly ascending, in the stream's time base."""
    images: NDArray[np.uint8]
    """rgb24: (N, height, width, 3). gray: (N, height, width), full range. yuv420p: the planes
    stacked as I420, (N, height * 3 // 2, width), studio range: what OpenCV's YUV2BGR_I420 takes."""
    keyframe: NDArray[np.bool_]
    motion_vectors: tuple[NDArray[Any] | None, ...] | None = None
    """Per frame, the codec's own vectors (structured array, coded pixels, not rotated); None for
    a frame that carries none."""

    def __len__(self) -> int:
        return len(self.pts)


def batch_of(frames: list[tuple[int, NDArray[np.uint8], bool, Any]], vectors: bool) -> FrameBatch:
    """Stack `(pts, image, keyframe, motion vectors)` of one or more frames."""
    return FrameBatch(
        np.array([pts for pts, _, _, _ in frames], np.int64),
        np.stack([image for _, image, _, _ in frames]),
        np.array([key for _, _, key, _ in frames], np.bool_),
        tuple(field for _, _, _, field in frames) if vectors else None,
    )


class FrameConverter:
    """Turns decoded frames of one stream into arrays of one fixed shape.

    Scaling happens while the pixel format is converted, in one thread: swscale's own threads
    cost more to wake than a small picture costs to make.
    """

    def __init__(
        self,
        geometry: Geometry,
        pixel_format: PixelFormat,
        short_side: int | None,
        interpolation: Interpolation,
    ):
        from av.video.reformatter import Interpolation as Scaler
        from av.video.reformatter import VideoReformatter

        if pixel_format not in ("rgb24", "gray", "yuv420p"):
            raise UsageError(
                f"pixel format {pixel_format!r} is unknown", allowed="rgb24, gray, yuv420p"
            )
        small = short_side is not None
        self.width, self.height = geometry.fit(short_side, small or pixel_format == "yuv420p")
        self._format = pixel_format
        self._rotation = geometry.rotation_deg
        self._decoded_size = (
            (self.height, self.width) if geometry.turned else (self.width, self.height)
        )
        self._scaler = int(Scaler[interpolation.upper()])
        self._reformatter = VideoReformatter()

    def __call__(self, frame: Any) -> NDArray[np.uint8]:
        width, height = self._decoded_size
        scaled = self._reformatter.reformat(
            frame,
            width,
            height,
            self._format,
            interpolation=self._scaler,
            dst_color_range=_STUDIO_RANGE if self._format == "yuv420p" else None,
            threads=1,
        )
        image: NDArray[np.uint8] = np.asarray(scaled.to_ndarray(), np.uint8)
        if not self._rotation:
            return image
        if self._format == "yuv420p":
            return _rotated_i420(image, width, height, self._rotation)
        return rotated(image, self._rotation)


def rotated(image: NDArray[np.uint8], clockwise_deg: int) -> NDArray[np.uint8]:
    """The picture turned by quarter turns."""
    return np.rot90(image, k=-(clockwise_deg // 90))


def _rotated_i420(
    image: NDArray[np.uint8], width: int, height: int, clockwise_deg: int
) -> NDArray[np.uint8]:
    luma = rotated(image[:height], clockwise_deg)
    chroma = image[height:].reshape(2, height // 2, width // 2)
    turned = [rotated(plane, clockwise_deg).ravel() for plane in chroma]
    stacked = np.concatenate([luma.ravel(), *turned])
    return stacked.reshape(luma.shape[0] * 3 // 2, luma.shape[1])
