"""Footage for the starter video tokenizer: rendered without end, and real clips read small.

Rendered clips are made of what natural footage is made of: textures whose spectrum falls as 1/f,
gradients, shapes with edges, writing and stripes, moved by pans, zooms and turns of the whole
picture and of things in it, with fades, noise and cuts. A clip is a function of its number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
Dice = np.random.Generator

CANVAS = 256
_TEXT = "the clip mill cuts long takes into short ones 0123456789 A B C and, so on?"


class RenderedClips(Sequence[Picture]):
    """Clips (frames, size, size, 3), rendered when asked for."""

    def __init__(self, count: int, frames: int, size: int, seed: int = 0):
        self.count, self.frames, self.size, self.seed = count, frames, size, seed
        dice = np.random.default_rng(seed)
        self._textures = [_texture(dice) for _ in range(48)]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: Any) -> Any:
        dice = np.random.default_rng((self.seed, index))
        first = self._scene(dice, self.frames)
        if dice.random() < 0.15:
            cut = int(dice.integers(1, self.frames))
            first = np.concatenate([first[:cut], self._scene(dice, self.frames - cut)])
        return _filmed(first, dice)

    def _scene(self, dice: Dice, frames: int) -> Picture:
        canvas = self._canvas(dice)
        things = [self._thing(dice) for _ in range(int(dice.integers(0, 4)))]
        camera = _path(dice, frames, self.size, speed=2.0 if dice.random() < 0.7 else 0.0)
        clip = np.stack([_warped(canvas, matrix, self.size) for matrix in camera])
        for picture, mask in things:
            for frame, matrix in zip(
                clip, _path(dice, frames, self.size, speed=3.0, closer=2.0), strict=True
            ):
                cover = _warped(mask, matrix, self.size, border=cv2.BORDER_CONSTANT)[..., None]
                moved = _warped(picture, matrix, self.size)
                frame[:] = np.where(cover > 127, moved, frame)
        return clip

    def _canvas(self, dice: Dice) -> Picture:
        canvas = self._surface(dice)
        for _ in range(int(dice.integers(0, 9))):
            _draw_shape(canvas, dice, self._surface(dice) if dice.random() < 0.5 else None)
        if dice.random() < 0.3:
            _draw_writing(canvas, dice)
        return canvas

    def _thing(self, dice: Dice) -> tuple[Picture, Picture]:
        mask = np.zeros((CANVAS, CANVAS), np.uint8)
        cv2.fillPoly(mask, [_outline(dice, (CANVAS // 2, CANVAS // 2), CANVAS // 6)], 255)
        return self._canvas(dice), mask

    def _surface(self, dice: Dice) -> Picture:
        """A texture in two colours, a gradient, stripes or a flat colour."""
        kind = dice.random()
        low, high = _colours(dice)
        if kind < 0.55:
            share = self._textures[int(dice.integers(len(self._textures)))]
            if dice.random() < 0.3:
                detail = self._textures[int(dice.integers(len(self._textures)))]
                share = np.clip(share + (np.roll(detail, 31, 1) - 0.5) * 0.5, 0, 1)
        elif kind < 0.75:
            across, down = np.meshgrid(*[np.linspace(-1, 1, CANVAS)] * 2)
            angle = dice.uniform(0, 2 * np.pi)
            share = 0.5 + 0.5 * np.clip(across * np.cos(angle) + down * np.sin(angle), -1, 1)
        elif kind < 0.87:
            across, down = np.meshgrid(*[np.arange(CANVAS)] * 2)
            angle, wave = dice.uniform(0, 2 * np.pi), dice.uniform(0.1, 1.2)
            share = 0.5 + 0.5 * np.sin((across * np.cos(angle) + down * np.sin(angle)) * wave)
            if dice.random() < 0.5:
                share = (share > 0.5).astype(float)
        else:
            share = np.zeros((CANVAS, CANVAS))
        mixed = low + (high - low) * share[..., None]
        return np.ascontiguousarray(np.clip(mixed, 0, 255).astype(np.uint8))


def read_small(path: Path, side: int, *, every: int = 1) -> Iterator[Picture]:
    """Every n-th frame of a video in RGB, its shorter side `side` pixels."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        for number, frame in enumerate(container.decode(stream)):
            if number % every:
                continue
            scale = side / min(frame.width, frame.height)
            size = (max(side, round(frame.width * scale)), max(side, round(frame.height * scale)))
            yield cv2.resize(frame.to_ndarray(format="rgb24"), size, interpolation=cv2.INTER_AREA)


def excerpts(path: Path, *, size: int, frames: int, apart: int, most: int) -> list[Picture]:
    """The middle squares of up to `most` runs of frames, one every `apart` frames."""
    found: list[Picture] = []
    run: list[Picture] = []
    for number, frame in enumerate(read_small(path, size)):
        if number % apart >= frames:
            continue
        top, left = (frame.shape[0] - size) // 2, (frame.shape[1] - size) // 2
        run.append(frame[top : top + size, left : left + size])
        if len(run) == frames:
            found.append(np.stack(run))
            run = []
            if len(found) == most:
                break
    return found


