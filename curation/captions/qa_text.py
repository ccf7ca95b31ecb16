"""What can be wrong with a caption as a text, whatever it is about.

Each check says in a few words what it found, or nothing. They know English; of other languages
they check length, repetition, broken ends, refusals and near copies.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

__all__ = ["TEXT_CHECKS", "alike_groups", "word_set", "words_of"]

Row = Mapping[str, Any]
Check = Callable[[str, Row], "str | None"]


def word_set(text: str) -> frozenset[str]:
    """The words of a line."""
    return frozenset(text.split())


_WORD = re.compile(r"\w+(?:['’]\w+)?")
_REFUSAL = re.compile(
    r"^\W*(?:i['’]?m sorry|sorry,|i apologi[sz]e|my apologies|unfortunately,? i)\b"
    r"|\bas an? (?:ai|artificial intelligence|(?:large )?language model|multimodal)\b"
    r"|\bi(?:['’]m| am)? (?:can(?:no|['’])t|unable|not able|cannot|won['’]t be able) (?:to )?"
    r"(?:see|view|help|assist|describe|identify|provide|process|access|fulfil|comply|watch|analy)"
    r"|\b(?:no|without(?: an?| any)?) (?:image|video|picture|frame)s? (?:was|were|is|are|has|have|"
    r"been|provided|attached|to describe)"
    r"|\bplease (?:provide|upload|share|attach)\b",
    re.IGNORECASE,
)
_BOILERPLATE = re.compile(
    r"^\W*(?:(?:sure|certainly|of course|okay|ok|absolutely|here(?:['’]s| is| are))\b[^.:!]{0,80}"
    r"[:!,.]|(?:in )?th(?:e|is|ese) (?:short |brief |given |provided )?(?:video|clip|image|picture|"
    r"scene|footage|frame|photo|sequence)s?(?: clip| sequence| frames)? "
    r"(?:shows?|depicts?|features?|captures?|presents?|displays?|begins?|opens?|starts?|portrays?|"
    r"illustrates?|showcases?|is (?:of|about|a)|we (?:see|can see))\b"
    r"|(?:caption|description|answer|summary|assistant|output)\s*:|based on the "
    r"(?:provided |given )?(?:frames|images|video|pictures)|\*\*|#{1,4} |```)",
    re.IGNORECASE,
)
_LEFTOVER = re.compile(
    r"<\|?[a-z_]+\|?>|\[/?INST\]|</?s>|\b(?:user|assistant)\s*:\s", re.IGNORECASE
)
_ENDS_WELL = tuple(".!?…\"'”’)]}。！？」』")
_DANGLING = word_set(
    "a an the of to in on at by for with from and or but as is are was were be its his her their "
    "this that which who into onto over under while"
)
_ENGLISH = word_set(
    "the a an of to in on at is are and with for from by it its as while there this that no not "
    "he she they his her their who which one two over down up out moves shot camera"
)
_SCRIPTS = {
    "en": "latin", "de": "latin", "fr": "latin", "es": "latin", "it": "latin", "pt": "latin",
    "nl": "latin", "pl": "latin", "tr": "latin", "vi": "latin", "ru": "cyrillic", "uk": "cyrillic",
    "zh": "han", "ja": "han", "ko": "hangul", "ar": "arabic", "fa": "arabic", "hi": "devanagari",
    "el": "greek", "he": "hebrew",
}  # fmt: skip
_RANGES = {
    "latin": ((0x41, 0x24F), (0x1E00, 0x1EFF)), "cyrillic": ((0x400, 0x52F),),
    "han": ((0x3040, 0x30FF), (0x3400, 0x9FFF)), "hangul": ((0xAC00, 0xD7AF), (0x1100, 0x11FF)),
    "arabic": ((0x600, 0x6FF),), "devanagari": ((0x900, 0x97F),), "greek": ((0x370, 0x3FF),),
    "hebrew": ((0x590, 0x5FF),),
}  # fmt: skip

LENGTHS = {"brief": (3, 45), "detailed": (8, 500), "structured": (8, 900), "user prompt": (3, 80)}
"""Words that a caption of a kind has, at least and at most."""
OTHER_LENGTH = (2, 500)
SHORT_KINDS = frozenset(
    {"label", "action", "style", "caption", "text", "sound", "transcript", "framing", "pace",
     "camera", "motion", "first frame", "change"}
)  # fmt: skip
UNCHECKED_ENDS = frozenset({"label", "action", "caption", "transcript", "structured"})
"""Kinds that are no sentences, or not the captioner's own."""
WRONG_LETTERS = 0.3
ENGLISH_LEAST, ENGLISH_FROM = 0.08, 8
REPEATED_WORD, REPEATED_PHRASE, PHRASE_WORDS = 3, 3, 4


def words_of(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text)]


def empty(text: str, row: Row) -> str | None:
    if row["kind"] == "transcript":
        return None
    return None if _WORD.search(text) else "no words"


def refusal(text: str, row: Row) -> str | None:
    finish = _evidence(row).get("finish")
    if finish in ("content_filter", "refusal"):
        return f"the model ended with {finish}"
    found = _REFUSAL.search(text)
    return f"{found[0].strip()!r}" if found and row["kind"] != "transcript" else None


