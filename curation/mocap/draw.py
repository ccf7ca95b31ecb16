"""A motion as PNG, GIF or MP4, for eyes and for the viewer.

>>> draw_motion(take.motion, Path("walk.gif"))
>>> draw_motion(take.motion, Path("walk.png"))      # a sheet of postures along the way
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from catalogs.errors import UsageError
from curation.mocap.figure import Figure
from curation.mocap.skeleton import Motion
from curation.pictures import contact_sheet, save_film

__all__ = ["draw_motion", "motion_sheet"]

_MAX_FPS = {".gif": Fraction(25), ".mp4": Fraction(30)}
_POSES = 8


def draw_motion(motion: Motion, path: Path, *, size: int = 320) -> Path:
    """Write the motion as the sheet or film that the name's ending asks for.

    Films have at most 25 (GIF) or 30 frames per second; a faster motion is thinned out and keeps
    its speed. `size` is the side of one picture in pixels.
    """
    suffix = path.suffix.lower()
    if suffix == ".png":
        motion_sheet(motion, size).save(path)
    elif suffix in _MAX_FPS:
        rate = min(motion.fps, _MAX_FPS[suffix])
        count = max(1, round(len(motion) * rate / motion.fps))
        figure = Figure(motion, size)
        frames = [figure.draw(int(number * motion.fps / rate)) for number in range(count)]
        save_film(frames, path, rate)
    else:
        raise UsageError(f"cannot draw a motion as {path.name}", allowed=".png, .gif or .mp4")
    return path


def motion_sheet(motion: Motion, size: int = 320, poses: int = _POSES) -> Image.Image:
    """Postures evenly spread over the motion, with their times."""
    shown = np.linspace(0, len(motion) - 1, min(poses, len(motion))).round().astype(int).tolist()
    figure = Figure(motion, size)
    texts = [f"{float(frame / motion.fps):.2f} s" for frame in shown]
    return contact_sheet([figure.draw(frame) for frame in shown], texts)
