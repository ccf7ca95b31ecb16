"""Procedural mocap takes with known truth."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Literal

from catalogs.testing.bvh import LengthUnit
from catalogs.testing.take_truth import Action, Defect, TakeTruth

__all__ = ["render_take"]


def render_take(
    path: str | Path,
    action: Action,
    *,
    fps: Fraction | int = 30,
    seconds: float = 4.0,
    unit: LengthUnit = "cm",
    up_axis: Literal["y", "z"] = "y",
    seed: int = 0,
    rig: Literal["mixamo", "smpl", "cmu"] = "mixamo",
    channel_order: str = "ZXY",
    side: Literal["left", "right"] = "right",
    direction: Literal["forward", "backward", "left", "right"] = "forward",
    speed_m_s: float | None = None,
    count: int | None = None,
    turn_deg: float | None = None,
    height_m: float = 0.3,
    heading_deg: float = 0.0,
    rest_s: float = 0.0,
    defect: Defect | None = None,
) -> TakeTruth:
    """Render a person of 1.7 m doing `action`; `.bvh` or, as bare joint positions, `.npy`.

    Args:
        path: `.bvh`, or `.npy` for a (frames, 22, 3) float32 array in metres, y up.
        action: what the person does.
        fps: frames per second.
        seconds: length of the take.
        unit: of lengths in the BVH file.
        up_axis: of the BVH file.
        seed: small variations of proportions, posture and timing.
        rig: names of the joints in the BVH file.
        channel_order: of the rotation channels.
        side: of wave, raise_arm and kick.
        direction: of walk and run, relative to where the person faces.
        speed_m_s: of walk, run and crawl.
        count: of jumps, squats, waves or kicks; steps follow from speed and length.
        turn_deg: of turn (default 90), or of the path of a walk or run; positive to the left.
        height_m: of a jump.
        heading_deg: where the person faces at first; 0 is +z, 90 is +x.
        rest_s: stand still that long before and after the action.
        defect: what is wrong with the take.
    """
    raise NotImplementedError
