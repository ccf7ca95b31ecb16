"""C3D: marker positions with their labels and gaps. Analog channels are ignored.

Markers are not joints: they hang on the skin, have no parents, and cannot be mapped to a layout.
What they carry for a catalog is their path, rate, unit and the share of frames in which each was
seen. A marker that was not seen is NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from catalogs.errors import MissingExtraError
from curation.mocap.problems import MocapFileError, check_plausible
from curation.mocap.rates import fps_from_rate
from curation.mocap.skeleton import Motion, Skeleton

__all__ = ["MarkerFile", "read_c3d"]

_UNITS = {"mm": "mm", "millimeters": "mm", "cm": "cm", "m": "m", "meters": "m", "in": "inch"}


@dataclass(frozen=True)
class MarkerFile:
    """A C3D file's points, and what its header says about their unit and axes."""

    motion: Motion
    unit: str | None
    up_axis: str | None
    first_frame: int
    """The number of the first frame in the original recording."""


def read_c3d(path: Path) -> MarkerFile:
    """The markers of a C3D file, in the file's own unit and axes."""
    try:
        import ezc3d
    except ImportError:
        raise MissingExtraError(
            "C3D files need the package ezc3d", hint="pip install 'clipmill[mocap]'"
        ) from None
    try:
        content = ezc3d.c3d(str(path))
    except (OSError, RuntimeError, ValueError, IndexError) as error:
        raise MocapFileError(
            f"ezc3d cannot read it: {error}", hint="open it in its own program and save it again"
        ) from error
    parameters = content["parameters"]
    points = np.moveaxis(content["data"]["points"][:3], 0, -1).transpose(1, 0, 2)
    labels = _labels(parameters["POINT"])[: points.shape[1]]
    if not points.size:
        raise MocapFileError("the file holds no points", hint="analog data alone is not a take")
    # a point whose residual is negative was not seen; some writers leave exact zeros instead
    seen = (content["data"]["meta_points"]["residuals"][0].T >= 0) & np.any(points != 0, axis=-1)
    measured = np.where(seen[..., None], points, np.nan)
    names = labels + [f"*{i}" for i in range(len(labels), points.shape[1])]
    check_plausible(measured)
    skeleton = Skeleton(
        names=tuple(names),
        parents=np.full(len(names), -1, np.intp),
        offsets=np.zeros((len(names), 3)),
        rig="markers",
    )
    header = content["header"]["points"]
    return MarkerFile(
        motion=Motion(skeleton, fps_from_rate(header["frame_rate"]), measured=measured),
        unit=_UNITS.get(_first(parameters["POINT"], "UNITS").lower()),
        up_axis=_up_axis(parameters["POINT"]),
        first_frame=int(header["first_frame"]) + 1,
    )


def _labels(point: Any) -> list[str]:
    """Labels past 255 continue in LABELS2, LABELS3 and so on."""
    keys = ["LABELS", *(f"LABELS{i}" for i in range(2, 100))]
    return [str(label).strip() for key in keys if key in point for label in point[key]["value"]]


def _first(point: Any, key: str) -> str:
    values = point[key]["value"] if key in point else []
    return str(values[0]).strip() if len(values) else ""


def _up_axis(point: Any) -> str | None:
    """Y_SCREEN is the axis that points up on the recording program's screen."""
    sign_axis = _first(point, "Y_SCREEN").lower()
    if len(sign_axis) != 2 or sign_axis[1] not in "xyz":
        return None
    return sign_axis[1] if sign_axis[0] == "+" else f"-{sign_axis[1]}"
