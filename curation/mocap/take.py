"""A take: one performance, read from one file, with all that a `sources` row needs."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import Any

from catalogs.errors import UsageError, nearest
from curation.mocap.detect import Conventions
from curation.mocap.skeleton import Motion

__all__ = ["Overrides", "Take"]


@dataclass(frozen=True)
class Overrides:
    """What a recipe fixes instead of detecting it."""

    fps: Fraction | None = None
    unit: str | None = None
    """m, cm, mm, inch or cmu."""
    up_axis: str | None = None
    """x, y, z, -x, -y or -z."""
    handedness: str | None = None
    """right or left; left mirrors the file into right-handed axes."""
    skeleton: Path | None = None
    """The .asf of an .amc."""
    body_model: Path | None = None
    """An SMPL-family npz for AMASS archives."""
    person: int = 0
    """Which of several people, the one seen longest first."""

    @classmethod
    def from_recipe(cls, values: dict[str, Any]) -> Overrides:
        """From a recipe's mapping; unknown keys are errors that name the nearest."""
        known = {field.name for field in fields(cls)}
        for key in values:
            if key not in known:
                raise UsageError(
                    f"unknown mocap override {key!r}",
                    allowed=", ".join(sorted(known)),
                    hint=nearest(key, known),
                )
        typed = dict(values)
        if "fps" in typed:
            typed["fps"] = Fraction(str(typed["fps"]))
        for key in ("skeleton", "body_model"):
            if key in typed:
                typed[key] = Path(typed[key])
        return cls(**typed)

    def conventions(self) -> dict[str, str]:
        chosen = {
            "unit": self.unit,
            "up_axis": self.up_axis,
            "handedness": self.handedness,
        }
        return {key: value for key, value in chosen.items() if value is not None}


@dataclass(frozen=True, eq=False)
class Take:
    """A motion in metres, y up, right-handed, and how its file had it."""

    path: Path
    format: str
    """bvh, amc, c3d, amass, array or deepmimic."""
    motion: Motion
    conventions: Conventions
    rig: str
    people: int = 1
    notes: tuple[str, ...] = ()
    """What was assumed or looked odd, in words."""

    @property
    def is_body(self) -> bool:
        """Whether the joints are those of a person."""
        return self.conventions.stature_m is not None

    def source_row(self) -> dict[str, Any]:
        """The columns of `sources` that a mocap file fills; a tick is one frame."""
        motion, found = self.motion, self.conventions
        return {
            "kind": "mocap",
            "container": self.format,
            "fps": float(motion.fps),
            "fps_num": motion.fps.numerator,
            "fps_den": motion.fps.denominator,
            "is_vfr": False,
            "frames": len(motion),
            "duration_s": float(motion.duration_s),
            "start_pts": 0,
            "end_pts": len(motion),
            "time_base_num": motion.fps.denominator,
            "time_base_den": motion.fps.numerator,
            "skeleton": self.rig,
            "joints": len(motion.skeleton),
            "unit": found.unit.value,
            "up_axis": found.up_axis.value,
            "subject_height_m": found.stature_m,
            "meta": json.dumps(self._meta(), sort_keys=True),
        }

    def _meta(self) -> dict[str, Any]:
        found = self.conventions
        confidences = {
            name: {"value": finding.value, "confidence": finding.confidence, "from": finding.source}
            for name, finding in (
                ("unit", found.unit),
                ("up_axis", found.up_axis),
                ("handedness", found.handedness),
                ("travel_joint", found.travel_joint),
            )
        }
        return {
            "conventions": confidences,
            "metres_per_unit": found.metres_per_unit,
            "people": self.people,
            "notes": list(self.notes),
        }
