"""Captions from rules: sentences about who moves what, each with the numbers it rests on.

    >>> caption = caption_motion(take.motion)
    >>> caption.brief
    'A person walks forward, 5 steps over 2.6 m.'
    >>> [sentence.measures for sentence in caption.sentences][0]["speed_m_s"]
    1.12

The rules read events (`body_events`, `limb_events`) and nothing else, so the same motion always
has the same words. A mirrored motion has the same sentences with left and right swapped, and
`mirrored_text` does the same to any text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from catalogs.errors import UsageError
from curation.mocap.body import body_of, without_gaps
from curation.mocap.body_events import body_events, dance_events
from curation.mocap.events import Event, Scene
from curation.mocap.limb_events import limb_events
from curation.mocap.skeleton import Motion

__all__ = ["Caption", "Sentence", "caption_motion", "find_events", "mirrored_text"]

RULES_VERSION = 1
_BRIEF_EVENTS = 3
_GOING = ("walk", "run")
_COMES_WITH = {
    "walk": ("swing", "lift"),
    "run": ("swing", "raise", "punch", "lift", "lean"),
    "jump": ("swing", "raise", "squat", "bow", "punch", "kick", "lift", "wave"),
    "squat": ("bow", "swing", "raise"),
    "sit": ("bow", "swing", "lean"),
    "kneel": ("bow", "squat"),
    "lie": ("bow", "lean", "sit"),
    "invert": (
        *("swing", "kick", "bow", "lean", "lift", "raise", "squat", "turn", "punch"),
        *("walk", "run", "jump", "wave", "sit"),
    ),
    "kick": ("swing", "lean", "raise"),
    "wave": ("swing",),
    "bow": ("swing",),
}
"""What usually comes along with an action and does not need to be said in brief."""
_LEAST_SHARE = 0.25
_HIDDEN_BY_DANCE = {"turn", "bow", "lean", "swing", "raise", "walk", "punch", "lift", "squat"}


@dataclass(frozen=True)
class Sentence:
    """One statement about one part of the body and when it holds."""

    text: str
    part: str
    """body, trunk, left arm, right arm, arms, left leg, right leg or legs."""
    start_s: float
    end_s: float
    measures: Mapping[str, float | str]


@dataclass(frozen=True)
class Caption:
    """What a motion shows, short and long."""

    brief: str
    detailed: str
    sentences: tuple[Sentence, ...]
    rules_version: int = RULES_VERSION

    def by_part(self) -> dict[str, str]:
        """What each part does, told apart from the others."""
        parts: dict[str, list[str]] = {}
        for sentence in self.sentences:
            parts.setdefault(sentence.part, []).append(sentence.text)
        return {part: " ".join(texts) for part, texts in parts.items()}


def caption_motion(motion: Motion, start: int = 0, end: int | None = None) -> Caption:
    """The caption of the frames [start, end) of a person's motion."""
    span = motion if (start, end) == (0, None) else motion.frames(start, end or len(motion))
    body = body_of(span)
    if body is None:
        raise UsageError(
            "the joints are not those of a person",
            hint="caption markers and animals with a model, or add their rig to the table",
        )
    scene = Scene(without_gaps(body))
    events = find_events(scene)
    sentences = [_sentence(event, scene.fps) for event in events]
    sentences += _posture(scene, events)
    brief = _brief(events)
    detailed = " ".join([brief, *(_timed(sentence, scene) for sentence in sentences)])
    return Caption(brief, detailed, tuple(sentences))


def find_events(scene: Scene) -> list[Event]:
    """Every event, in order of time; of those that begin together the weightier first."""
    whole = body_events(scene)
    going = [event for event in whole if event.kind in _GOING]
    events = [*whole, *limb_events(scene, going)]
    events += dance_events(scene, events)
    weighed = [_weighed(event, events, scene.fps) for event in events]
    return sorted(weighed, key=lambda event: (event.start, -event.weight))


def _weighed(event: Event, events: list[Event], fps: float) -> Event:
    """An event that only comes along with another (arms in a jump) counts for little."""
    causes = [other for other in events if event.kind in _COMES_WITH.get(other.kind, ())]
    margin = 0.8 * fps
    beside = any(c.start - margin < event.end and event.start < c.end + margin for c in causes)
    return replace(event, weight=0.1 * event.weight) if beside else event


def mirrored_text(text: str) -> str:
    """The text with left and right swapped, in any letter case."""

    def swap(match: re.Match[str]) -> str:
        word = match[0]
        other = "right" if word.lower() == "left" else "left"
        return other.capitalize() if word[0].isupper() else other

    return re.sub(r"\b(left|right)\b", swap, text, flags=re.IGNORECASE)


def _count(number: float, one: str, many: str) -> str:
    words = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    amount = words[round(number)] if round(number) < len(words) else str(round(number))
    return f"{amount} {one if round(number) == 1 else many}"


def _times(number: float) -> str:
    return (
        ""
        if round(number) <= 1
        else (" twice" if round(number) == 2 else f" {round(number)} times")
    )


def _limb(event: Event, one: str, many: str) -> str:
    return f"both {many}" if event.side == "both" else f"the {event.side} {one}"


