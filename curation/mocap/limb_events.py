"""Events of arms and legs: raising, waving, punching, swinging, kicking, lifting a leg."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from curation.mocap.body_signals import knee_bend
from curation.mocap.curves import rate, smoothed
from curation.mocap.events import SIDES, Event, Scene, joined_sides, local_peaks, turning_points

__all__ = ["limb_events"]

Array = npt.NDArray[np.floating]
_KICK_M_S = 2.6
_SLOW_KICK_M_S = 1.2
"""A foot this fast kicks when the leg is straight, or the foot higher than a step takes it."""
_PUNCH_M_S = 2.6
_SWING_M_S = 3.2


def limb_events(scene: Scene, going: list[Event]) -> list[Event]:
    """Everything that arms and legs do beside carrying the body along."""
    walking = _covered(scene, going)
    running = _covered(scene, [event for event in going if event.kind == "run"])
    arms: list[Event] = []
    legs: list[Event] = []
    for side in SIDES:
        arms += _arm(scene, side, running)
        legs += _leg(scene, side, walking)
    return sorted(
        [*joined_sides(arms), *joined_sides(legs)], key=lambda event: (event.start, -event.weight)
    )


def _covered(scene: Scene, events: list[Event], around: int = 0) -> npt.NDArray[np.bool_]:
    out = np.zeros(scene.frames, bool)
    for event in events:
        out[max(event.start - around, 0) : event.end + around] = True
    return out


def _arm(scene: Scene, side: str, running: npt.NDArray[np.bool_]) -> list[Event]:
    events = []
    raised = _raised(scene, side) & ~running
    for start, end in scene.spans(raised, 0.3, 0.25):
        waves = _reversals(scene, side, start, end)
        kind = "wave" if waves >= 4 else "raise"
        events.append(
            Event(
                kind,
                "arm",
                start,
                end,
                side,
                {"level": _level(scene, side, start, end), "count": float((waves + 1) // 2)},
                weight=1.0 + (end - start) / scene.fps / 2 + (kind == "wave"),
            )
        )
    taken = _covered(scene, [event for event in events if event.kind == "wave"])
    return [*events, *_strikes(scene, side, running | taken)]


def _raised(scene: Scene, side: str) -> npt.NDArray[np.bool_]:
    """The wrist well above where it hangs: near the shoulder's height, or forearm lifted."""
    height = scene.body[f"{side}_wrist"][:, 1] - scene.body[f"{side}_shoulder"][:, 1]
    return height > -0.1 * scene.size


def _level(scene: Scene, side: str, start: int, end: int) -> str:
    wrist = np.percentile(scene.body[f"{side}_wrist"][start:end, 1], 90)
    head = np.median(scene.body["head"][start:end, 1])
    shoulder = np.median(scene.body[f"{side}_shoulder"][start:end, 1])
    if wrist > head + 0.06 * scene.size:
        return "above the head"
    if wrist > shoulder + 0.08 * scene.size:
        return "to head height"
    return "to shoulder height" if wrist > shoulder - 0.05 * scene.size else "to chest height"


def _reversals(scene: Scene, side: str, start: int, end: int) -> int:
    """How often the wrist turns back, seen from the shoulder, along its liveliest axis."""
    seen = scene.body[f"{side}_wrist"] - scene.body[f"{side}_shoulder"]
    # raising and lowering the arm are no waves
    inner = round(0.2 * scene.fps)
    hand = smoothed(scene.in_body(seen), scene.fps, 0.05)[start + inner : end - inner]
    if not len(hand):
        return 0
    return max(turning_points(hand[:, axis], 0.02 * scene.size) for axis in range(3))


def _strikes(scene: Scene, side: str, excluded: npt.NDArray[np.bool_]) -> list[Event]:
    """Fast movements of a hand: a punch goes ahead and straightens the arm."""
    hand = scene.body[f"{side}_wrist"] - scene.body["pelvis"]
    velocity = rate(smoothed(scene.in_body(hand), scene.fps, 0.02), scene.fps)
    speed = np.linalg.norm(velocity, axis=-1) / scene.scale
    straighter = -rate(smoothed(scene.elbow(side), scene.fps, 0.03), scene.fps)
    found: list[Event] = []
    for at in local_peaks(speed, min(_PUNCH_M_S, _SWING_M_S), 0.4 * scene.fps):
        if excluded[at]:
            continue
        ahead = velocity[at, 2] / scene.scale / max(float(speed[at]), 1e-6)
        punch = ahead > 0.7 and straighter[at] > 150 and speed[at] > _PUNCH_M_S
        if not punch and speed[at] < _SWING_M_S:
            continue
        around = round(0.2 * scene.fps)
        found.append(
            Event(
                "punch" if punch else "swing",
                "arm",
                max(at - around, 0),
                min(at + around, scene.frames),
                side,
                {"speed_m_s": float(speed[at]) * scene.scale, "count": 1.0},
                weight=float(speed[at]) / 3,
            )
        )
    return _counted(found, scene)


def _leg(scene: Scene, side: str, walking: npt.NDArray[np.bool_]) -> list[Event]:
    ankle = scene.body[f"{side}_ankle"]
    lift = (ankle[:, 1] - np.percentile(ankle[:, 1], 10)) / scene.size
    foot = ankle - scene.body["pelvis"]
    speed = np.linalg.norm(rate(smoothed(foot, scene.fps, 0.02), scene.fps), axis=-1) / scene.scale
    knee = np.abs(knee_bend(scene.body, side))
    kicks: list[Event] = []
    reach = round(0.5 * scene.fps)
    for top in local_peaks(smoothed(lift, scene.fps, 0.05), 0.18, 0.6 * scene.fps):
        around = slice(max(top - reach, 0), min(top + reach, scene.frames))
        fastest = float(speed[around].max())
        carried = walking[top] and scene.speed[top] > 1.2 * scene.scale
        straight = lift[top] > 0.35 or bool(np.any((lift[around] > 0.22) & (knee[around] < 50)))
        if carried or fastest < (_SLOW_KICK_M_S if straight else _KICK_M_S):
            continue
        kicks.append(
            Event(
                "kick",
                "leg",
                around.start,
                around.stop,
                side,
                {
                    "speed_m_s": fastest * scene.scale,
                    "height_m": float(lift[top]) * scene.size,
                    "count": 1.0,
                },
                weight=2.0 + fastest / 3,
            )
        )
    kicking = _covered(scene, kicks, round(scene.fps))
    lifted = (lift > 0.15) & ~kicking & ~walking & (scene.pelvis_height > 0.8)
    raises = [
        Event(
            "lift",
            "leg",
            start,
            end,
            side,
            {"height_m": float(lift[start:end].max()) * scene.size},
            weight=0.8,
        )
        for start, end in scene.spans(lifted, 0.4, 0.2)
    ]
    return [*_counted(kicks, scene), *raises]


def _counted(events: list[Event], scene: Scene) -> list[Event]:
    """Strikes of one kind within three seconds of each other are one event with a count."""
    out: list[Event] = []
    for event in events:
        last = out[-1] if out else None
        if last is None or last.kind != event.kind or event.start - last.end > 3 * scene.fps:
            out.append(event)
            continue
        measures = {name: max(event.number(name), last.number(name)) for name in event.measures} | {
            "count": last.number("count") + 1
        }
        out[-1] = Event(
            event.kind, event.part, last.start, event.end, event.side, measures,
            max(last.weight, event.weight) + 0.3,
        )  # fmt: skip
    return out
