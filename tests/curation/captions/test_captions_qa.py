"""The gate finds planted faults, and leaves good captions alone."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from catalogs import Catalog
from catalogs.testing import render_take
from curation.captions.compare import compare, event_agreement
from curation.captions.qa import CHECKS, check_captions, findings_of
from curation.captions.qa_claims import Measured, contradictions
from curation.captions.registry import Maker
from curation.jobs.captioning import caption
from curation.jobs.run import curate

FAULTS = 200
WHO = ("a woman", "two men", "a small dog", "an old man", "three children", "a cyclist", "a cook")
WEARS = ("in a red coat", "with grey hair", "in work clothes", "wearing a hat", "with a backpack")
DOES = (
    "walks along the path", "stirs a pot of soup", "throws a ball to the other side",
    "climbs the stairs", "repairs an engine", "writes a letter at the table", "opens the window",
)  # fmt: skip
WHERE = (
    "in a kitchen with wooden cupboards", "on a beach below tall cliffs", "in a busy street",
    "beside a lake", "in a workshop full of tools", "on a wide lawn",
)  # fmt: skip
THEN = (
    "Then the light changes and shadows move over the wall.", "A car passes behind.",
    "A door opens at the back.", "Leaves fall in front.", "Steam rises from the left.",
    "Somebody walks by without stopping.", "The water is calm.",
)  # fmt: skip
CAMERA = (
    "The camera is static.",
    "The camera slowly pans to the left.",
    "It is filmed from above.",
)


def plain_caption(rng: random.Random, camera: bool = True) -> str:
    """A good caption of two to four sentences."""
    first = f"{rng.choice(WHO)} {rng.choice(WEARS)} {rng.choice(DOES)} {rng.choice(WHERE)}."
    rest = rng.sample(THEN, rng.randint(1, 2))
    said = [rng.choice(CAMERA)] if camera and rng.random() < 0.4 else []
    return " ".join([first[0].upper() + first[1:], *rest, *said])


def row(number: int, text: str, **changes: Any) -> dict[str, Any]:
    return {
        "caption_id": f"{number:032x}",
        "clip_id": f"{number:032x}",
        "kind": "detailed",
        "text": text,
        "language": "en",
        "origin": "model",
        "model": "m",
        "revision": "1",
        "prompt_id": "dense",
        "prompt_hash": "h",
        "evidence": {"finish": "stop"},
    } | changes


NOTHING = Measured()


@dataclass(frozen=True)
class Planted:
    """A way to spoil a good caption, and what was measured of its clip."""

    check: str
    spoil: Callable[[str, random.Random], str]
    measured: Measured = NOTHING
    finish: str = "stop"
    language: str = "en"


PANS = Measured(
    camera={
        "label": "pan left",
        "moves": [{"move": "pan left", "travel": -30.0}],
        "shake_px": 0.1,
        "anchored": 0.0,
    }
)
STANDS = Measured(camera={"label": "static", "moves": [], "shake_px": 0.1, "anchored": 0.9})
TAKE = Measured(
    scores={"turn_deg": 120.0, "path_m": 5.0},
    events=(
        {"text": "jumps three times, 30 cm high", "part": "body", "measures": {"count": 3}},
        {"text": "waves the right hand", "part": "right arm", "measures": {}},
        {"text": "walks forward, four steps", "part": "body", "measures": {"direction": "forward"}},
    ),
)


def ends(text: str) -> Callable[[str, random.Random], str]:
    return lambda good, rng: f"{good} {text}"


def begins(*texts: str) -> Callable[[str, random.Random], str]:
    return lambda good, rng: f"{rng.choice(texts)} {good[0].lower()}{good[1:]}"


def instead(*texts: str) -> Callable[[str, random.Random], str]:
    return lambda good, rng: rng.choice(texts)


def cut_off(good: str, rng: random.Random) -> str:
    words = good.split()
    at = rng.randint(len(words) // 2, len(words) - 2)
    return " ".join(words[:at]).rstrip(".,") + rng.choice(("", " the", ",", " and a"))


def looped(good: str, rng: random.Random) -> str:
    sentence = good.split(". ")[0]
    return f"{sentence}. {sentence}. {sentence}."


def stuttered(good: str, rng: random.Random) -> str:
    words = good.split()
    at = rng.randint(1, len(words) - 2)
    return " ".join([*words[:at], *[words[at]] * rng.randint(4, 9), *words[at + 1 :]])


PLANTED = (
    Planted("refusal", instead(
        "I'm sorry, but I can't help with that.",
        "I am unable to view videos or pictures directly.",
        "As an AI language model, I cannot identify people in images.",
        "Sorry, no image was provided. Please upload the frames of the video.",
        "Unfortunately, I can't see any frames here. Please provide the video.",
    )),
    Planted("refusal", lambda good, rng: good, finish="content_filter"),
    Planted("truncated", cut_off),
    Planted("truncated", lambda good, rng: good, finish="length"),
    Planted("repetition", looped),
    Planted("repetition", stuttered),
    Planted("boilerplate", begins(
        "The video shows", "This clip depicts", "In this video, we see", "The image features",
        "Here is a description of the video:", "Sure! Here's a caption:", "Caption:",
        "Based on the provided frames,", "The scene begins with",
    )),
    Planted("boilerplate", ends("<|im_end|>")),
    Planted("language", instead(
        "一个穿红色外套的女人走在海边的小路上，天空很蓝。",
        "Женщина в красном пальто идёт по дорожке у озера, а за ней бежит собака.",
        "Eine Frau geht langsam am Ufer entlang, und ihr Hund läuft hinterher; alles ruht.",
    )),
    Planted("length", instead("A woman.", "Street.", "Dog, lawn.")),
    Planted("length", lambda good, rng: " ".join(plain_caption(rng) + f" {n}." for n in range(60))),
    Planted("empty", instead("", "...", " - ")),
    Planted("contradiction", ends("The camera remains static throughout."), PANS),
    Planted("contradiction", ends("The camera pans to the right."), PANS),
    Planted("contradiction", ends("The camera zooms in on the hands."), STANDS),
    Planted("contradiction", ends("No text is visible."), Measured({"text_area": 0.06})),
    Planted("contradiction", ends("It happens at night."), Measured({"luma_mean_255": 180.0})),
    Planted("contradiction", ends("It is a sunny day."), Measured({"luma_mean_255": 20.0})),
    Planted("contradiction", ends("It is black and white."), Measured({"colourfulness": 60.0})),
    Planted("contradiction", ends("Nothing moves."), Measured({"motion_px": 9.0})),
    Planted("contradiction", ends("A person jumps twice."), TAKE),
    Planted("contradiction", ends("A person waves the left hand."), TAKE),
    Planted("contradiction", ends("A person walks backwards."), TAKE),
    Planted("contradiction", ends("A person turns to the right."), TAKE),
)  # fmt: skip


def test_planted_faults_are_found() -> None:
    """At least 95 % of 200, each by the check that it was planted for."""
    rng = random.Random(7)
    rows, measured = [], {}
    wanted: dict[str, str] = {}
    for number in range(FAULTS):
        fault = PLANTED[number % len(PLANTED)]
        text = fault.spoil(plain_caption(rng, camera=False), rng)
        item = row(number, text, evidence={"finish": fault.finish}, language=fault.language)
        rows.append(item)
        measured[item["clip_id"]] = fault.measured
        wanted[item["caption_id"]] = fault.check
    found: dict[str, set[str]] = {}
    for finding in findings_of(rows, measured):
        found.setdefault(finding.caption_id, set()).add(finding.check)
    missed = [
        (check, rows[int(name, 16)]["text"])
        for name, check in wanted.items()
        if check not in found.get(name, set())
    ]
    assert len(missed) <= 0.05 * FAULTS, missed
    assert set(wanted.values()) == set(CHECKS) - {"alike"}


def test_good_captions_are_left_alone() -> None:
    """At most 2 % false alarms on 400, with measurements that agree."""
    rng = random.Random(11)
    rows = [row(number, plain_caption(rng, camera=False)) for number in range(400)]
    agreeing = Measured(
        {"text_area": 0.0, "luma_mean_255": 120.0, "colourfulness": 40.0, "motion_px": 1.0},
        {"label": "static", "moves": [], "shake_px": 0.1, "anchored": 0.9},
    )
    findings = findings_of(rows, {item["clip_id"]: agreeing for item in rows})
    assert len({finding.caption_id for finding in findings}) <= 8, findings


def test_a_point_inside_a_number_ends_no_sentence() -> None:
    text = "From 0.0 s to 0.9 s, the person kicks. From 0.0 s to 0.9 s, the person swings its arms."
    assert findings_of([row(1, text)], {}) == []


def test_captions_of_rules_pass(filmed: Path) -> None:
    """What the rules say of rendered footage and takes has no fault."""
    media = filmed.parent / "takes"
    media.mkdir()
    for action in ("walk", "jump", "wave"):
        render_take(media / f"{action}.bvh", action, seconds=3)
    caption(filmed, Maker("rules"), workers=0, progress=None)
    curate([media], filmed, workers=0, progress=None)
    report = check_captions(Catalog.open(filmed), write=False)
    assert {item.captioner for item in report.captioners} == {"motion-rules@1", "video-rules@1"}
    total = sum(item.captions for item in report.captioners)
    assert total > 60
    assert len({finding.caption_id for finding in report.findings}) <= 0.02 * total, report.findings


def test_one_text_for_many_clips_is_told() -> None:
    same = [row(n, "A person stands in a room and looks around.") for n in range(6)]
    rng = random.Random(3)
    others = [row(10 + n, plain_caption(rng)) for n in range(60)]
    findings = findings_of([*same, *others], {})
    alike = {finding.caption_id for finding in findings if finding.check == "alike"}
    assert alike == {item["caption_id"] for item in same}
    rules = [item | {"origin": "rules"} for item in same]
    assert not [f for f in findings_of([*rules, *others], {}) if f.check == "alike"]


@pytest.mark.parametrize(
    "text",
    [
        "The camera is not static.",
        "The camera pans to the left.",
        "Without stopping, the camera moves on.",
        "A sign is seen; the text on it is red.",
    ],
)
def test_what_agrees_is_no_contradiction(text: str) -> None:
    assert contradictions(text, PANS) is None


def test_verdicts_are_columns_that_gates_can_ask_for(
    filmed: Path, endpoint: Any, reply: Any
) -> None:
    from curation.captions.registry import CaptionOptions

    texts = ["I'm sorry, I can't see the video.", "A wall.", "A red wall stands still."]
    endpoint.behave = lambda number, body: reply(text=texts[min(number, 2)])
    options = CaptionOptions(prompt="brief", endpoint=endpoint.url, concurrency=1)
    caption(filmed, Maker("openai:m", options), progress=None)
    catalog = Catalog.open(filmed)
    report = check_captions(catalog)
    assert (report.clips, report.written) == (6, 6)
    assert report.captioners[0].checks["refusal"] == 1
    faulty = "select count(*) from clips where caption_faults > 0"
    assert catalog.refresh().sql(faulty).value() >= 1
    why = "select caption_refusal from clips where caption_refusal <> ''"
    (reason,) = catalog.sql(why).rows()
    assert reason[0].startswith("openai:m@api/brief brief: ")
    assert check_captions(catalog).written == 0, "again changes nothing"


def test_two_prompts_are_compared(filmed: Path, endpoint: Any, reply: Any) -> None:
    from curation.captions.registry import CaptionOptions

    def say(text: str, prompt: str) -> None:
        endpoint.behave = lambda number, body: reply(text=text)
        options = CaptionOptions(prompt=prompt, endpoint=endpoint.url)
        caption(filmed, Maker("openai:m", options), progress=None)

    say("A bird sits on a red wall, then it flies away.", "brief")
    say("The video shows a bird that sits on a red wall", "brief-dense-frames")
    diff = compare(Catalog.open(filmed), "openai:m/brief", "openai:m/brief-dense-frames")
    assert len(diff.clips) == len(diff.regressions) == 6
    assert diff.repairs == []
    assert set(diff.clips[0].faults_b) >= {"boilerplate", "truncated"}
    assert (diff.precision, diff.recall) == (0.5, 1.0)


def test_events_are_matched_whatever_their_order() -> None:
    """Event-level precision and recall, as descriptions are judged by (Tarsier)."""
    told = "A man opens a door. He walks into the room, then sits down at a table."
    reference = "He sits at the table; a man opens the door. A cat sleeps on the sofa."
    assert event_agreement(told, reference) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert event_agreement(told, told) == (1.0, 1.0)
    assert event_agreement("", reference) == (0.0, 0.0)
