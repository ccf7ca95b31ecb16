"""What a person can be asked to do: one function per action, from a request to body curves.

Each returns what it did (`Deed`): the curves and the numbers that a caption must find.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from catalogs.errors import UsageError
from catalogs.testing.body import LEFT, RIGHT, Controls, blank_controls
from catalogs.testing.gait import RUN, TURN, WALK, Gait, Path, eased, plant_steps
from catalogs.testing.skeleton import Floats, rotation

__all__ = ["DEEDS", "Deed", "Request"]

GRAVITY = 9.81
DIRECTIONS = {
    "forward": (0.0, 0.0, 1.0),
    "backward": (0.0, 0.0, -1.0),
    "left": (1.0, 0.0, 0.0),
    "right": (-1.0, 0.0, 0.0),
}
WALK_SPEED = {"forward": 1.2, "backward": 0.8, "left": 0.35, "right": 0.35}
RUN_SPEED = {"forward": 2.8, "backward": 1.6, "left": 0.45, "right": 0.45}


@dataclass(frozen=True, eq=False)
class Request:
    """One take to act out."""

    frames: int
    fps: float
    offsets: Floats
    rng: np.random.Generator
    heading: float
    rest_s: float
    side: str
    direction: str
    speed_m_s: float | None
    count: int | None
    turn_deg: float | None
    height_m: float

    @property
    def times(self) -> Floats:
        """Of the frames, in seconds from the start of the action."""
        return np.arange(self.frames) / self.fps - self.rest_s

    @property
    def duration_s(self) -> float:
        """Of the action, from its first to its last frame."""
        return (self.frames - 1) / self.fps - 2 * self.rest_s

    @property
    def arm(self) -> int:
        return LEFT if self.side == "left" else RIGHT

    def standing(self) -> Controls:
        """The neutral pose, breathing."""
        controls = blank_controls(self.frames, self.offsets, self.heading)
        breath = np.sin(2 * np.pi * (0.3 * self.times + self.rng.random()))
        controls.spine_pitch += 0.015 * breath
        controls.arm_lift += self.rng.uniform(-0.04, 0.04)
        controls.elbow_flex += self.rng.uniform(-0.08, 0.08)
        return controls

    def moved(self, controls: Controls, *local: Floats | float) -> None:
        """Shift the pelvis to the person's left, up and forward."""
        curves = [np.broadcast_to(curve, self.frames) for curve in local]
        controls.root += np.stack(curves, axis=-1) @ rotation("y", self.heading).T

    def bout(self, start_s: float, end_s: float, ramp_s: float) -> Floats:
        """0, then 1 from `start_s` to `end_s`, with smooth ramps inside those ends."""
        rise = eased((self.times - start_s) / ramp_s)
        return rise * eased((end_s - self.times) / ramp_s)


@dataclass(frozen=True, eq=False)
class Deed:
    """A request acted out."""

    controls: Controls
    count: int | None = None
    side: str | None = None
    direction: str | None = None
    turn_deg: float = 0.0


def stand(request: Request) -> Deed:
    controls = request.standing()
    request.moved(controls, 0.008 * np.sin(request.times), 0.0, 0.006 * np.cos(request.times))
    return Deed(controls)


def walk(request: Request) -> Deed:
    speed = request.speed_m_s or WALK_SPEED[request.direction]
    period = 0.52 if request.direction in ("forward", "backward") else 0.45
    return _travel(request, WALK, speed, period, elbow=0.35)


def run(request: Request) -> Deed:
    speed = request.speed_m_s or RUN_SPEED[request.direction]
    return _travel(request, RUN, speed, 0.36, elbow=1.4)


def _travel(request: Request, gait: Gait, speed: float, period_s: float, elbow: float) -> Deed:
    steps = max(2, round(request.duration_s / period_s))
    period_s = request.duration_s / steps
    endless = request.rest_s == 0
    turn_deg = request.turn_deg or 0.0
    path = _path(request, steps, period_s, speed, turn_deg, endless=endless)
    controls = request.standing()
    stance_ahead = controls.toe[0, :] @ rotation("y", request.heading)[:, 2]
    ground, controls.yaw = path(request.times)
    controls.root += ground
    _steps_around_origin(request, controls)
    plant_steps(controls, request.times, path, gait, steps, period_s, endless=endless)
    ahead = rotation("y", controls.yaw)[..., 2]
    for side in (LEFT, RIGHT):
        other_foot = np.sum((controls.toe[:, 1 - side] - controls.root) * ahead, axis=-1)
        controls.arm_swing[:, side] += 0.9 * (other_foot - stance_ahead[1 - side])
    effort = np.ones(request.frames) if endless else request.bout(0, request.duration_s, period_s)
    controls.elbow_flex += elbow * effort[:, None]
    controls.spine_pitch += 0.05 * effort * speed
    request.moved(controls, 0.0, -0.02 * effort, 0.0)
    return Deed(controls, count=steps, direction=request.direction, turn_deg=turn_deg)


