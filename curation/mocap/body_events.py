"""Events of the whole body and the trunk: going, turning, jumping, lowering, bowing, dancing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from curation.mocap.body_signals import knee_bend
from curation.mocap.curves import runs, smoothed
from curation.mocap.events import SIDES, Event, Scene, local_peaks

__all__ = ["body_events", "dance_events", "is_run"]

Array = npt.NDArray[np.floating]
_GOING_M_S = 0.25
_RUN_M_S = 2.1
_DIRECTIONS = (
    (22.5, "forward"),
    (67.5, "forward to the {side}"),
    (112.5, "sideways to the {side}"),
    (157.5, "backward to the {side}"),
    (181.0, "backward"),
)


def body_events(scene: Scene) -> list[Event]:
    """Everything that the body as a whole does."""
    going = _going(scene)
    return [
        *going,
        *_turns(scene, going),
        *_jumps(scene, going),
        *_lowered(scene),
        *_leans(scene, going),
        *_inverted(scene),
    ]


def is_run(event: Event) -> bool:
    return event.kind == "run"


def _going(scene: Scene) -> list[Event]:
    moving = scene.speed > _GOING_M_S * scene.scale
    events = []
    for start, end in scene.spans(moving, 0.5, 0.4):
        path = scene.body["pelvis"][start:end][:, [0, 2]]
        way = float(np.linalg.norm(np.diff(path, axis=0), axis=-1).sum())
        net = float(np.linalg.norm(path[-1] - path[0]))
        steps = _steps(scene, start, end)
        if way < 0.5 * scene.scale or steps < 2:
            continue
        seconds = (end - start) / scene.fps
        turned = float(np.degrees(scene.body.heading[end - 1] - scene.body.heading[start]))
        speed = way / seconds
        flight = float(np.mean(scene.signals["feet_near"][start:end] == 0))
        fast = speed > _RUN_M_S * scene.scale
        kind = "run" if fast or (flight > 0.15 and speed > 1.5 * scene.scale) else "walk"
        events.append(
            Event(
                kind,
                "body",
                start,
                end,
                measures={
                    "direction": _direction(scene, start, end),
                    "speed_m_s": speed,
                    "distance_m": way,
                    "net_m": net,
                    "steps": float(steps),
                    "turn_deg": turned,
                },
                weight=way / scene.scale,
            )
        )
    return events


def _direction(scene: Scene, start: int, end: int) -> str:
    left, ahead = np.median(scene.velocity[start:end], axis=0)
    angle = np.degrees(np.arctan2(left, ahead))
    side = "left" if angle > 0 else "right"
    return next(name for limit, name in _DIRECTIONS if abs(angle) < limit).format(side=side)


def _steps(scene: Scene, start: int, end: int) -> int:
    """How often the feet change places along the way."""
    apart = scene.in_body(scene.body["left_ankle"] - scene.body["right_ankle"])
    left, ahead = np.median(scene.velocity[start:end], axis=0)
    along = (apart[:, 0] * left + apart[:, 2] * ahead) / max(float(np.hypot(left, ahead)), 1e-6)
    curve = smoothed(along, scene.fps, 0.05)[start:end]
    distance, least = 0.2 * scene.fps, 0.08 * scene.scale
    middle = float(np.median(curve))
    # feet that are apart one way, then the other, have made one step between
    apart_either_way = len(local_peaks(curve - middle, least, distance)) + len(
        local_peaks(middle - curve, least, distance)
    )
    return apart_either_way - 1


def _turns(scene: Scene, going: list[Event]) -> list[Event]:
    """Turns on the spot; those on the way belong to the walk."""
    turning = np.abs(scene.signals["turn_deg_s"]) > 15
    for event in going:
        turning[event.start : event.end] = False
    events = []
    for start, end in scene.spans(turning, 0.3, 0.3):
        angle = float(np.degrees(scene.body.heading[end - 1] - scene.body.heading[start]))
        if abs(angle) >= 30:
            side = "left" if angle > 0 else "right"
            events.append(
                Event("turn", "body", start, end, side, {"turn_deg": angle}, abs(angle) / 90)
            )
    return events


def _jumps(scene: Scene, going: list[Event]) -> list[Event]:
    feet = np.stack(
        [scene.body[f"{side}_{part}"][:, 1] for side in SIDES for part in ("ankle", "foot")]
    )
    rise = (feet - np.percentile(feet, 10, axis=1, keepdims=True)).min(axis=0)
    airborne = rise > 0.025 * scene.size
    for event in going:
        if is_run(event):
            airborne[event.start : event.end] = False
    flights = [
        (a, b)
        for a, b in runs(airborne)
        if 0.08 <= (b - a) / scene.fps <= 1.2 and _leaps(scene, a, b)
    ]
    events: list[Event] = []
    for start, end in flights:
        height = float(scene.body["pelvis"][start:end, 1].max() - _standing(scene, start, end))
        if height < 0.02 * scene.size:
            continue
        near = events and start - events[-1].end < 2.0 * scene.fps
        if near:
            last = events.pop()
            count, height = last.number("count") + 1, max(height, last.number("height_m"))
            start = last.start
        else:
            count = 1.0
        events.append(
            Event(
                "jump", "body", start, end, measures={"count": count, "height_m": height},
                weight=3.0 * count,
            )
        )  # fmt: skip
    return events


def _leaps(scene: Scene, start: int, end: int) -> bool:
    """The pelvis rises and falls with the feet: no step over a low toe."""
    height = scene.body["pelvis"][:, 1]
    around = max(round(0.25 * scene.fps), 2)
    before = height[max(start - around, 0) : start + 1].min()
    after = height[end - 1 : end + around].min()
    return bool(height[start:end].max() - max(before, after) > 0.02 * scene.size)


def _standing(scene: Scene, start: int, end: int) -> float:
    """Height of the pelvis in the second around a jump, when the feet are down."""
    around = slice(max(start - round(scene.fps), 0), end + round(scene.fps))
    return float(np.percentile(scene.body["pelvis"][around, 1], 60))


def _lowered(scene: Scene) -> list[Event]:
    """Squats, sitting, kneeling and lying, by how low the pelvis is and what bends."""
    low = scene.pelvis_height < 0.78
    knees = np.mean([knee_bend(scene.body, side) for side in SIDES], axis=0)
    events = []
    for start, end in scene.spans(low, 0.25, 0.2):
        depth = float(scene.pelvis_height[start:end].min())
        bend = float(np.percentile(knees[start:end], 90))
        knee_height = min(float(scene.body[f"{side}_knee"][start:end, 1].min()) for side in SIDES)
        head = float(np.median(scene.body["head"][start:end, 1])) - scene.body.floor
        stays = end >= scene.frames - round(0.2 * scene.fps) or (end - start) / scene.fps > 2.5
        if head < 0.35 * scene.size:
            kind = "lie"
        elif knee_height - scene.body.floor < 0.1 * scene.size:
            kind = "kneel"
        elif stays and bend > 60:
            kind = "sit"
        elif bend > 45:
            kind = "squat"
        else:
            continue
        events.append(
            Event(
                kind, "body", start, end, measures={"count": 1.0, "depth": 1 - depth},
                weight=2.0 * (1 - depth) + 0.5,
            )
        )  # fmt: skip
    return _repeated(events, scene, ("squat",))


def _repeated(events: list[Event], scene: Scene, kinds: tuple[str, ...]) -> list[Event]:
    """Events of the same kind within 1.5 s of each other are one, done several times."""
    out: list[Event] = []
    for event in events:
        last = out[-1] if out else None
        close = last is not None and event.start - last.end < 1.5 * scene.fps
        if last is not None and close and event.kind == last.kind and event.kind in kinds:
            measures = {
                name: value if isinstance(value, str) else max(value, last.number(name))
                for name, value in event.measures.items()
            }
            measures["count"] = last.number("count") + 1
            out[-1] = Event(
                event.kind, event.part, last.start, event.end, event.side, measures,
                last.weight + event.weight,
            )  # fmt: skip
        else:
            out.append(event)
    return out


def _leans(scene: Scene, going: list[Event]) -> list[Event]:
    """Bowing ahead and leaning to a side, measured against the usual posture."""
    events = []
    usual = np.median(scene.lean, axis=0)
    upright = np.abs(scene.lean[:, 1]) < 100
    settled = np.ones(scene.frames, bool)
    for event in going:
        settled[event.start : event.end] = False
    ahead = scene.lean[:, 1] - min(float(np.percentile(scene.lean[:, 1], 20)), 15.0)
    for start, end in scene.spans((ahead > 22) & upright & settled, 0.3, 0.3):
        angle = float(scene.lean[start:end, 1].max())
        events.append(
            Event("bow", "trunk", start, end, measures={"angle_deg": angle, "count": 1.0},
                  weight=angle / 30)
        )  # fmt: skip
    for side, sign in (("left", 1.0), ("right", -1.0)):
        sideways = sign * (scene.lean[:, 0] - usual[0])
        for start, end in scene.spans((sideways > 20) & upright & settled, 0.4, 0.3):
            angle = float(sideways[start:end].max())
            measures = {"angle_deg": angle, "count": 1.0}
            events.append(Event("lean", "trunk", start, end, side, measures, angle / 60))
    events.sort(key=lambda event: event.start)
    return _repeated(events, scene, ("bow", "lean"))


def _inverted(scene: Scene) -> list[Event]:
    trunk = scene.body["neck"][:, 1] - scene.body["pelvis"][:, 1]
    return [
        Event(
            "invert", "body", start, end, measures={"seconds": (end - start) / scene.fps}, weight=4
        )
        for start, end in scene.spans(trunk < -0.1 * scene.size, 0.1, 0.3)
    ]


def dance_events(scene: Scene, events: list[Event]) -> list[Event]:
    """Arms and legs busy for a long time, not by kicking or jumping, without getting far."""
    seconds = scene.frames / scene.fps
    hands, feet = (scene.signals[f"{part}_speed_m_s"] / scene.scale for part in ("hands", "feet"))
    busy = (smoothed(hands, scene.fps, 0.5) > 0.9) & (smoothed(feet, scene.fps, 0.5) > 0.5)
    kinds = [event.kind for event in events if event.part in {"arm", "leg"}]
    kicks = kinds.count("kick") / max(len(kinds), 1)
    jumps = sum(event.number("count") for event in events if event.kind == "jump") / seconds
    farthest = max((e.number("net_m") for e in events if e.kind in {"walk", "run"}), default=0.0)
    if seconds < 5 or busy.mean() < 0.5 or farthest > 3:
        return []
    if kicks > 0.2 or jumps > 0.4:
        return []
    turned = float(np.abs(np.diff(np.degrees(scene.body.heading))).sum())
    energy = float(scene.signals["energy_j_kg"].mean())
    measures = {"turned_deg": turned, "energy_j_kg": energy, "busy_share": float(busy.mean())}
    return [Event("dance", "body", 0, scene.frames, measures=measures, weight=12.0)]
