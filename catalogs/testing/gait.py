"""Steps: where feet land and lift when a body travels or turns.

Step `i` begins `i` periods after the start. Its foot swings from `lift` to `land` (in periods) and
then stands until its next swing, on the spot that the body passes in the middle of that stance.
With `lift` below `land - 1` both feet are in the air for a while: a run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from catalogs.testing.body import Controls
from catalogs.testing.skeleton import Floats, rotation

__all__ = ["RUN", "TURN", "WALK", "Gait", "Path", "eased", "plant_steps"]

Path = Callable[[Floats], tuple[Floats, Floats]]
"""Times (n,) in seconds to root (n, 3), y being 0, and heading (n,)."""


@dataclass(frozen=True)
class Gait:
    lift: float
    land: float
    clearance_m: float
    heel_rise: float
    """Radians that the heel lifts at the end of a stance."""


WALK = Gait(lift=0.05, land=0.8, clearance_m=0.07, heel_rise=0.6)
RUN = Gait(lift=-0.45, land=0.8, clearance_m=0.16, heel_rise=0.8)
TURN = Gait(lift=0.1, land=0.75, clearance_m=0.06, heel_rise=0.0)


@dataclass(frozen=True)
class _Foothold:
    landed_s: float
    lifts_s: float
    toe: Floats
    yaw: float


def plant_steps(
    controls: Controls,
    times: Floats,
    path: Path,
    gait: Gait,
    steps: int,
    period_s: float,
    *,
    endless: bool,
) -> None:
    """Fill the feet of `controls` with `steps` steps, left foot first.

    Args:
        controls: their toes are where feet stand relative to a root at the origin, heading 0.
        times: of the frames, in seconds from the start of the first step.
        path: of the root.
        gait: timing of the steps.
        steps: how many.
        period_s: from one step to the next.
        endless: whether the body was and keeps moving at both ends, or stands there.
    """
    stance = controls.toe[0].copy()
    extra = 2 if endless else 0
    for side in (0, 1):
        numbers = [n for n in range(-extra, steps + extra) if n % 2 == side]
        holds = [_foothold(n, numbers, stance[side], path, gait, period_s) for n in numbers]
        if not endless:
            start_yaw = path(np.array([-1e6]))
            first = max(numbers[0] + gait.lift, 0.05) if numbers else 1e6
            holds.insert(0, _Foothold(-1e6, first * period_s, *_placed(start_yaw, stance[side])))
        _fill_foot(controls, side, times, holds, gait)


def _foothold(
    number: int, numbers: list[int], stance: Floats, path: Path, gait: Gait, period_s: float
) -> _Foothold:
    """Where the foot of step `number` lands, and when it leaves again."""
    middle = number + (gait.land + 2 + gait.lift) / 2
    last = number == numbers[-1]
    lifts = 1e6 if last else (number + 2 + gait.lift) * period_s
    toe, yaw = _placed(path(np.array([middle * period_s])), stance)
    return _Foothold((number + gait.land) * period_s, lifts, toe, yaw)


def _placed(root: tuple[Floats, Floats], stance: Floats) -> tuple[Floats, float]:
    (position,), (yaw,) = root
    return position + rotation("y", yaw) @ stance, float(yaw)


def _fill_foot(
    controls: Controls, side: int, times: Floats, holds: list[_Foothold], gait: Gait
) -> None:
    for hold, after in zip(holds, [*holds[1:], None], strict=True):
        standing = (times >= hold.landed_s) & (times <= hold.lifts_s)
        controls.toe[standing, side] = hold.toe
        controls.foot_yaw[standing, side] = hold.yaw
        controls.planted[standing, side] = True
        if after is None:
            continue
        share = (times - hold.landed_s) / (hold.lifts_s - hold.landed_s)
        rolling = gait.heel_rise * eased((share - 0.6) / 0.4)
        controls.foot_pitch[standing, side] = rolling[standing]
        swinging = (times > hold.lifts_s) & (times < after.landed_s)
        part = ((times - hold.lifts_s) / (after.landed_s - hold.lifts_s))[swinging]
        moved = eased(part)
        toe = hold.toe + moved[:, None] * (after.toe - hold.toe)
        toe[:, 1] += gait.clearance_m * np.sin(np.pi * part) ** 2
        controls.toe[swinging, side] = toe
        controls.foot_yaw[swinging, side] = hold.yaw + moved * (after.yaw - hold.yaw)
        controls.foot_pitch[swinging, side] = gait.heel_rise * (1 - eased(part / 0.8))
        controls.planted[swinging, side] = False


def eased(share: Floats) -> Floats:
    """0 before 0, 1 after 1, smooth between."""
    share = np.clip(share, 0.0, 1.0)
    eased: Floats = share * share * (3 - 2 * share)
    return eased