def _walk(event: Event) -> str:
    pace = "walks" if event.kind == "walk" else "runs"
    speed, turn = event.number("speed_m_s"), event.number("turn_deg")
    if event.kind == "walk" and speed < 0.6:
        pace = "walks slowly"
    elif event.kind == "run" and speed > 4.0:
        pace = "runs fast"
    text = f"{pace} {event.measures['direction']}"
    if abs(turn) > 300:
        text += f" in a circle to the {'left' if turn > 0 else 'right'}"
    elif abs(turn) >= 25:
        text += f", turning {'left' if turn > 0 else 'right'} by {abs(turn):.0f} degrees"
    steps = _count(event.number("steps"), "step", "steps")
    return f"{text}, {steps} over {event.number('distance_m'):.1f} m"


def _jump(event: Event) -> str:
    height = max(event.number("height_m"), 0.0) * 100
    return f"jumps{_times(event.number('count'))}, {height:.0f} cm high"


def _arm_raise(event: Event) -> str:
    return f"raises {_limb(event, 'arm', 'arms')} {event.measures['level']}"


def _wave(event: Event) -> str:
    return f"waves {_limb(event, 'hand', 'hands')}{_times(event.number('count'))}"


def _strike(verb: str) -> Callable[[Event], str]:
    def text(event: Event) -> str:
        arm = _limb(
            event, "arm" if verb == "swings" else "hand", "arms" if verb == "swings" else "hands"
        )
        joint = "" if verb == "swings" else " with"
        return f"{verb}{joint} {arm}{_times(event.number('count'))}"

    return text


def _kick(event: Event) -> str:
    leg = _limb(event, "leg", "legs")
    height = event.number("height_m") * 100
    return f"kicks with {leg}{_times(event.number('count'))}, up to {height:.0f} cm high"


_TEXTS: dict[str, Callable[[Event], str]] = {
    "walk": _walk,
    "run": _walk,
    "turn": lambda e: f"turns {e.side} by {abs(e.number('turn_deg')):.0f} degrees",
    "jump": _jump,
    "squat": lambda e: f"squats down{_times(e.number('count'))}",
    "sit": lambda e: "sits down",
    "kneel": lambda e: "kneels down",
    "lie": lambda e: "lies on the ground",
    "bow": lambda e: (
        f"bows forward by {e.number('angle_deg'):.0f} degrees{_times(e.number('count'))}"
    ),
    "lean": lambda e: f"leans to the {e.side} by {e.number('angle_deg'):.0f} degrees",
    "invert": lambda e: "turns upside down on the hands, as in a cartwheel or handstand",
    "dance": lambda e: "dances",
    "raise": _arm_raise,
    "wave": _wave,
    "punch": _strike("punches"),
    "swing": _strike("swings"),
    "kick": _kick,
    "lift": lambda e: f"lifts {_limb(e, 'leg', 'legs')}",
}


def _sentence(event: Event, fps: float) -> Sentence:
    return Sentence(
        text=f"The person {_TEXTS[event.kind](event)}.",
        part=_part(event),
        start_s=round(event.start / fps, 2),
        end_s=round(event.end / fps, 2),
        measures={
            name: value if isinstance(value, str) else round(value, 3)
            for name, value in event.measures.items()
        },
    )


def _part(event: Event) -> str:
    if event.part not in {"arm", "leg"}:
        return event.part
    return f"{event.part}s" if event.side == "both" else f"{event.side} {event.part}"


def _timed(sentence: Sentence, scene: Scene) -> str:
    whole = sentence.start_s < 0.3 and sentence.end_s > scene.frames / scene.fps - 0.3
    when = "Throughout" if whole else f"From {sentence.start_s:.1f} s to {sentence.end_s:.1f} s"
    return f"{when}, {sentence.text[0].lower()}{sentence.text[1:]}"


def _posture(scene: Scene, events: list[Event]) -> list[Sentence]:
    """What stays: standing, and feet that never leave the floor."""
    end = round(scene.frames / scene.fps, 2)
    out = []
    if not any(event.part == "body" for event in events):
        height = float(scene.pelvis_height.mean())
        word = "stands" if height > 0.78 else "stays low"
        measures = {"pelvis_height_share": round(height, 3)}
        out.append(Sentence(f"The person {word} in place.", "body", 0.0, end, measures))
    planted = scene.signals["contact_left"] * scene.signals["contact_right"]
    share = float(planted.mean())
    lifted = any(event.kind in {"jump", "kick", "lift", "walk", "run"} for event in events)
    if share > 0.9 and not lifted:
        text = "Both feet stay on the floor."
        out.append(Sentence(text, "legs", 0.0, end, {"planted_share": round(share, 3)}))
    return out


def _brief(events: list[Event]) -> str:
    shown = events
    if any(event.kind == "dance" for event in events):
        shown = [event for event in events if event.kind not in _HIDDEN_BY_DANCE]
    chosen = sorted(shown, key=lambda e: -e.weight)[:_BRIEF_EVENTS]
    chosen = [event for event in chosen if event.weight >= _LEAST_SHARE * chosen[0].weight]
    ordered = [event for event in shown if event in chosen]
    if not ordered:
        return "A person stands still."
    phrases = [_TEXTS[event.kind](event) for event in ordered]
    return f"A person {_joined(ordered, phrases)}."


def _joined(events: list[Event], phrases: list[str]) -> str:
    text = phrases[0]
    for before, event, phrase in zip(events[:-1], events[1:], phrases[1:], strict=True):
        together = event.start < before.start + 0.6 * (before.end - before.start)
        text += f" and {phrase}" if together else f", then {phrase}"
    return text
