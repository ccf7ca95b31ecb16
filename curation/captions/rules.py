"""Captions of video without a model: what stored signals, scores and storyboards say in words.

    >>> [text.text for text in describe(job) if text.kind == "camera"]
    ['The camera slowly pans to the left.']

Every sentence rests on numbers, which stand beside it as `evidence`; the same clip always gets the
same words. Rules see how a clip is filmed and not what it shows: for that there are models.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curation.captions.base import Answer, Captioner, Job, Text
from curation.captions.camera import Camera, Move, camera_of
from curation.captions.palette import colours_of
from curation.operators import Clip
from curation.operators.borders import Borders
from curation.operators.exposure import Exposure
from curation.operators.motion import PX_PER_PERCENT, followed
from curation.operators.text import Text as TextOperator

__all__ = ["VIDEO_RULES_VERSION", "VideoRules", "describe"]

VIDEO_RULES_VERSION = 1

LIGHT = ((25, "very dark"), (60, "dark"), (95, "dim"), (165, "evenly lit"), (205, "bright"))
BRIGHTEST = "very bright"
FLAT_255, CONTRASTY_255 = 28.0, 70.0
FADES_255 = 35.0
"""Change of mean luma from the first to the last second that is told."""
BLOWN_SHARE = 0.08
MOTION = (
    (0.3, "Almost nothing moves"), (1.0, "There is a little motion"),
    (2.5, "There is moderate motion"), (6.0, "There is much motion"),
)  # fmt: skip
MOST_MOTION = "There is very fast motion"
PLACE_SHARE = 1.6
"""A third of the picture is named when it moves this many times more than the mean."""
NO_TEXT, SURE_TEXT, MUCH_TEXT = 0.003, 0.01, 0.08
"""Shares of the picture; between the first two, lines of text and fine patterns look alike."""
BARS = 0.03
MAIN_COLOUR, ALL_ONE, MOST_COLOURS = 0.12, 0.9, 3
SHORT_SHOT_S, LONG_SHOT_S = 2.0, 15.0
FAST_PACE_S, SLOW_PACE_S = 2.5, 10.0
QUIET_DB, LOUD_DB, SILENT_DB, PAUSES = -38.0, -16.0, -60.0, 0.25

Sentence = tuple[str, Mapping[str, Any]]


class VideoRules(Captioner):
    """Camera, motion, light, colours, text, framing, pace and sound, and all of it together."""

    name = "video-rules"
    revision = str(VIDEO_RULES_VERSION)
    origin = "rules"
    kinds = (
        *("brief", "detailed", "camera", "motion", "style"),
        *("text", "framing", "pace", "sound"),
    )

    def caption(self, job: Job) -> Answer:
        return Answer(describe(job), tokens=0)


def describe(job: Job) -> list[Text]:
    """Every text that the rules have about a clip; none of a clip without signals."""
    clip = job.clip
    if clip.source_signals is None or clip.span.stop - clip.span.start < 2:
        return []
    pictures = clip.pictures
    camera = camera_of(clip, pictures)
    parts: dict[str, Sentence] = {
        "pace": _pace(job),
        "framing": _framing(clip),
        "camera": _camera(camera),
        "motion": _motion(clip, camera),
        "style": _style(clip, pictures),
    }
    if pictures or "text_area" in job.scores:
        parts["text"] = _text(job)
    if len(clip.audio_db):
        parts["sound"] = _sound(clip.audio_db)
    parts = {kind: sentence for kind, sentence in parts.items() if sentence[0]}
    texts = [Text(kind, words, evidence=numbers) for kind, (words, numbers) in parts.items()]
    everything = " ".join(words for words, _ in parts.values())
    evidence = {kind: numbers for kind, (_, numbers) in parts.items()}
    brief = _brief(clip, camera, parts)
    return [
        Text("brief", brief, evidence=evidence),
        Text("detailed", everything, evidence=evidence),
        *texts,
    ]


# -- the camera ------------------------------------------------------------------------------

_PACES = {"slow": "slowly ", "steady": "", "fast": "quickly ", "whip": "very quickly "}
_VERBS = {"pan": "pans to the", "tilt": "tilts", "zoom": "zooms", "roll": "rolls"}
_MOST_MOVES = 4


def _camera(camera: Camera) -> Sentence:
    numbers = {
        "label": camera.label,
        "moves": [move.measures() for move in camera.moves],
        "shake_px": _rounded(camera.shake_px),
        "anchored": _rounded(camera.anchored),
    }
    if not camera.known:
        return "The camera's motion cannot be told.", numbers
    if camera.is_static:
        return "The camera is static.", numbers
    held = {"shaky": "shaky", "hand-held": "hand-held"}.get(camera.hold, "")
    strong = [move for move in camera.moves if move.strength >= camera.shake_px]
    if not strong:
        return f"The {held or 'hand-held'} camera follows no clear path.", numbers
    subject = f"The {held} camera" if held else "The camera"
    return f"{subject} {_path(strong)}.", numbers


def _path(moves: Sequence[Move]) -> str:
    """The strongest moves in order of time; those at the same time are joined by `while`."""
    chosen = sorted(moves, key=lambda move: -move.strength)[:_MOST_MOVES]
    chosen.sort(key=lambda move: (move.start_s, -move.strength))
    text, before = "", None
    for move in chosen:
        words = f"{_PACES[move.pace]}{_VERBS[move.axis]} {move.direction}"
        if before is None:
            text = words
        elif move.start_s < before.end_s - 0.5 * (move.end_s - move.start_s):
            text += f" and at the same time {words}"
        else:
            text += f", then {words}"
        before = move
    return text


# -- what moves ------------------------------------------------------------------------------


def _motion(clip: Clip, camera: Camera) -> Sentence:
    kept = followed(clip)
    # What a standing camera sees move is the subject, whatever a fit took for the camera.
    signal = "motion" if camera.stands else "residual_motion"
    values = clip.changes(signal)[kept]
    values = values[np.isfinite(values)]
    if not len(values):
        return "Motion cannot be told.", {}
    pixels = float(np.median(values)) * PX_PER_PERCENT
    words = next((word for limit, word in MOTION if pixels < limit), MOST_MOTION)
    numbers: dict[str, Any] = {"subject_px": _rounded(pixels)}
    place = _place(clip, kept) if pixels >= MOTION[0][0] and not camera.moves else None
    if place:
        numbers["place"] = place
        return f"{words}, mostly {place}.", numbers
    return f"{words}.", numbers


def _place(clip: Clip, kept: NDArray[np.bool_]) -> str | None:
    """Where the picture changes most, in thirds, from the luma thumbnails."""
    assert clip.source_signals is not None
    thumbs = clip.source_signals.thumbs[clip.span].astype(np.float32)
    change = np.abs(np.diff(thumbs, axis=0))[kept]
    if not len(change):
        return None
    amount = change.mean(axis=0)
    across = [float(part.mean()) for part in np.array_split(amount, 3, axis=1)]
    down = [float(part.mean()) for part in np.array_split(amount, 3, axis=0)]
    mean = float(amount.mean())
    column = ("left", "centre", "right")[int(np.argmax(across))]
    row = ("top", "centre", "bottom")[int(np.argmax(down))]
    wide, high = max(across) < PLACE_SHARE * mean, max(down) < PLACE_SHARE * mean
    if wide and high:
        return None
    if wide:
        return "in the middle of the picture's height" if row == "centre" else f"at the {row}"
    if high or row == "centre":
        return "in the centre" if column == "centre" else f"at the {column}"
    return f"at the {row}" if column == "centre" else f"at the {row} {column}"


# -- light and colour ------------------------------------------------------------------------


def _style(clip: Clip, pictures: Sequence[NDArray[np.uint8]]) -> Sentence:
    (light,) = Exposure().score([clip])
    luma, spread = float(light["luma_mean_255"]), float(light["luma_spread_255"])
    numbers: dict[str, Any] = {"luma_mean_255": _rounded(luma), "luma_spread_255": _rounded(spread)}
    words = [f"The picture is {_light(luma)}"]
    if spread < FLAT_255 and luma >= LIGHT[0][0]:
        words.append("with little contrast")
    elif spread > CONTRASTY_255:
        words.append("with strong contrast")
    if float(light["bright_share"]) > BLOWN_SHARE:
        words.append("and parts of it are blown out")
    text = " ".join(words)
    change = _change(clip.signal("luma_mean"), clip.seconds)
    if abs(change) >= FADES_255:
        text += f", and it gets {'brighter' if change > 0 else 'darker'}"
        numbers["luma_change_255"] = _rounded(change)
    colours = colours_of(_inside_bars(clip, pictures))
    if not colours:
        return f"{text}.", numbers
    numbers["colours"] = {name: _rounded(share) for name, share in colours if share >= 0.02}
    return f"{text}. {_palette(colours)}", numbers


def _light(luma: float) -> str:
    return next((word for limit, word in LIGHT if luma < limit), BRIGHTEST)


def _palette(colours: Sequence[tuple[str, float]]) -> str:
    main = [name for name, share in colours if share >= MAIN_COLOUR][:MOST_COLOURS]
    if not main:
        main = [colours[0][0]]
    if colours[0][1] >= ALL_ONE:
        return f"It is almost all {colours[0][0]}."
    if all(name in ("black", "grey", "white") for name, share in colours if share > 0.03):
        return "It is black and white."
    return f"Its colours are mainly {_listed(main)}."


def _inside_bars(clip: Clip, pictures: Sequence[NDArray[np.uint8]]) -> Sequence[NDArray[np.uint8]]:
    (bars,) = Borders().score([clip])
    edges = [bars[f"crop_{side}"] for side in ("left", "top", "right", "bottom")]
    if not all(math.isfinite(edge) for edge in edges):
        return pictures
    left, top, right, bottom = edges
    if right - left < 0.2 or bottom - top < 0.2:
        return pictures
    return [
        picture[
            round(top * picture.shape[0]) : round(bottom * picture.shape[0]),
            round(left * picture.shape[1]) : round(right * picture.shape[1]),
        ]
        for picture in pictures
    ]


def _change(luma: NDArray[Any], seconds: float) -> float:
    """Mean luma of the last second less that of the first."""
    frames = max(1, round(len(luma) / max(seconds, 1.0)))
    return float(np.mean(luma[-frames:]) - np.mean(luma[:frames]))


# -- text, framing, pace, sound --------------------------------------------------------------


def _text(job: Job) -> Sentence:
    scores = job.scores
    if scores.get("text_area") is None:
        (scores,) = TextOperator().score([job.clip])
    area, burnt = scores.get("text_area"), scores.get("burnt_text_area") or 0.0
    read = job.scores.get("ocr_text")
    if area is None:
        return "Text cannot be told.", {}
    numbers = {"text_area": _rounded(area), "burnt_text_area": _rounded(burnt)}
    if not read and burnt < NO_TEXT and area < SURE_TEXT:
        return "No text is on the screen." if area < NO_TEXT else "", numbers
    amount = "Much text" if area >= MUCH_TEXT else "Text"
    kind = " that was laid over the picture" if burnt >= 0.5 * area else ""
    words = f"{amount}{kind} is on the screen, on {100 * area:.1f} % of it"
    if read:
        numbers["ocr_text"] = read
        words += f": “{' / '.join(read.splitlines()[:3])}”"
    return f"{words}.", numbers


def _framing(clip: Clip) -> Sentence:
    width, height = clip.source["width"], clip.source["height"]
    (bars,) = Borders().score([clip])
    letterbox, pillarbox = (bars[f"{name}box_share"] for name in ("letter", "pillar"))
    aspect = width / height
    shape = "square" if 0.95 < aspect < 1.05 else ("landscape" if aspect > 1 else "portrait")
    if aspect > 2.1:
        shape = "very wide"
    text = f"The frame is {shape} ({width}x{height})"
    numbers = {
        "aspect": _rounded(aspect),
        "letterbox_share": _rounded(letterbox),
        "pillarbox_share": _rounded(pillarbox),
    }
    if letterbox >= BARS:
        text += " with black bars above and below"
    if pillarbox >= BARS:
        text += f" {'and' if letterbox >= BARS else 'with black bars'} at the sides"
    return f"{text}.", numbers


def _pace(job: Job) -> Sentence:
    seconds = job.clip.seconds
    length = "short" if seconds < SHORT_SHOT_S else ("long" if seconds > LONG_SHOT_S else "")
    text = f"A {length + ' ' if length else ''}shot of {seconds:.1f} s"
    numbers: dict[str, Any] = {"duration_s": round(seconds, 3)}
    around, shots = job.scores.get("source_shot_s"), job.scores.get("source_shots")
    if around and shots and shots > 2:
        pace = "fast" if around < FAST_PACE_S else ("slow" if around > SLOW_PACE_S else "measured")
        numbers |= {"source_shot_s": round(around, 3), "source_shots": shots}
        text += f" from footage with a {pace} pace"
    return f"{text}.", numbers


def _sound(levels: NDArray[np.float32]) -> Sentence:
    loud = float(np.percentile(levels, 90))
    quiet = float(np.mean(levels < SILENT_DB))
    numbers = {"level_p90_db": _rounded(loud), "silent_share": _rounded(quiet)}
    if loud < SILENT_DB:
        return "The sound is silent.", numbers
    words = "quiet" if loud < QUIET_DB else ("loud" if loud > LOUD_DB else "of middle loudness")
    pauses = " with pauses" if quiet >= PAUSES else ""
    return f"The sound is {words}{pauses}.", numbers


# -- in short --------------------------------------------------------------------------------


def _brief(clip: Clip, camera: Camera, parts: Mapping[str, Sentence]) -> str:
    light = _light(float(parts["style"][1]["luma_mean_255"]))
    camera_text = parts["camera"][0]
    motion = parts["motion"][0]
    article = "An" if light[0] in "aeiou" else "A"
    return f"{article} {light} shot of {clip.seconds:.1f} s. {camera_text} {motion}"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(float(value), 3)
