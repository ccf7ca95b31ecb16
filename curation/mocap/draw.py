"""Stick figures on a floor: a motion as PNG, GIF or MP4, for eyes and for the viewer.

    >>> draw_motion(take.motion, Path("walk.gif"))
    >>> draw_motion(take.motion, Path("walk.png"))      # a strip of postures along the way

The left side is orange, the right side blue, the middle dark. The camera looks down a little from
the front left and follows the body; one floor tile is half a metre.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from catalogs.errors import NotFoundError, UsageError
from curation.mocap.augment import mirror_partners
from curation.mocap.mapping import find_mapping
from curation.mocap.skeleton import Motion

__all__ = ["draw_motion", "draw_pose"]

Array = npt.NDArray[np.floating]
_PAPER, _TILE, _MIDDLE, _LEFT, _RIGHT = "#ffffff", "#dfe3e8", "#30363d", "#d9730d", "#2468c9"
_TILE_M = 0.5
_PITCH, _YAW = np.radians(14), np.radians(35)
_MAX_FPS = 30
_STRIP_POSES = 8


@dataclass(frozen=True)
class _Camera:
    """An orthographic view on `centre`, `span` metres wide and high."""

    centre: Array
    span: float
    size: int

    def pixels(self, points: Array) -> Array:
        """(..., 2) places in the picture of world points (..., 3)."""
        x, y, z = np.moveaxis(points - self.centre, -1, 0)
        across = x * np.cos(_YAW) - z * np.sin(_YAW)
        away = x * np.sin(_YAW) + z * np.cos(_YAW)
        up = y * np.cos(_PITCH) - away * np.sin(_PITCH)
        scale = self.size / self.span
        return np.stack([self.size / 2 + across * scale, self.size / 2 - up * scale], axis=-1)


def draw_motion(
    motion: Motion, path: Path, *, size: int = 384, fps: Fraction | None = None
) -> Path:
    """Write the motion as the picture or film that the name's ending asks for.

    Films are at most 30 frames per second; a faster motion is thinned out, its speed kept.
    """
    suffix = path.suffix.lower()
    if suffix not in {".png", ".gif", ".mp4"}:
        raise UsageError(f"cannot draw a motion as {path.name}", allowed=".png, .gif or .mp4")
    if suffix == ".png":
        _strip(motion, size).save(path)
        return path
    step = max(1, -(-motion.fps // (fps or _MAX_FPS)))
    rate = motion.fps / step
    frames = [draw_pose(motion, frame, size) for frame in range(0, len(motion), int(step))]
    if suffix == ".gif":
        frames[0].save(
            path,
            save_all=True,
            append_images=frames[1:],
            duration=round(1000 / rate),
            loop=0,
        )
    else:
        _write_mp4(frames, path, Fraction(rate))
    return path


def draw_pose(motion: Motion, frame: int, size: int = 384) -> Image.Image:
    """One frame of the motion."""
    image = Image.new("RGB", (size, size), _PAPER)
    joints = motion.joints[frame]
    camera = _Camera(_centre(joints, _floor(motion)), _span(motion), size)
    canvas = ImageDraw.Draw(image)
    _draw_floor(canvas, camera, joints, _floor(motion))
    _draw_body(canvas, camera, motion, frame)
    return image


def _strip(motion: Motion, size: int) -> Image.Image:
    """Postures side by side, evenly spread over the take."""
    count = min(_STRIP_POSES, len(motion))
    shown = np.linspace(0, len(motion) - 1, count).round().astype(int)
    width = size // 2
    strip = Image.new("RGB", (width * count, size), _PAPER)
    for place, frame in enumerate(shown.tolist()):
        pose = draw_pose(motion, frame, size).crop((size // 4, 0, size // 4 + width, size))
        strip.paste(pose, (place * width, 0))
    return strip


def _floor(motion: Motion) -> float:
    low = motion.joints[..., 1]
    seen = low[np.isfinite(low)]
    return float(np.percentile(seen, 1)) if len(seen) else 0.0


def _centre(joints: Array, floor: float) -> Array:
    seen = joints[np.isfinite(joints).all(axis=-1)]
    middle = seen.mean(axis=0) if len(seen) else np.zeros(3)
    return np.array([middle[0], floor + 0.9, middle[2]])


def _span(motion: Motion) -> float:
    """Metres to show: enough for raised arms."""
    seen = motion.joints[np.isfinite(motion.joints).all(axis=(1, 2))]
    if not len(seen):
        return 2.4
    return max(2.4, 1.25 * float(np.percentile(np.ptp(seen, axis=1).max(axis=-1), 95)))


def _draw_floor(canvas: ImageDraw.ImageDraw, camera: _Camera, joints: Array, floor: float) -> None:
    x, _, z = camera.centre
    reach = np.ceil(camera.span / _TILE_M) * _TILE_M
    low, high = np.floor((x - reach) / _TILE_M), np.ceil((x + reach) / _TILE_M)
    near, far = np.floor((z - reach) / _TILE_M), np.ceil((z + reach) / _TILE_M)
    lines = [((i, near), (i, far)) for i in np.arange(low, high + 1)]
    lines += [((low, i), (high, i)) for i in np.arange(near, far + 1)]
    for ends in lines:
        points = np.array([[a * _TILE_M, floor, b * _TILE_M] for a, b in ends])
        canvas.line([tuple(point) for point in camera.pixels(points)], fill=_TILE)


def _draw_body(canvas: ImageDraw.ImageDraw, camera: _Camera, motion: Motion, frame: int) -> None:
    skeleton = motion.skeleton
    places = camera.pixels(motion.joints[frame])
    sides = _sides(motion)
    width = max(2, camera.size // 90)
    hidden = _carriers(motion)
    for parent, child in skeleton.bones:
        if np.isfinite(places[[parent, child]]).all() and parent not in hidden:
            line = [tuple(places[parent]), tuple(places[child])]
            canvas.line(line, fill=sides[child], width=width)
    tips = camera.pixels(motion.end_sites[frame])
    for carrier, tip in zip(skeleton.end_parents, tips, strict=True):
        if np.isfinite([*places[carrier], *tip]).all():
            canvas.line([tuple(places[carrier]), tuple(tip)], fill=sides[carrier], width=width)
    for joint, (place, colour) in enumerate(zip(places, sides, strict=True)):
        if np.isfinite(place).all() and joint not in hidden:
            x, y = place
            canvas.ellipse([x - width, y - width, x + width, y + width], fill=colour)


def _sides(motion: Motion) -> list[str]:
    """A colour for each joint, by the letter in which its name differs from its twin's."""
    names = motion.skeleton.names
    colours = []
    for name, partner in zip(names, mirror_partners(motion.skeleton), strict=True):
        letters = [a for a, b in zip(name, names[partner], strict=False) if a != b]
        side = letters[0].lower() if letters else ""
        colours.append({"l": _LEFT, "r": _RIGHT}.get(side, _MIDDLE))
    return colours


def _carriers(motion: Motion) -> set[int]:
    """Joints above the pelvis, such as a reference on the floor: no part of the body."""
    try:
        joint = find_mapping(motion.skeleton).sources[0][1]
    except NotFoundError:
        return set()
    above = set()
    while (joint := int(motion.skeleton.parents[joint])) >= 0:
        above.add(joint)
    return above


def _write_mp4(frames: list[Image.Image], path: Path, fps: Fraction) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height = (side - side % 2 for side in frames[0].size)
        stream.pix_fmt = "yuv420p"
        for image in frames:
            picture = av.VideoFrame.from_image(image.crop((0, 0, stream.width, stream.height)))
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
