"""The joints of a take's clip for the page: a JSON head, and 32-bit numbers behind it.

    bytes 0 to 3     length of the head, little endian
    the head         JSON, padded with spaces so that the numbers begin at a multiple of four
    the numbers      float32, little endian: x, y, z of every joint, frame after frame; NaN is a gap

Lengths are metres, y is up, the axes are right-handed. A person's joints come from the catalog, so
that takes can be seen whose file is gone; those of other skeletons are read from the file.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import NotFoundError, UsageError
from catalogs.query import Session
from clipmill.web.guarded import read_take
from clipmill.web.sources import FoundClip, SourceFiles
from curation.media.guard import GuardedWorker
from curation.mocap.augment import mirror_partners
from curation.mocap.skeleton import Motion
from curation.mocap.stored import stored_motion
from curation.mocap.take import Overrides

__all__ = ["MOST_BYTES", "Joints", "joints_in_file", "packed", "stored_joints"]

MOST_BYTES = 4 << 20
"""Of longer takes only every second, third, ... frame is sent."""


@dataclass(frozen=True, eq=False, slots=True)
class Joints:
    """The motion of a clip."""

    positions: NDArray[np.float32]
    """(frames, joints, 3) in metres."""
    names: tuple[str, ...]
    parents: tuple[int, ...]
    sides: str
    """A letter for each joint: l, r or m, for the middle."""
    fps: Fraction
    origin: str
    """catalog or file."""

    @classmethod
    def of(cls, motion: Motion, origin: str) -> Joints:
        skeleton = motion.skeleton
        return cls(
            np.ascontiguousarray(motion.joints, np.float32),
            skeleton.names,
            tuple(map(int, skeleton.parents)),
            _sides(motion),
            motion.fps,
            origin,
        )


def stored_joints(session: Session, found: FoundClip) -> Joints | None:
    """The joints of a clip as the catalog has them; None where they are not those of a person."""
    if found.clip["kind"] != "mocap":
        raise UsageError(
            f"clip {found.clip['clip_id']} is of a {found.clip['kind']}, not of a take",
            hint="play it as a film",
        )
    try:
        return Joints.of(stored_motion(session, found.clip), "catalog")
    except NotFoundError:
        return None


def joints_in_file(files: SourceFiles, found: FoundClip) -> Joints:
    """The joints of a clip as its file has them."""
    clip, source = found.clip, found.source
    known = Overrides(
        fps=Fraction(source["fps_num"], source["fps_den"]),
        unit=source["unit"],
        up_axis=source["up_axis"],
    )
    path = str(files.path(source))
    with GuardedWorker(memory_mb=2048) as worker:
        frames = clip["start_frame"], clip["end_frame"]
        return Joints.of(worker.call(read_take, path, known, *frames, wall_s=60), "file")


def packed(joints: Joints, most_bytes: int = MOST_BYTES) -> bytes:
    """The joints as the page reads them."""
    step = max(1, -(-joints.positions.nbytes // most_bytes))
    positions = joints.positions[::step]
    head: dict[str, Any] = {
        "frames": len(positions),
        "step": step,
        "clip_frames": len(joints.positions),
        "fps": float(joints.fps),
        "names": joints.names,
        "parents": joints.parents,
        "sides": joints.sides,
        "up": "y",
        "unit": "m",
        "origin": joints.origin,
        "floor": _floor(positions),
    }
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    return struct.pack("<I", len(text)) + text + positions.astype("<f4").tobytes()


def _floor(positions: NDArray[np.float32]) -> float:
    heights = positions[..., 1][np.isfinite(positions[..., 1])]
    return float(np.percentile(heights, 1)) if len(heights) else 0.0


def _sides(motion: Motion) -> str:
    """By the letter in which a joint's name differs from its twin's."""
    names = motion.skeleton.names
    sides = []
    for name, partner in zip(names, mirror_partners(motion.skeleton), strict=True):
        letters = [a for a, b in zip(name, names[partner], strict=False) if a != b]
        side = letters[0].lower() if letters else "m"
        sides.append(side if side in "lr" else "m")
    return "".join(sides)