def truncated(text: str, row: Row) -> str | None:
    if _evidence(row).get("finish") == "length":
        return "the model ran out of tokens"
    words = words_of(text)
    if row["kind"] in UNCHECKED_ENDS or not words:
        return None
    stripped = text.rstrip()
    if stripped.endswith(("-", ",", ";", "…", "...", "(", ":")) and not stripped.endswith("!…"):
        return f"ends with {stripped[-1]!r}"
    if stripped.endswith(_ENDS_WELL):
        return _open_pair(stripped)
    if words[-1] in _DANGLING:
        return f"ends with {words[-1]!r}"
    return "ends without a full stop" if len(words) > LENGTHS["brief"][0] + 3 else None


def _open_pair(text: str) -> str | None:
    for opening, closing in (("(", ")"), ("[", "]"), ("“", "”")):
        if text.count(opening) > text.count(closing):
            return f"{opening} is never closed"
    return None


def repetition(text: str, row: Row) -> str | None:
    """A word said again and again, or a phrase or sentence that comes back."""
    words = words_of(text)
    run = 1
    for before, word in pairwise(words):
        run = run + 1 if word == before else 1
        if run >= REPEATED_WORD and not word.isdigit():
            return f"{word!r} {run} times in a row"
    sentences = Counter(
        " ".join(words_of(part))
        for part in re.split(r"[.!?]+(?!\d)|\n+", text)
        if len(words_of(part)) >= 3
    )
    for sentence, count in sentences.items():
        if count > 1:
            return f"says {count} times: {sentence[:60]}"
    phrases = Counter(
        tuple(words[n : n + PHRASE_WORDS]) for n in range(len(words) - PHRASE_WORDS + 1)
    )
    for phrase, count in phrases.items():
        if count >= REPEATED_PHRASE and count * PHRASE_WORDS > 0.25 * len(words):
            return f"{count} times {' '.join(phrase)!r}"
    return None


def boilerplate(text: str, row: Row) -> str | None:
    if row["origin"] == "import":
        return None
    found = _BOILERPLATE.search(text) or _LEFTOVER.search(text)
    return f"{found[0].strip()[:60]!r}" if found else None


def language(text: str, row: Row) -> str | None:
    """Letters of another script than the language has, or no English where it should be."""
    asked = (row["language"] or "").partition("-")[0].lower()
    script = _SCRIPTS.get(asked)
    letters = [ord(letter) for letter in _without_quotes(text) if letter.isalpha()]
    if script is None or len(letters) < 6:
        return None
    ranges = _RANGES[script]
    strange = sum(not any(a <= code <= b for a, b in ranges) for code in letters)
    if strange > WRONG_LETTERS * len(letters):
        return f"{strange} of {len(letters)} letters are not of {asked!r}"
    words = words_of(text)
    if asked == "en" and len(words) >= ENGLISH_FROM and row["kind"] != "structured":
        known = sum(word in _ENGLISH for word in words)
        if known < ENGLISH_LEAST * len(words):
            return f"{known} of {len(words)} words are everyday English"
    return None


def _without_quotes(text: str) -> str:
    """What is quoted was read from the screen and may be of any language."""
    return re.sub(r"“[^”]*”|\"[^\"]*\"", "", text)


def length(text: str, row: Row) -> str | None:
    kind = row["kind"]
    if kind == "transcript" or kind.startswith("part:"):
        return None
    least, most = LENGTHS.get(
        kind, (1 if kind in SHORT_KINDS else OTHER_LENGTH[0], OTHER_LENGTH[1])
    )
    count = len(words_of(text))
    if count == 0 or least <= count <= most:
        return None
    return f"{count} words, not {least} to {most}"


def _evidence(row: Row) -> Mapping[str, Any]:
    evidence = row.get("evidence")
    return evidence if isinstance(evidence, Mapping) else {}


TEXT_CHECKS: Mapping[str, Check] = {
    "empty": empty,
    "refusal": refusal,
    "truncated": truncated,
    "repetition": repetition,
    "boilerplate": boilerplate,
    "language": language,
    "length": length,
}


# -- the same words for many clips ---------------------------------------------------------------

ALIKE_CLIPS, ALIKE_SHARE = 5, 0.02
"""So many clips, and so large a share of all, that one text may stand for before it is told."""


def alike_groups(rows: Sequence[Row]) -> dict[str, str]:
    """Of captions by one model and prompt: those whose text stands for too many clips.

    Numbers and word order do not tell two texts apart. Rules say the same of clips that are filmed
    the same way, and labels name the same action; neither is a fault.
    """
    groups: dict[tuple[Any, ...], list[Row]] = {}
    totals: Counter[tuple[Any, ...]] = Counter()
    for row in rows:
        if row["origin"] not in ("model", "rewrite") or row["kind"] in UNALIKE_KINDS:
            continue
        captioner = (row["model"], row["revision"], row["prompt_hash"], row["kind"])
        totals[captioner] += 1
        groups.setdefault((*captioner, _shape(row["text"] or "")), []).append(row)
    found = {}
    for key, group in groups.items():
        clips = len({row["clip_id"] for row in group})
        if key[-1] and clips >= max(ALIKE_CLIPS, ALIKE_SHARE * totals[key[:-1]]):
            for row in group:
                found[row["caption_id"]] = f"{clips} clips have this text"
    return found


UNALIKE_KINDS = frozenset({"camera", "motion", "transcript", "change", "style"})
"""Kinds in which clips are often truly alike."""


def _shape(text: str) -> tuple[str, ...]:
    return tuple(sorted({word for word in words_of(text) if not word.isdigit()}))