def turn(request: Request) -> Deed:
    turn_deg = 90.0 if request.turn_deg is None else request.turn_deg
    steps = max(2, round(request.duration_s / 0.5))
    period_s = request.duration_s / steps
    path = _path(request, steps, period_s, 0.0, turn_deg, endless=False)
    controls = request.standing()
    controls.yaw = path(request.times)[1]
    _steps_around_origin(request, controls)
    plant_steps(controls, request.times, path, TURN, steps, period_s, endless=False)
    return Deed(controls, turn_deg=turn_deg)


def _steps_around_origin(request: Request, controls: Controls) -> None:
    """Give the toes relative to a root of heading 0, as the step planner wants them."""
    controls.toe = controls.toe @ rotation("y", request.heading)


def _path(
    request: Request, steps: int, period_s: float, speed: float, turn_deg: float, *, endless: bool
) -> Path:
    """Root and heading over time: constant pace, or with a ramp where the body starts and stops."""
    margin = 4 * period_s if endless else 0.0
    grid = np.arange(-margin, request.duration_s + margin + 0.002, 0.002)
    pace = np.ones_like(grid)
    if not endless:
        pace = np.clip(grid / period_s - 0.5, 0, 1) * np.clip(steps - 0.5 - grid / period_s, 0, 1)
    inside = (grid >= 0) & (grid <= request.duration_s)
    turn_rate = np.radians(turn_deg) * pace / (pace[inside].sum() * 0.002)
    yaw = request.heading + _integral(turn_rate, grid)
    velocity = (
        speed * pace[:, None] * (rotation("y", yaw) @ np.array(DIRECTIONS[request.direction]))
    )
    place = np.stack([_integral(velocity[:, axis], grid) for axis in range(3)], axis=-1)

    def path(times: Floats) -> tuple[Floats, Floats]:
        root = np.stack([np.interp(times, grid, place[:, axis]) for axis in range(3)], axis=-1)
        return root, np.interp(times, grid, yaw)

    return path


def _integral(rate: Floats, grid: Floats) -> Floats:
    """Running integral that is 0 at time 0."""
    steps = np.diff(grid) * (rate[1:] + rate[:-1]) / 2
    total = np.concatenate([[0.0], np.cumsum(steps)])
    integral: Floats = total - np.interp(0.0, grid, total)
    return integral


def jump(request: Request) -> Deed:
    """Crouch, push off with the speed that the flight needs, land, rise: on the spot."""
    count = request.count or 1
    flight = 2 * np.sqrt(2 * request.height_m / GRAVITY)
    depth, sink_s, rise_s = 0.25, 0.4, 0.35
    push_s = 2 * depth / (GRAVITY * flight / 2)
    cycle = request.duration_s / count
    needed = sink_s + push_s + flight + push_s + rise_s
    if cycle < needed:
        raise UsageError(
            f"{count} jumps of {request.height_m} m do not fit into {request.duration_s:.2f} s",
            allowed=f"at least {needed:.2f} s for each jump",
        )
    controls = request.standing()
    leap, crouch = np.zeros(request.frames), np.zeros(request.frames)
    for number in range(count):
        off = cycle * number + (cycle - needed) / 2 + sink_s + push_s
        down = off + flight
        share = (request.times - off) / flight
        airborne = (share > 0) & (share < 1)
        leap += np.where(airborne, request.height_m * 4 * share * (1 - share), 0.0)
        controls.planted[airborne] = False
        sinking = eased((request.times - off + push_s + sink_s) / sink_s)
        pushing = np.clip((request.times - off + push_s) / push_s, 0, 1) ** 2
        landing = 1 - (1 - np.clip((request.times - down) / push_s, 0, 1)) ** 2
        rising = eased((request.times - down - push_s) / rise_s)
        crouch += sinking - pushing + landing - rising
        toes = eased((request.times - off + 0.1) / 0.1) * eased((down - request.times) / 0.1)
        controls.foot_pitch += 0.6 * toes[:, None]
        reaching = eased((request.times - off + 0.25) / 0.4)
        controls.arm_swing += 2.0 * (reaching * eased((down + 0.2 - request.times) / 0.4))[:, None]
    request.moved(controls, 0.0, leap - depth * crouch, -0.06 * crouch)
    controls.toe[..., 1] += leap[:, None]
    controls.spine_pitch += 0.5 * crouch
    controls.arm_swing -= 0.6 * crouch[:, None]
    return Deed(controls, count=count)


