"""Motions of clips as a catalog stores them: 22 body joints in metres, y up. No file is opened."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from catalogs.errors import NotFoundError
from catalogs.query import Session
from curation.mocap.arrays import motion_from_array
from curation.mocap.layouts import HUMANML22
from curation.mocap.skeleton import Motion

__all__ = ["stored_motion"]

_NUMBERS = 3 * len(HUMANML22)


def stored_motion(session: Session, clip: Mapping[str, Any]) -> Motion:
    """The motion of a clip, given by its row of `clips` (either view)."""
    first, end = clip["start_frame"] * _NUMBERS + 1, clip["end_frame"] * _NUMBERS
    rows = session.sql(
        "select list_slice(body_joints, ?, ?) as numbers from signals_motion "
        "where source_id = ? order by set_version desc limit 1",
        [first, end, clip["source_id"]],
    ).arrow()
    values = rows.column("numbers").combine_chunks() if rows.num_rows else None
    if values is None or not len(values) or values.null_count:
        raise NotFoundError(
            f"no body is stored for clip {clip['clip_id']}: its joints are not those of a person",
            hint="animals and markers are only in the file; read it with curation.mocap.read",
        )
    numbers = values.values.to_numpy(zero_copy_only=False)
    fps = _fps(session, clip["source_id"])
    joints = np.asarray(numbers, np.float32).reshape(-1, len(HUMANML22), 3)
    return motion_from_array(joints, fps=fps).motion


def _fps(session: Session, source_id: str) -> Fraction:
    query = "select fps_num, fps_den from sources where source_id = ?"
    return Fraction(*session.sql(query, [source_id]).one())
