"""Drawn text and bars: slides, screens, subtitles, letterboxes and logos.

Text uses the font inside Pillow, so that it looks the same on every machine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["draw_bars", "draw_logo", "screen_painter", "slide_painter", "subtitle_painter"]

Picture = NDArray[np.uint8]
Params = dict[str, Any]

WORDS = (
    "harbour",
    "morning",
    "signal",
    "garden",
    "river",
    "window",
    "market",
    "winter",
    "letter",
    "mountain",
    "paper",
    "station",
    "bridge",
    "music",
    "kitchen",
    "island",
    "engine",
    "silver",
    "forest",
    "weather",
    "museum",
    "train",
    "table",
    "story",
)


def _sentence(rng: np.random.Generator, words: int) -> str:
    return " ".join(str(word) for word in rng.choice(WORDS, words, replace=False)).capitalize()


def draw_bars(picture: Picture, bar_top_px: int, bar_side_px: int) -> Picture:
    """Black bars of that thickness at top and bottom, and at both sides."""
    height, width = picture.shape[:2]
    boxed = np.zeros_like(picture)
    inside = np.s_[bar_top_px : height - bar_top_px, bar_side_px : width - bar_side_px]
    boxed[inside] = picture[inside]
    return boxed


def draw_logo(picture: Picture) -> Picture:
    """A station mark in the upper right corner."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    side = max(8, min(image.size) // 7)
    left, top = image.width - side * 3 // 2, side // 2
    draw.ellipse((left, top, left + side, top + side), fill=(235, 235, 235), outline=(20, 20, 20))
    font = ImageFont.load_default(size=side * 0.6)
    draw.text((left + side / 2, top + side / 2), "C", (190, 20, 30), font, anchor="mm")
    return np.asarray(image)


def subtitle_painter(
    size: tuple[int, int], rng: np.random.Generator
) -> tuple[Callable[[Picture], Picture], Params]:
    """A function that burns one line of outlined text into a picture, and where it lies."""
    from PIL import Image, ImageDraw, ImageFont

    width, height = size
    text = _sentence(rng, 4) + "."
    font = ImageFont.load_default(size=max(9, height // 12))
    layer = Image.new("RGBA", size, (0, 0, 0, 0))
    draw = ImageDraw.Draw(layer)
    place = (width / 2, height * 0.93)
    outline = max(1, height // 120)
    draw.text(place, text, (255, 255, 255, 255), font, "ms", stroke_width=outline,
              stroke_fill=(0, 0, 0, 255))  # fmt: skip
    pixels = np.asarray(layer)
    colour, opacity = pixels[..., :3], pixels[..., 3:] / np.float32(255)
    box = layer.getbbox()

    def paint(picture: Picture) -> Picture:
        return (picture * (1 - opacity) + colour * opacity).astype(np.uint8)

    return paint, {"text": text, "text_box": list(box or ())}


def slide_painter(
    size: tuple[int, int], rng: np.random.Generator, palette: NDArray[np.float32]
) -> tuple[Picture, Params]:
    """A presentation slide: a coloured heading and bullet points on a plain ground."""
    from PIL import Image, ImageDraw, ImageFont

    width, height = size
    title, points = _sentence(rng, 2), [_sentence(rng, 4) for _ in range(4)]
    image = Image.new("RGB", size, (246, 244, 238))
    draw = ImageDraw.Draw(image)
    heading = tuple(int(value) for value in palette[1] * 0.8)
    draw.rectangle((0, 0, width, height * 0.24), fill=heading)
    margin = width * 0.06
    draw.text((margin, height * 0.12), title, (255, 255, 255),
              ImageFont.load_default(size=height / 8), "lm")  # fmt: skip
    font = ImageFont.load_default(size=height / 13)
    for row, point in enumerate(points):
        y = height * (0.36 + 0.15 * row)
        draw.ellipse((margin, y - 2, margin + 4, y + 2), fill=heading)
        draw.text((margin + 10, y), point, (30, 30, 30), font, "lm")
    return np.asarray(image), {"text": "\n".join([title, *points])}


def screen_painter(
    size: tuple[int, int], rng: np.random.Generator, palette: NDArray[np.float32]
) -> tuple[Callable[[int], Picture], Params]:
    """An editor window in which somebody types and moves the pointer."""
    from PIL import Image, ImageDraw, ImageFont

    width, height = size
    header, sidebar, rows, accent = (tuple(int(value) for value in tint) for tint in palette)
    lines = [_sentence(rng, 5) for _ in range(7)]
    text = "\n".join(lines)
    font = ImageFont.load_default(size=max(8, height // 18))
    desk = Image.new("RGB", size, rows)
    draw = ImageDraw.Draw(desk)
    draw.rectangle((0, 0, width, height * 0.09), fill=header)
    draw.rectangle((0, height * 0.09, width * 0.2, height), fill=sidebar)
    for row in range(6):
        y = height * (0.15 + 0.1 * row)
        draw.rectangle((width * 0.03, y, width * rng.uniform(0.1, 0.17), y + height * 0.03),
                       fill=accent if row == 2 else rows)  # fmt: skip
    draw.rectangle((width * 0.23, height * 0.13, width * 0.97, height * 0.95), fill="white")

    def frame(index: int) -> Picture:
        image = desk.copy()
        pen = ImageDraw.Draw(image)
        typed = text[: 12 + index]
        pen.multiline_text((width * 0.26, height * 0.17), typed, (25, 25, 25), font, spacing=4)
        x = width * (0.6 + 0.25 * np.sin(index / 20))
        y = height * (0.6 + 0.2 * np.cos(index / 31))
        tip = height * 0.05
        pen.polygon([(x, y), (x, y + tip), (x + tip * 0.7, y + tip * 0.7)], fill=(0, 0, 0))
        return np.asarray(image)

    return frame, {"text": text}
