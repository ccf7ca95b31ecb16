"""Pictures for eyes: contact sheets with time stamps, and short films as GIF or MP4.

>>> contact_sheet(frames, ["0.00 s", "1.00 s"]).save("sheet.png")
>>> save_film(frames, Path("loop.gif"), Fraction(25))
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from catalogs.errors import UsageError

__all__ = ["FILM_SUFFIXES", "contact_sheet", "fitted", "save_film", "stamped"]

Picture = Image.Image

FILM_SUFFIXES = frozenset({".gif", ".mp4"})
_PAPER, _INK, _PLATE = "#ffffff", "#30363d", "#ffffff"
_GAP = 6
_GIF_TICKS_PER_S = 100
_GIF_COLOURS = 128


def fitted(picture: Picture, size: int) -> Picture:
    """The picture with its longer side `size` pixels."""
    scale = size / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    return picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)


def stamped(picture: Picture, text: str) -> Picture:
    """The picture with a small text at its lower left."""
    picture = picture.copy()
    canvas = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=max(11, max(picture.size) // 24))
    place = (_GAP, picture.height - _GAP)
    left, top, right, bottom = canvas.textbbox(place, text, font=font, anchor="lb")
    canvas.rectangle((left - 4, top - 3, right + 4, bottom + 3), fill=_PLATE)
    canvas.text(place, text, font=font, anchor="lb", fill=_INK)
    return picture


def contact_sheet(pictures: Sequence[Picture], texts: Sequence[str], columns: int = 4) -> Picture:
    """Pictures of one size in rows, each with its text."""
    width, height = pictures[0].size
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    size = (columns * (width + _GAP) + _GAP, rows * (height + _GAP) + _GAP)
    sheet = Image.new("RGB", size, _PAPER)
    for number, (picture, text) in enumerate(zip(pictures, texts, strict=True)):
        row, column = divmod(number, columns)
        place = (_GAP + column * (width + _GAP), _GAP + row * (height + _GAP))
        sheet.paste(stamped(picture, text), place)
    return sheet


def save_film(frames: Sequence[Picture], path: Path, fps: Fraction) -> None:
    """Write frames as a loop (`.gif`) or a film (`.mp4`).

    A GIF counts in hundredths of a second: rates that do not divide 100 are rounded.
    """
    suffix = path.suffix.lower()
    if suffix == ".gif":
        _save_gif(frames, path, fps)
    elif suffix == ".mp4":
        _save_mp4(frames, path, fps)
    else:
        raise UsageError(f"cannot write a film as {path.name}", allowed=".gif or .mp4")


def _save_gif(frames: Sequence[Picture], path: Path, fps: Fraction) -> None:
    # without dithering, plain surfaces stay plain and the file small
    plain = [frame.quantize(_GIF_COLOURS, dither=Image.Dither.NONE) for frame in frames]
    ticks = max(2, round(_GIF_TICKS_PER_S / fps))
    plain[0].save(
        path,
        save_all=True,
        append_images=plain[1:],
        duration=ticks * 1000 // _GIF_TICKS_PER_S,
        loop=0,
    )


def _save_mp4(frames: Sequence[Picture], path: Path, fps: Fraction) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height = (side - side % 2 for side in frames[0].size)
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            picture = av.VideoFrame.from_image(frame.crop((0, 0, stream.width, stream.height)))
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
