"""Clips of takes: joints as arrays, and the very lines of a BVH file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from curation.export.made import Made
from curation.export.spans import ClipSpan
from curation.media.errors import MediaError
from curation.mocap.problems import MocapFileError
from curation.mocap.read import read_motion
from curation.mocap.skeleton import Motion
from curation.mocap.take import Overrides

__all__ = ["write_take"]

_BVH_HEAD = re.compile(rb"\A.*?^\s*MOTION\s+Frames:\s*(\d+)\s+Frame Time:[^\n]*\n", re.S | re.M)


def write_take(path: str, span: ClipSpan, folder: str) -> Made:
    """Write `<clip>.npz`, and `<clip>.bvh` when the source is one, into `folder`.

    The arrays are in metres, y up, right-handed, with the unit, axes and frame rate that were
    found when the take was measured.
    """
    known = Overrides(fps=span.fps, unit=span.unit, up_axis=span.up_axis)
    try:
        take = read_motion(path, known)
    except MocapFileError as error:
        raise MediaError("open", "bad_take", error.problem) from error
    motion = take.motion.frames(span.start_pts, span.end_pts)
    files = [f"{span.clip_id}.npz"]
    np.savez(Path(folder) / files[0], allow_pickle=False, **_arrays(motion))
    if take.format == "bvh" and (lines := _bvh_lines(Path(path).read_bytes(), span)):
        files.append(f"{span.clip_id}.bvh")
        (Path(folder) / files[1]).write_bytes(lines)
    return Made(
        clip_id=span.clip_id,
        how="take",
        files=tuple(sorted(files)),
        frames=len(motion),
        last_time_s=float((len(motion) - 1) / motion.fps),
    )


def _arrays(motion: Motion) -> dict[str, Any]:
    skeleton = motion.skeleton
    arrays = {
        "joints_m": motion.joints.astype(np.float32),
        "names": np.array(skeleton.names),
        "parents": skeleton.parents.astype(np.int32),
        "offsets_m": skeleton.offsets.astype(np.float32),
        "fps": np.array([motion.fps.numerator, motion.fps.denominator], np.int64),
    }
    if motion.rotations is not None:
        arrays["rotations_wxyz"] = motion.rotations.astype(np.float32)
    return arrays


def _bvh_lines(data: bytes, span: ClipSpan) -> bytes | None:
    """The hierarchy and the clip's frames as they stand; None where a frame is not one line."""
    head = _BVH_HEAD.match(data)
    if head is None:
        return None
    lines = [line for line in data[head.end() :].splitlines() if line.strip()]
    if len(lines) != int(head[1]):
        return None
    wanted = lines[span.start_pts : span.end_pts]
    before, after = data[: head.start(1)], data[head.end(1) : head.end()]
    return before + str(len(wanted)).encode() + after + b"\n".join(wanted) + b"\n"
