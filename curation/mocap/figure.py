"""One posture of a motion as a picture: a stick figure on a floor of half-metre tiles.

The camera looks down a little from the front left of where the body faces and follows it. The
left side is orange, the right side blue, the middle dark; what is nearer covers what is farther,
and the shadow says how high above the floor a part is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from catalogs.errors import NotFoundError
from curation.mocap.augment import mirror_partners
from curation.mocap.body import Body, body_of
from curation.mocap.curves import smoothed
from curation.mocap.mapping import find_mapping
from curation.mocap.skeleton import Motion

__all__ = ["Figure"]

Array = npt.NDArray[np.floating]
Line = tuple[Array, Array, str]

_PAPER, _TILE, _SHADOW = (255, 255, 255), ((226, 230, 235), (242, 244, 246)), "#c3c9d1"
_MIDDLE, _LEFT, _RIGHT, _OUTLINE = "#30363d", "#d9730d", "#2468c9", "#ffffff"
_TILE_M = 0.5
_PITCH, _YAW = np.radians(16), np.radians(38)
_FOLLOW_S = 0.5
_SMOOTH = 3
"""Pictures are drawn that many times larger and then reduced, for smooth edges."""
_TYPICAL_M = 1.7
_HEAD_M, _HEAD_ABOVE_M = 0.105, 0.09
"""Radius of the head, and its middle above the joint, of a typical body."""


@dataclass(frozen=True)
class _View:
    """An orthographic view on `centre`, `span` metres wide and high."""

    centre: Array
    yaw: float
    span: float
    size: int

    def pixels(self, points: Array) -> Array:
        """(..., 2) places in the picture of world points (..., 3)."""
        x, y, z = np.moveaxis(points - self.centre, -1, 0)
        across = x * np.cos(self.yaw) - z * np.sin(self.yaw)
        up = y * np.cos(_PITCH) - self._towards(x, z) * np.sin(_PITCH)
        scale = self.size / self.span
        return np.stack([self.size / 2 + across * scale, self.size / 2 - up * scale], axis=-1)

    def nearness(self, points: Array) -> Array:
        """How near to the camera world points (..., 3) are, in metres."""
        x, y, z = np.moveaxis(points - self.centre, -1, 0)
        return self._towards(x, z) * np.cos(_PITCH) + y * np.sin(_PITCH)

    def _towards(self, x: Array, z: Array) -> Array:
        return x * np.sin(self.yaw) + z * np.cos(self.yaw)


class Figure:
    """Draws the frames of one motion, all at the same scale and from the same side."""

    def __init__(self, motion: Motion, size: int):
        self._motion = motion
        self._size = size
        self._body = body_of(motion)
        self._floor = _floor(motion, self._body)
        self._path = _path(motion)
        self._top, self._span = _extent(motion, self._path, self._floor)
        self._yaw = _YAW + _mean_heading(self._body)
        self._colours = _side_colours(motion)
        self._hidden = _carriers(motion)

    def draw(self, frame: int) -> Image.Image:
        size = self._size * _SMOOTH
        x, z = self._path[frame]
        middle = np.array([x, self._floor + self._top / 2, z])
        view = _View(middle, self._yaw, self._span, size)
        image = Image.new("RGB", (size, size), _PAPER)
        canvas = ImageDraw.Draw(image)
        self._draw_floor(canvas, view)
        head = self._head(frame)
        lines = [line for line in self._lines(frame) if not self._is_inside(line, head)]
        width = max(3 * _SMOOTH, size // 72)
        self._draw_shadow(canvas, view, lines, head, width)
        self._draw_lines(canvas, view, lines, head, width)
        return image.reduce(_SMOOTH)

    # -- what there is to draw -----------------------------------------------------------

    def _lines(self, frame: int) -> list[Line]:
        """Bones and what hangs on their ends, with colours; gaps are left out."""
        skeleton, joints = self._motion.skeleton, self._motion.joints[frame]
        ends = self._motion.end_sites[frame]
        pairs = [
            (joints[parent], joints[child], self._colours[child])
            for parent, child in skeleton.bones
            if parent not in self._hidden
        ]
        pairs += [
            (joints[carrier], end, self._colours[carrier])
            for carrier, end in zip(skeleton.end_parents, ends, strict=True)
        ]
        if not pairs:
            pairs = [(joint, joint, c) for joint, c in zip(joints, self._colours, strict=True)]
        return [(a, b, c) for a, b, c in pairs if np.isfinite([*a, *b]).all()]

    def _head(self, frame: int) -> Array | None:
        """The middle of the head."""
        if self._body is None:
            return None
        neck, head = self._body["neck"][frame], self._body["head"][frame]
        direction = head - neck
        length = np.linalg.norm(direction)
        if not np.isfinite(length) or length < 1e-6:
            return None
        return head + direction / length * _HEAD_ABOVE_M * self._stature_share

    def _is_inside(self, line: Line, head: Array | None) -> bool:
        """Whether a line, such as one to the top of the skull, is covered by the head."""
        if head is None:
            return False
        return bool(np.linalg.norm((line[0] + line[1]) / 2 - head) < _HEAD_M * self._stature_share)

    @property
    def _stature_share(self) -> float:
        return 1.0 if self._body is None else self._body.stature / _TYPICAL_M

    # -- drawing -------------------------------------------------------------------------

    def _draw_floor(self, canvas: ImageDraw.ImageDraw, view: _View) -> None:
        """Tiles that fade away from the middle; they lie still while the camera follows."""
        reach = 0.75 * view.span
        x, _, z = view.centre
        for i in range(int((x - reach) // _TILE_M), int((x + reach) // _TILE_M) + 1):
            for j in range(int((z - reach) // _TILE_M), int((z + reach) // _TILE_M) + 1):
                middle = np.hypot((i + 0.5) * _TILE_M - x, (j + 0.5) * _TILE_M - z)
                strength = 1 - (middle / reach) ** 2
                if strength > 0:
                    corners = [(i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1)]
                    points = np.array([[a * _TILE_M, self._floor, b * _TILE_M] for a, b in corners])
                    canvas.polygon(
                        [tuple(p) for p in view.pixels(points)],
                        fill=_faded(_TILE[(i + j) % 2], strength),
                    )

    def _draw_shadow(
        self,
        canvas: ImageDraw.ImageDraw,
        view: _View,
        lines: list[Line],
        head: Array | None,
        width: int,
    ) -> None:
        def below(point: Array) -> Array:
            return np.array([point[0], self._floor, point[2]])

        for a, b, _ in lines:
            start, end = view.pixels(np.stack([below(a), below(b)]))
            _line(canvas, start, end, _SHADOW, width)
        if head is not None:
            radius = _HEAD_M * self._stature_share * view.size / view.span
            x, y = view.pixels(below(head))
            flat = radius * np.sin(_PITCH)
            canvas.ellipse((x - radius, y - flat, x + radius, y + flat), fill=_SHADOW)

    def _draw_lines(
        self,
        canvas: ImageDraw.ImageDraw,
        view: _View,
        lines: list[Line],
        head: Array | None,
        width: int,
    ) -> None:
        """From far to near, each with an outline that parts it from what it covers."""
        parts = [(float(view.nearness((a + b) / 2)), (a, b, colour)) for a, b, colour in lines]
        drawn: list[tuple[float, Line | None]] = [*parts]
        if head is not None:
            drawn.append((float(view.nearness(head)), None))
        edge = max(2, width // 3)
        for _, part in sorted(drawn, key=lambda item: item[0]):
            if part is not None:
                a, b = view.pixels(np.stack(part[:2]))
                canvas.line([tuple(a), tuple(b)], fill=_OUTLINE, width=width + 2 * edge)
                _line(canvas, a, b, part[2], width)
            elif head is not None:
                radius = _HEAD_M * self._stature_share * view.size / view.span
                for grow, colour in ((edge, _OUTLINE), (0, _MIDDLE)):
                    _disc(canvas, view.pixels(head), radius + grow, colour)


def _line(canvas: ImageDraw.ImageDraw, a: Array, b: Array, colour: str, width: int) -> None:
    """A line with round ends."""
    canvas.line([tuple(a), tuple(b)], fill=colour, width=width)
    for end in (a, b):
        _disc(canvas, end, width / 2, colour)


def _disc(canvas: ImageDraw.ImageDraw, place: Array, radius: float, colour: str) -> None:
    x, y = place
    canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _faded(colour: tuple[int, int, int], strength: float) -> tuple[int, int, int]:
    red, green, blue = (
        round(paper + (tone - paper) * strength) for tone, paper in zip(colour, _PAPER, strict=True)
    )
    return red, green, blue


# -- what is the same in all frames ------------------------------------------------------


def _floor(motion: Motion, body: Body | None) -> float:
    if body is not None:
        return body.floor
    low = motion.joints[..., 1]
    seen = low[np.isfinite(low)]
    return float(np.percentile(seen, 1)) if len(seen) else 0.0


def _extent(motion: Motion, path: Array, floor: float) -> tuple[float, float]:
    """Height of what is to be seen, and the side of a square that holds it, in metres."""
    whole = np.isfinite(motion.joints).all(axis=(1, 2))
    if not whole.any():
        return _TYPICAL_M, 1.4 * _TYPICAL_M
    joints = motion.joints[whole]
    reach = np.linalg.norm(joints[..., [0, 2]] - path[whole, None], axis=-1).max(axis=1)
    highest = joints[..., 1].max(axis=1) - floor + _HEAD_M
    top = max(float(np.percentile(highest, 98)), 0.5)
    return top, max(1.35 * top, 2.3 * float(np.percentile(reach, 98)))


def _path(motion: Motion) -> Array:
    """(T, 2) where the camera looks, x and z: the middle of the joints, calmly followed."""
    seen = np.all(np.isfinite(motion.joints), axis=2)
    counts = np.maximum(seen.sum(axis=1), 1)[:, None]
    middle = np.where(seen[..., None], motion.joints, 0.0).sum(axis=1)[:, [0, 2]] / counts
    whole = np.flatnonzero(seen.any(axis=1))
    if not len(whole):
        return middle
    frames = np.arange(len(middle))
    filled = np.stack([np.interp(frames, whole, middle[whole, i]) for i in (0, 1)], axis=1)
    return smoothed(filled, float(motion.fps), _FOLLOW_S)


def _mean_heading(body: Body | None) -> float:
    """Where the body faces most of the time, in radians; 0 is +z."""
    if body is None:
        return 0.0
    seen = body.heading[np.isfinite(body.heading)]
    return float(np.arctan2(np.sin(seen).mean(), np.cos(seen).mean())) if len(seen) else 0.0


def _side_colours(motion: Motion) -> list[str]:
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
