"""What a caption claims that the measurements contradict.

Only clear claims and clear measurements count: a claim is a phrase that says a fact outright, and
between the values that support it and those that refute it lies a wide band where nothing is said.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Measured", "contradictions"]

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Measured:
    """What is known of one clip without any caption."""

    scores: Row = field(default_factory=dict)
    """Its row of the wide view."""
    camera: Row = field(default_factory=dict)
    """Evidence of the rules about its camera: label, moves, shake_px, anchored."""
    events: Sequence[Row] = ()
    """Of a take: sentences of the rules with their measures."""

    def number(self, name: str) -> float | None:
        value = self.scores.get(name)
        return None if value is None else float(value)


def contradictions(text: str, measured: Measured) -> str | None:
    """The first claim of a text that the measurements refute, with the measurement."""
    for rule in _RULES:
        for reason in rule(text, measured):
            return reason
    return None


def _says(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    """The first mention that is not negated."""
    for found in pattern.finditer(text):
        before = text[max(0, found.start() - 16) : found.start()].lower()
        if not re.search(r"\b(?:no|not|never|without|nor|isn['’]t|doesn['’]t)\b[^.,;]*$", before):
            return found
    return None


# -- the camera ------------------------------------------------------------------------------

_STATIC = re.compile(
    r"\b(?:static|stationary|fixed|locked[- ]off|motionless|unmoving) (?:camera|shot|view)"
    r"|\b(?:camera|shot|view) (?:is|remains|stays|stands|keeps) (?:(?!not|never)\w+ )?"
    r"(?:static|stationary|still|fixed|motionless|steady and still)"
    r"|\bcamera (?:does not|doesn['’]t|never) moves?\b|\btripod\b",
    re.IGNORECASE,
)
_MOVE = re.compile(
    r"\b(?P<verb>pan|tilt|zoom|roll)(?:s|ning|ned|ing|ed|med|ming)?\b(?: \w+ly)?(?: \w+ly)?"
    r"(?: (?:to|towards?) the)? (?P<way>left|right|up|down|upwards?|downwards?|in|out|clockwise|"
    r"counter-?clockwise)\b",
    re.IGNORECASE,
)
_OPPOSITE = {
    "left": "right", "right": "left", "up": "down", "down": "up", "in": "out", "out": "in",
    "clockwise": "counter-clockwise", "counter-clockwise": "clockwise",
}  # fmt: skip
_CLEAR_STRENGTH, _CLEAR_SHAKE_PX = 1.5, 4.0
_SHORTEST = {"pan": 5.0, "tilt": 4.0, "zoom": 4.0, "roll": 5.0}


def _camera(text: str, measured: Measured) -> Iterator[str]:
    camera = measured.camera
    label = camera.get("label")
    if not label or label == "unknown":
        return
    moves = camera.get("moves") or []
    strong = [m for m in moves if _strength(m) >= _CLEAR_STRENGTH]
    said = _says(_STATIC, text)
    if said and label != "static":
        if strong:
            yield f"{said[0]!r}, but the camera moves: {_told(strong)}"
        elif (camera.get("shake_px") or 0) >= _CLEAR_SHAKE_PX:
            yield f"{said[0]!r}, but it shakes by {camera['shake_px']:.1f} px"
    found = {m["move"] for m in moves}
    for claim in _MOVE.finditer(text):
        verb, way = claim["verb"].lower(), _plain(claim["way"])
        if way not in _WAYS[verb]:
            continue
        anchored = camera.get("anchored")
        if label == "static" and (anchored is None or anchored >= 0.35):
            yield f"{claim[0]!r}, but the camera is static"
        opposite = f"{verb} {_OPPOSITE[way]}"
        if f"{verb} {way}" not in found and any(m["move"] == opposite for m in strong):
            yield f"{claim[0]!r}, but the camera does the opposite: {_told(strong)}"


_WAYS = {
    "pan": ("left", "right"),
    "tilt": ("up", "down"),
    "zoom": ("in", "out"),
    "roll": ("clockwise", "counter-clockwise", "left", "right"),
}


def _plain(way: str) -> str:
    way = way.lower().removesuffix("s").removesuffix("ward")
    return "counter-clockwise" if way.startswith("counter") else way


def _strength(move: Row) -> float:
    return abs(float(move["travel"])) / _SHORTEST[move["move"].split()[0]]


def _told(moves: Sequence[Row]) -> str:
    return ", ".join(f"{m['move']} {abs(m['travel']):.0f}" for m in moves[:3])


# -- the picture -----------------------------------------------------------------------------

_NO_TEXT = re.compile(
    r"\b(?:no|without(?: any)?|free of|lacks) (?:visible |on-?screen |readable |written )*"
    r"(?:text|words|subtitles|captions|writing|letters|titles)\b",
    re.IGNORECASE,
)
_TEXT = re.compile(
    r"\b(?:subtitles?|on-?screen text|text overlays?|overlaid text|title cards?)\b", re.IGNORECASE
)
_NIGHT = re.compile(
    r"\b(?:at night|night ?time|(?:dark|pitch-black|dimly lit|very dark) "
    r"(?:room|scene|picture|night|image|shot|street)|(?:picture|scene|image) is (?:very )?dark)\b",
    re.IGNORECASE,
)
_BRIGHT = re.compile(
    r"\b(?:broad daylight|bright(?:ly lit)? (?:day|sunlight|sunshine|scene|room|picture|light)|"
    r"sunny|sunlit|(?:picture|scene|image) is (?:very )?bright)\b",
    re.IGNORECASE,
)
_GREY = re.compile(r"\b(?:black[- ]and[- ]white|monochrom\w*|gr[ea]yscale)\b", re.IGNORECASE)
_COLOURFUL = re.compile(
    r"\b(?:colou?rful|vibrant colou?rs?|vivid colou?rs?|brightly colou?red)\b", re.IGNORECASE
)
_NOTHING_MOVES = re.compile(
    r"\b(?:nothing moves|no (?:visible )?(?:motion|movement)|still image|freeze frame|"
    r"completely still|motionless scene)\b",
    re.IGNORECASE,
)
_FAST = re.compile(
    r"\b(?:fast|rapid|frantic|very quick)(?:-paced)? (?:motion|movement|action)s?\b", re.IGNORECASE
)


def _picture(text: str, measured: Measured) -> Iterator[str]:
    number = measured.number
    area, burnt = number("text_area"), number("burnt_text_area") or 0.0
    said = _NO_TEXT.search(text)
    if said and area is not None and (area >= 0.05 or burnt >= 0.02):
        yield f"{said[0]!r}, but text covers {100 * max(area, burnt):.1f} %"
    said = _says(_TEXT, text)
    read = measured.scores.get("ocr_text")
    if said and area == 0.0 and not read and not _NO_TEXT.search(text):
        yield f"{said[0]!r}, but there is no text"
    for pattern, name, refutes, told in _REFUTED:
        value = number(name)
        said = _says(pattern, text)
        if said and value is not None and refutes(value):
            yield f"{said[0]!r}, but {told.format(value)}"


_LUMA, _COLOURS, _MOTION = "luma_mean_255", "colourfulness", "motion_px"
_REFUTED: tuple[tuple[re.Pattern[str], str, Callable[[float], bool], str], ...] = (
    (_NIGHT, _LUMA, lambda luma: luma >= 140, "mean luma is {:.0f} of 255"),
    (_BRIGHT, _LUMA, lambda luma: luma <= 35, "mean luma is {:.0f} of 255"),
    (_GREY, _COLOURS, lambda colours: colours >= 25, "colourfulness is {:.0f}"),
    (_COLOURFUL, _COLOURS, lambda colours: colours < 5, "colourfulness is {:.1f}"),
    (_NOTHING_MOVES, _MOTION, lambda motion: motion >= 4, "motion is {:.1f} px per frame"),
    (_FAST, _MOTION, lambda motion: motion <= 0.3, "motion is {:.1f} px per frame"),
)
"""Claims with the measurement that may refute them, and how it is told."""


# -- takes -----------------------------------------------------------------------------------

_COUNTS = {
    "once": 1, "twice": 2, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6,
    "seven": 7, "eight": 8, "nine": 9, "ten": 10,
}  # fmt: skip
_ACTIONS = ("jump", "kick", "wave", "punch", "squat", "bow", "turn", "raise", "walk", "run")
_COUNTED = re.compile(
    r"\b(?P<verb>jump|kick|wave|punch|squat|bow)(?:s|es|ing|ed|d)?\b(?P<between>[^.;]{0,40}?)\b"
    r"(?P<count>once|twice|(?:\d+|two|three|four|five|six|seven|eight|nine|ten) times)\b",
    re.IGNORECASE,
)
_SIDED = re.compile(
    r"\b(?P<verb>wave|kick|punch|raise)(?:s|es|ing|ed|d)?\b[^.;,]{0,24}?\b(?P<side>left|right) "
    r"(?:hand|arm|leg|foot)\b",
    re.IGNORECASE,
)
_WALKED = re.compile(
    r"\b(?P<verb>walk|run)(?:s|ning|ing|ed)?\b(?: \w+ly)? (?P<way>forwards?|backwards?)\b",
    re.IGNORECASE,
)
_TURNED = re.compile(
    r"\bturn(?:s|ing|ed)?(?: \w+ly)?(?: to (?:the|his|her|their))? (?P<side>left|right)\b",
    re.IGNORECASE,
)
_STANDS = re.compile(r"\bstands? still\b|\bdoes not move\b|\bin place\b", re.IGNORECASE)


def _take(text: str, measured: Measured) -> Iterator[str]:
    if not measured.events:
        return
    events = _by_action(measured.events)
    for said in _COUNTED.finditer(text):
        word = said["count"].lower().removesuffix(" times")
        claimed = int(word) if word.isdigit() else _COUNTS[word]
        counts = [_count(event) for event in events.get(said["verb"].lower(), ())]
        known = [count for count in counts if count is not None]
        if known and claimed not in (*known, sum(known)):
            yield f"{said[0]!r}, but it is done {sum(known)} times"
    for said in _SIDED.finditer(text):
        side = said["side"].lower()
        sides = _sides(events.get(said["verb"].lower(), ()))
        if sides and side not in sides:
            yield f"{said[0]!r}, but it is the {' and the '.join(sorted(sides))} one"
    for said in _WALKED.finditer(text):
        ways = {str(e["measures"].get("direction")) for e in events.get(said["verb"].lower(), ())}
        way = said["way"].lower().removesuffix("s")
        other = "backward" if way == "forward" else "forward"
        if (
            ways
            and not any(w.startswith(way) for w in ways)
            and any(w.startswith(other) for w in ways)
        ):
            yield f"{said[0]!r}, but it goes {', '.join(sorted(ways))}"
    yield from _turns(text, measured)


def _turns(text: str, measured: Measured) -> Iterator[str]:
    turned = measured.number("turn_deg")
    for said in _TURNED.finditer(text):
        left = said["side"].lower() == "left"
        if turned is not None and abs(turned) >= 45 and (turned > 0) != left:
            yield f"{said[0]!r}, but the body turns by {abs(turned):.0f} degrees the other way"
    path = measured.number("path_m")
    said_still = _says(_STANDS, text)
    if said_still and path is not None and path >= 2.0:
        yield f"{said_still[0]!r}, but it goes {path:.1f} m"


def _by_action(events: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for event in events:
        words = re.findall(r"[a-z]+", event["text"].lower())
        for action in _ACTIONS:
            stem = action.removesuffix("e")
            if any(word.startswith(stem) for word in words[:5]):
                found.setdefault(action, []).append(event)
    return found


def _count(event: Row) -> int | None:
    count = event["measures"].get("count")
    return None if count is None else round(float(count))


def _sides(events: Sequence[Row]) -> set[str]:
    sides: set[str] = set()
    for event in events:
        text = f"{event['text']} {event['part']}".lower()
        both = "both" in text or not re.search(r"\b(?:left|right)\b", text)
        sides |= {"left", "right"} if both else set(re.findall(r"\b(left|right)\b", text))
    return sides


_RULES: tuple[Callable[[str, Measured], Iterator[str]], ...] = (_camera, _picture, _take)