def squat(request: Request) -> Deed:
    count = request.count or 2
    depth = _cycles(request, count)
    controls = request.standing()
    request.moved(controls, 0.0, -0.42 * depth, -0.2 * depth)
    controls.pelvis_pitch += 0.35 * depth
    controls.spine_pitch += 0.45 * depth
    controls.head_pitch -= 0.4 * depth
    controls.arm_swing += 1.5 * depth[:, None]
    return Deed(controls, count=count)


def _cycles(request: Request, count: int) -> Floats:
    """`count` smooth rises from 0 to 1 and back, filling the action."""
    share = np.clip(request.times / request.duration_s, 0, 1)
    cycles: Floats = (1 - np.cos(2 * np.pi * count * share)) / 2
    return cycles


def wave(request: Request) -> Deed:
    count = request.count or 4
    controls = request.standing()
    up = request.bout(0.0, request.duration_s, 0.7)
    share = np.clip((request.times - 0.6) / max(request.duration_s - 1.2, 0.1), 0, 1)
    controls.arm_lift[:, request.arm] += 1.2 * up
    controls.elbow_flex[:, request.arm] *= 1 - up
    controls.elbow_raise[:, request.arm] += up * 1.15
    controls.elbow_raise[:, request.arm] += up * 0.5 * np.sin(2 * np.pi * count * share)
    return Deed(controls, count=count, side=request.side)


def raise_arm(request: Request) -> Deed:
    controls = request.standing()
    up = request.bout(0.15 * request.duration_s, 0.85 * request.duration_s, 0.9)
    controls.arm_lift[:, request.arm] += 2.6 * up
    controls.elbow_flex[:, request.arm] *= 1 - up
    return Deed(controls, count=1, side=request.side)


KICK_SHARE = (0.1, 0.35, 0.55, 0.7, 0.92)
KICK_TOE = ((0, 0, 0), (0, 0.18, -0.35), (0, 0.75, 0.62), (0, 0.3, 0.1), (0, 0, 0))
KICK_PITCH = (0.0, 0.9, 0.1, 0.2, 0.0)


def kick(request: Request) -> Deed:
    """Shift the weight to the other leg, swing back, kick forward, return."""
    count = request.count or 1
    foot = request.arm
    cycle = request.duration_s / count
    share = np.clip(request.times / cycle, 0, count - 1e-9) % 1.0
    controls = request.standing()
    toe = np.stack([_keyed(share, [key[axis] for key in KICK_TOE]) for axis in range(3)], -1)
    controls.toe[:, foot] += toe @ rotation("y", request.heading).T
    controls.foot_pitch[:, foot] += _keyed(share, KICK_PITCH)
    controls.planted[:, foot] = (share <= KICK_SHARE[0]) | (share >= KICK_SHARE[-1])
    weight = eased(share / 0.12) * eased((1 - share) / 0.08)
    support_side = 1.0 if foot == RIGHT else -1.0
    request.moved(controls, 0.07 * support_side * weight, -0.03 * weight, -0.04 * weight)
    controls.arm_lift += 0.4 * weight[:, None]
    return Deed(controls, count=count, side=request.side)


def _keyed(share: Floats, values: tuple[float, ...] | list[float]) -> Floats:
    """Smooth curve through `values` at KICK_SHARE, at rest at each of them."""
    curve = np.full_like(share, values[0])
    spans = zip(KICK_SHARE, KICK_SHARE[1:], values, values[1:], strict=False)
    for start, end, before, after in spans:
        curve += (after - before) * eased((share - start) / (end - start))
    return curve


def bow(request: Request) -> Deed:
    controls = request.standing()
    bend = request.bout(0.1 * request.duration_s, 0.9 * request.duration_s, 1.0)
    request.moved(controls, 0.0, 0.0, -0.1 * bend)
    controls.pelvis_pitch += 0.5 * bend
    controls.spine_pitch += 0.7 * bend
    controls.head_pitch += 0.3 * bend
    return Deed(controls, count=1)


def sit(request: Request) -> Deed:
    """Sit down on a chair behind and stay there."""
    controls = request.standing()
    seated = eased((request.times - 0.2 * request.duration_s) / (0.35 * request.duration_s))
    leaning = 4 * seated * (1 - seated)
    request.moved(controls, 0.0, -0.47 * seated, -0.42 * seated)
    controls.pelvis_pitch += 0.35 * leaning
    controls.spine_pitch += 0.35 * leaning
    controls.arm_swing += 0.45 * seated[:, None]
    controls.elbow_flex += 0.9 * seated[:, None]
    return Deed(controls)


DEEDS: dict[str, Callable[[Request], Deed]] = {
    "stand": stand,
    "walk": walk,
    "run": run,
    "turn": turn,
    "jump": jump,
    "squat": squat,
    "wave": wave,
    "raise_arm": raise_arm,
    "kick": kick,
    "bow": bow,
    "sit": sit,
}
