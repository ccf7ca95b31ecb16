"""Procedural scenes: textured, coloured worlds seen by a camera whose motion is known.

A scene is a painted canvas (fractal noise under three colours, shapes on top) larger than the
picture, and a rule that shows a part of it for every frame number. Seeds step through hues by the
golden ratio, so neighbouring seeds look nothing alike. Camera scenes carry a little grain, as
footage does; slides and screens carry none.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalogs.testing.overlays import draw_bars, screen_painter, slide_painter, subtitle_painter

__all__ = ["Picture", "Scene", "build_scene"]

Picture = NDArray[np.uint8]
"""(height, width, 3) RGB."""

GOLDEN_RATIO = 0.618034
GRAIN_SIGMA = 2.5
CANVAS_SCALE = 2
"""Canvas over picture size: room for zooms and turns; pans wrap around."""
FLASH_FRAMES = 2
OCTAVES = 7


@dataclass(frozen=True)
class Scene:
    """A picture for every frame number from 0, also past the end of its shot."""

    frame: Callable[[int], Picture]
    params: dict[str, Any] = field(default_factory=dict)
    flashes: tuple[int, ...] = ()


def build_scene(kind: str, size: tuple[int, int], frames: int, seed: int) -> Scene:
    """The scene of one shot; `frames` only sets the pace of zooms and the place of a flash."""
    return BUILDERS[kind](_Setting(kind, size, frames, seed))


@dataclass(frozen=True)
class _Setting:
    kind: str
    size: tuple[int, int]
    frames: int
    seed: int

    def rng(self, salt: int) -> np.random.Generator:
        """Independent streams, so that one part of a scene does not shift another."""
        return np.random.default_rng([self.seed & 0xFFFFFFFF, salt])


def _palette(seed: int) -> NDArray[np.float32]:
    """Dark, middle, light and accent colours; hue and brightness follow the seed."""
    hue = (seed * GOLDEN_RATIO + 0.05) % 1.0
    brightness = 0.6 + 0.4 * ((seed * 0.381 + 0.4) % 1.0)
    saturation = 0.45 + 0.35 * ((seed * 0.737 + 0.2) % 1.0)
    stops = [
        (hue, saturation, 0.2 * brightness),
        (hue + 0.06, saturation, 0.7 * brightness),
        (hue + 0.12, 0.4 * saturation, 1.05 * brightness),
        (hue + 0.48, 0.85, 0.9 * brightness),
    ]
    rows = [colorsys.hsv_to_rgb(h % 1.0, s, min(v, 1.0)) for h, s, v in stops]
    return (255 * np.array(rows)).astype(np.float32)


def _noise(rng: np.random.Generator, width: int, height: int) -> NDArray[np.float32]:
    """Fractal noise in [0, 1] whose edges meet, so that a wrapped view has no seam."""
    from PIL import Image

    total = np.zeros((height, width), dtype=np.float32)
    for octave in range(OCTAVES):
        rows, margin = 2 << octave, 3
        columns = max(2, round(rows * width / height))
        grid = rng.random((rows, columns), dtype=np.float32)
        padded = np.pad(grid, margin, mode="wrap")
        box = (margin, margin, margin + columns, margin + rows)
        layer = Image.fromarray(padded).resize((width, height), Image.Resampling.BICUBIC, box=box)
        total += np.asarray(layer) * 0.66**octave
    low, high = np.percentile(total, [1, 99])
    return np.clip((total - low) / (high - low), 0, 1)


def _canvas(setting: _Setting) -> Picture:
    from PIL import Image, ImageDraw

    rng = setting.rng(1)
    width, height = (CANVAS_SCALE * side for side in setting.size)
    dark, middle, light, accent = _palette(setting.seed)
    levels = np.arange(256)
    stops = np.stack([dark, middle, light])
    ramp = np.stack([np.interp(levels, [0, 128, 255], stops[:, c]) for c in range(3)], axis=-1)
    colour, shade = _noise(rng, width, height), _noise(rng, width, height)
    ground = ramp.astype(np.float32)[(255 * colour).astype(np.uint8)]
    image = Image.fromarray((ground * (0.7 + 0.3 * shade[..., None])).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(14):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        reach = rng.uniform(0.03, 0.1) * width
        tint = (accent, light, dark)[rng.integers(3)] * rng.uniform(0.75, 1.0)
        fill = tuple(int(value) for value in tint)
        if rng.random() < 0.5:
            draw.ellipse((x, y, x + reach, y + reach * rng.uniform(0.5, 1.5)), fill=fill)
        else:
            corners = [
                (x + reach * np.cos(turn), y + reach * np.sin(turn))
                for turn in np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 6)))
            ]
            draw.polygon(corners, fill=fill)
    return np.asarray(image)


def _with_grain(
    setting: _Setting, frame: Callable[[int], NDArray[Any]]
) -> Callable[[int], Picture]:
    """Sensor grain: one noise field, rolled to another place in every frame."""
    width, height = setting.size
    rng = setting.rng(2)
    grain = rng.normal(0, GRAIN_SIGMA, (height, width, 1)).astype(np.float32)
    places = rng.integers(0, min(width, height), (509, 2))

    def grainy(index: int) -> Picture:
        down, right = places[index % len(places)]
        noisy = frame(index) + np.roll(grain, (int(down), int(right)), (0, 1))
        return np.clip(noisy, 0, 255).astype(np.uint8)

    return grainy


def _wrapped_view(canvas: Picture, size: tuple[int, int]) -> Callable[[int, int], Picture]:
    """Cut the picture at any whole-pixel offset out of an endlessly repeated canvas."""
    width, height = size
    repeated = np.pad(canvas, ((0, height), (0, width), (0, 0)), mode="wrap")

    def view(x: int, y: int) -> Picture:
        left, top = x % canvas.shape[1], y % canvas.shape[0]
        return repeated[top : top + height, left : left + width]

    return view


def _travel(setting: _Setting) -> Scene:
    """still, pans and tilts: whole pixels per frame, so that the truth is exact."""
    step = max(1, setting.size[0] // 100)
    x, y = {
        "pan_left": (-step, 0),
        "pan_right": (step, 0),
        "tilt_up": (0, -step),
        "tilt_down": (0, step),
    }.get(setting.kind, (0, 0))
    view = _wrapped_view(_canvas(setting), setting.size)
    frame = _with_grain(setting, lambda index: view(x * index, y * index))
    return Scene(frame, {"pan_x_px": x, "pan_y_px": y})


def _lens(setting: _Setting) -> Scene:
    """zoom_in, zoom_out and roll: an affine view of the middle of the canvas."""
    from PIL import Image

    canvas = Image.fromarray(_canvas(setting))
    width, height = setting.size
    widest, travel = 1.65, 1.5
    pace = min(1.012, travel ** (1 / setting.frames))
    start = {"zoom_in": widest, "zoom_out": widest / travel}.get(setting.kind, 0.85)
    growth = {"zoom_in": 1 / pace, "zoom_out": pace}.get(setting.kind, 1.0)
    roll_deg = min(1.5, 90 / setting.frames) if setting.kind == "roll" else 0.0

    def view(index: int) -> Picture:
        scale, turn = start * growth**index, np.radians(roll_deg * index)
        cos, sin = scale * np.cos(turn), scale * np.sin(turn)
        left = canvas.width / 2 - cos * width / 2 + sin * height / 2
        top = canvas.height / 2 - sin * width / 2 - cos * height / 2
        shown = canvas.transform(
            (width, height),
            Image.Transform.AFFINE,
            (cos, -sin, left, sin, cos, top),
            Image.Resampling.BILINEAR,
        )
        return np.asarray(shown)

    params = {"zoom_per_frame": 1 / growth} if roll_deg == 0 else {"roll_deg_per_frame": roll_deg}
    return Scene(_with_grain(setting, view), params)


def _shake(setting: _Setting) -> Scene:
    """A hand-held camera: bounded wobble of several frequencies."""
    view = _wrapped_view(_canvas(setting), setting.size)
    amplitude = max(2.0, setting.size[0] * 0.01)
    phases = setting.rng(3).uniform(0, 2 * np.pi, (2, 3))

    def wobble(index: int, axis: int) -> int:
        waves = np.sin(index * np.array([0.9, 1.7, 2.6]) + phases[axis])
        return round(float(amplitude * (waves @ np.array([0.6, 0.5, 0.3]))))

    frame = _with_grain(setting, lambda index: view(wobble(index, 0), wobble(index, 1)))
    return Scene(frame, {"shake_px": amplitude})


def _moving_shapes(setting: _Setting) -> Scene:
    """Objects that cross a picture whose camera stands still."""
    from PIL import Image, ImageDraw

    rng = setting.rng(4)
    width, height = setting.size
    backdrop = _wrapped_view(_canvas(setting), setting.size)(0, 0)
    tints = _palette(setting.seed + 3)[1:].astype(int)
    radius = height // 8
    places = rng.uniform(0, 1, (3, 2)) * (width, height)
    speeds = rng.choice([-1, 1], (3, 2)) * rng.uniform(0.5, 1, (3, 2)) * (width, height) * 0.012

    def draw_frame(index: int) -> Picture:
        image = Image.fromarray(backdrop)
        draw = ImageDraw.Draw(image)
        for place, speed, tint in zip(places, speeds, tints, strict=True):
            x, y = (place + speed * index) % (width + 2 * radius, height + 2 * radius) - radius
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=tuple(tint))
            draw.ellipse((x - radius / 2, y - radius / 2, x, y), fill=(240, 240, 230))
        return np.asarray(image)

    return Scene(_with_grain(setting, draw_frame), {"pan_x_px": 0, "pan_y_px": 0})


def _fast_motion(setting: _Setting) -> Scene:
    """Whip pans with motion blur that speed up and slow down, and no cut."""
    view = _wrapped_view(_canvas(setting), setting.size)
    fastest = setting.size[0] / 12

    def place(index: float) -> int:
        return round(fastest * (index - 8 / np.pi * np.sin(np.pi * index / 8)) / 2)

    def blurred(index: int) -> NDArray[np.float32]:
        shutter = np.linspace(0, 0.5, 5)
        exposures = [view(place(index + part), 0) for part in shutter]
        return np.mean(exposures, axis=0, dtype=np.float32)

    return Scene(_with_grain(setting, blurred), {"fastest_px": fastest})


def _flash(setting: _Setting) -> Scene:
    """A slow pan in which a light goes off halfway."""
    calm = _travel(_Setting("pan_right", setting.size, setting.frames, setting.seed))
    first = max(1, (setting.frames - FLASH_FRAMES) // 2)
    flashes = tuple(range(first, min(first + FLASH_FRAMES, setting.frames)))

    def frame(index: int) -> Picture:
        picture = calm.frame(index)
        return (picture * 0.15 + 255 * 0.85).astype(np.uint8) if index in flashes else picture

    return Scene(frame, calm.params, flashes)


def _subtitle(setting: _Setting) -> Scene:
    """A pan with a line of text burnt in at the bottom, which stays."""
    calm = _travel(_Setting("pan_right", setting.size, setting.frames, setting.seed))
    paint, text = subtitle_painter(setting.size, setting.rng(5))
    return Scene(lambda index: paint(calm.frame(index)), calm.params | text)


def _boxed(setting: _Setting) -> Scene:
    """A pan between black bars."""
    calm = _travel(_Setting("pan_left", setting.size, setting.frames, setting.seed))
    width, height = setting.size
    across = setting.kind == "letterbox"
    bars = {
        "bar_top_px": height // 16 * 2 if across else 0,
        "bar_side_px": 0 if across else width // 16 * 2,
    }
    return Scene(lambda index: draw_bars(calm.frame(index), **bars), calm.params | bars)


def _slide(setting: _Setting) -> Scene:
    picture, params = slide_painter(setting.size, setting.rng(6), _palette(setting.seed))
    return Scene(lambda index: picture, params)


def _screen(setting: _Setting) -> Scene:
    frame, params = screen_painter(setting.size, setting.rng(7), _palette(setting.seed))
    return Scene(frame, params)


def _flat(setting: _Setting) -> Scene:
    width, height = setting.size
    level = 0 if setting.kind == "black" else 255
    picture = np.full((height, width, 3), level, dtype=np.uint8)
    return Scene(lambda index: picture)


def _static_noise(setting: _Setting) -> Scene:
    """Grey noise that is new in every frame, as on an untuned receiver."""
    width, height = setting.size

    def frame(index: int) -> Picture:
        grey = setting.rng(1000 + index).integers(0, 256, (height, width, 1), dtype=np.uint8)
        return np.repeat(grey, 3, axis=2)

    return Scene(frame)


BUILDERS: dict[str, Callable[[_Setting], Scene]] = {
    "still": _travel,
    "pan_left": _travel,
    "pan_right": _travel,
    "tilt_up": _travel,
    "tilt_down": _travel,
    "zoom_in": _lens,
    "zoom_out": _lens,
    "roll": _lens,
    "shake": _shake,
    "moving_shapes": _moving_shapes,
    "fast_motion": _fast_motion,
    "slide_text": _slide,
    "screen_recording": _screen,
    "subtitle": _subtitle,
    "letterbox": _boxed,
    "pillarbox": _boxed,
    "flash": _flash,
    "black": _flat,
    "white": _flat,
    "noise": _static_noise,
}