def _texture(dice: Dice) -> npt.NDArray[np.float64]:
    """Noise of spectrum 1/f^a in 0..1, sometimes stretched in one direction."""
    rows, columns = np.meshgrid(*[np.fft.fftfreq(CANVAS)] * 2, indexing="ij")
    stretch = dice.uniform(0.3, 3.0)
    distance = np.hypot(rows * stretch, columns / stretch)
    distance[0, 0] = 1.0
    spectrum = np.fft.fft2(dice.standard_normal((CANVAS, CANVAS)))
    noise = np.fft.ifft2(spectrum / distance ** dice.uniform(0.7, 1.8)).real
    noise = (noise - noise.mean()) / noise.std()
    return np.clip(0.5 + noise * dice.uniform(0.15, 0.35), 0, 1)


def _colours(dice: Dice) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Two colours that differ more in brightness than in hue, as those of most things do."""
    grey = dice.uniform(0, 255, 2)
    tint = dice.normal(0, 1, (2, 3)) * dice.choice([5.0, 20.0, 60.0])
    return grey[0] + tint[0], grey[1] + tint[1]


def _outline(dice: Dice, centre: tuple[int, int], reach: float) -> npt.NDArray[np.int32]:
    """A blob, or a polygon of few corners."""
    corners = int(dice.choice([3, 4, 5, 24]))
    angles = np.sort(dice.uniform(0, 2 * np.pi, corners)) if corners < 24 else None
    if angles is None:
        angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    radii = reach * (1 + 0.4 * np.sin(angles * int(dice.integers(1, 4)) + dice.uniform(0, 6)))
    stretch = dice.uniform(0.5, 2.0)
    points = np.stack([np.cos(angles) * radii * stretch, np.sin(angles) * radii / stretch], 1)
    return (points + centre).astype(np.int32)


def _draw_shape(canvas: Picture, dice: Dice, filling: Picture | None) -> None:
    centre = (int(dice.integers(CANVAS)), int(dice.integers(CANVAS)))
    points = [_outline(dice, centre, dice.uniform(6, 60))]
    if filling is None:
        colour = [int(value) for value in np.clip(_colours(dice)[0], 0, 255)]
        cv2.fillPoly(canvas, points, colour, lineType=cv2.LINE_AA)
        return
    mask = np.zeros(canvas.shape[:2], np.uint8)
    cv2.fillPoly(mask, points, 255)
    canvas[mask > 0] = filling[mask > 0]


def _draw_writing(canvas: Picture, dice: Dice) -> None:
    colour = [int(value) for value in np.clip(_colours(dice)[1], 0, 255)]
    height, thick = dice.uniform(0.4, 1.2), int(dice.integers(1, 3))
    for row in range(int(dice.integers(10, 40)), CANVAS, int(30 * height) + 4):
        text = " ".join(dice.choice(_TEXT.split(), 6))
        at = (int(dice.integers(0, 20)), row)
        cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, height, colour, thick, cv2.LINE_AA)


def _path(
    dice: Dice, frames: int, size: int, *, speed: float, closer: float = 1.0
) -> Iterator[npt.NDArray[np.float64]]:
    """Matrices from canvas to picture: a smooth pan, zoom and turn."""
    at = dice.uniform(CANVAS * 0.35, CANVAS * 0.65, 2)
    pace = dice.normal(0, 1, 2) * speed * dice.random()
    angle, turn = dice.uniform(-180, 180), dice.normal(0, 1.5) * speed * dice.random()
    zoom, growth = dice.uniform(0.4, 1.5) / closer, np.exp(dice.normal(0, 0.01) * speed)
    shift = np.array([size / 2, size / 2]) - at
    if closer > 1:
        shift += dice.uniform(-size / 3, size / 3, 2)
    for _ in range(frames):
        matrix = cv2.getRotationMatrix2D((float(at[0]), float(at[1])), angle, zoom)
        matrix[:, 2] += shift
        yield matrix
        shift, angle, zoom = shift + pace, angle + turn, zoom * growth


def _warped(
    picture: Picture, matrix: npt.NDArray[Any], size: int, border: int = cv2.BORDER_REFLECT
) -> Picture:
    return cv2.warpAffine(picture, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=border)


def _filmed(clip: Picture, dice: Dice) -> Picture:
    """Blur, noise and change of light of a camera."""
    if dice.random() < 0.25:
        blur = dice.uniform(0.5, 1.5)
        clip = np.stack([cv2.GaussianBlur(frame, (0, 0), blur) for frame in clip])
    light = np.linspace(1, dice.uniform(0.3, 1.3), len(clip)) if dice.random() < 0.15 else 1.0
    grain = dice.normal(0, dice.uniform(0, 5), clip.shape) if dice.random() < 0.4 else 0.0
    lit = clip * np.reshape(light, (-1, 1, 1, 1)) + grain
    return np.clip(lit, 0, 255).astype(np.uint8)
