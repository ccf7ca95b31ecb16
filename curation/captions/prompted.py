"""Captions from a model that answers questions about pictures or texts.

What is asked and what becomes of the answer is the same for every model; how the model is reached
is behind `Model`: an endpoint (`endpoint.py`) or weights on this machine (`local.py`).
"""

from __future__ import annotations

import json
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from curation.captions.base import Answer, Captioner, Job, Picture, Text, Window
from curation.captions.base import split_evenly as windows_of
from curation.captions.prompts import Prompt, render_captions

__all__ = ["PromptedCaptioner", "Question", "Reply", "parsed_json"]

REPAIR = (
    "That was not the JSON object that was asked for. Answer again with the JSON object only, "
    "with the fields {fields}."
)


@dataclass(frozen=True, slots=True)
class Question:
    """What a model is asked at once."""

    words: str
    pictures: tuple[bytes, ...] = ()
    """JPEG."""
    max_tokens: int = 400
    temperature: float = 0.0
    schema: Mapping[str, Any] | None = None
    said: tuple[str, ...] = ()
    """The answer before and what was wrong with it, when it is asked again."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model answered."""

    text: str
    finish: str | None = "stop"
    tokens: int | None = None
    """Read and written."""
    model: str | None = None
    """What the model calls itself."""
    seconds: float = 0.0
    note: str | None = None
    """Something the row shall say, such as a batch that had to shrink."""


class PromptedCaptioner(Captioner):
    """Base of captioners that follow a prompt."""

    def __init__(self, name: str, revision: str, prompt: Prompt, source: str | None = None):
        self.name, self.revision = name, revision
        self.prompt = prompt
        self.prompt_id = prompt.id
        self.prompt_hash = prompt.hash if source is None else f"{prompt.hash}/{source}"
        self.origin = "rewrite" if prompt.way == "captions" else "model"
        self.kinds = prompt.kinds
        self.sampling = prompt.sampling
        self.needs = ("captions",) if prompt.way == "captions" else ()
        self.media = ("video", "mocap") if prompt.way == "captions" else ("video",)
        self._source = source

    @abstractmethod
    def ask(self, question: Question) -> Reply:
        """One question to the model."""

    def windows(self, duration_s: float) -> list[Window]:
        return windows_of(duration_s, self.prompt.window_s)

    def caption(self, job: Job) -> Answer:
        began = time.perf_counter()
        answer = self._differences(job) if self.prompt.way == "differences" else self._single(job)
        answer.seconds = answer.seconds or time.perf_counter() - began
        return answer

    # -- one question ----------------------------------------------------------------------

    def question(self, job: Job) -> Question | None:
        """What is asked about a window; None where there is nothing to ask about."""
        prompt = self.prompt
        if prompt.way == "captions":
            chosen = self._captions(job)
            if not chosen:
                return None
            return self._asked(job, prompt.words, (), render_captions(chosen))
        if not job.pictures:
            return None
        return self._asked(job, prompt.words, _shown(job.pictures, prompt.sheet))

    def finished(self, job: Job, question: Question, reply: Reply) -> Answer:
        """The texts of a reply; one that is not the JSON that was asked for is asked again."""
        replies = [reply]
        values = parsed_json(reply.text, self.prompt.fields) if question.schema else None
        if question.schema and values is None and not _refused(reply):
            repair = REPAIR.format(fields=", ".join(self.prompt.fields))
            replies.append(self.ask(replace(question, said=(reply.text, repair))))
            values = parsed_json(replies[-1].text, self.prompt.fields)
        texts = self._texts(job, replies[-1], values, bool(question.schema))
        return Answer(texts, _sum(replies), sum(reply.seconds for reply in replies))

    def _single(self, job: Job) -> Answer:
        question = self.question(job)
        if question is None:
            return Answer(())
        return self.finished(job, question, self.ask(question))

    def _texts(
        self, job: Job, reply: Reply, values: Mapping[str, str] | None, structured: bool
    ) -> list[Text]:
        prompt = self.prompt
        evidence = self._evidence(job, reply)
        if not structured:
            return [Text(prompt.kind, reply.text.strip(), prompt.language, evidence)]
        if values is None:
            evidence |= {"problem": "not the JSON that was asked for"}
            return [Text("structured", reply.text.strip(), prompt.language, evidence)]
        whole = Text(
            "structured", json.dumps(values, ensure_ascii=False), prompt.language, evidence
        )
        parts = [
            Text(kind, text.strip(), prompt.language, evidence) for kind, text in values.items()
        ]
        return [whole, *parts]

    def _evidence(self, job: Job, reply: Reply) -> dict[str, Any]:
        evidence: dict[str, Any] = {"finish": reply.finish}
        if reply.model and reply.model != self.name:
            evidence["answered_by"] = reply.model
        if reply.note:
            evidence["note"] = reply.note
        if self.prompt.way == "captions":
            evidence["captions"] = [row["caption_id"] for row in self._captions(job)]
        else:
            evidence["frames_s"] = [picture.time_s for picture in job.pictures]
        return evidence

    # -- key frame by key frame ------------------------------------------------------------

    def _differences(self, job: Job) -> Answer:
        """Describe the first key frame, then every change, then all of it at once."""
        prompt, pictures = self.prompt, job.pictures
        if not pictures:
            return Answer(())
        first = "Describe this first key frame of a video clip. Say only what can be seen."
        replies = [self.ask(self._asked(job, first, (pictures[0].jpeg,)))]
        steps = [_step("first frame", pictures[0].time_s, pictures[0].time_s, replies[0])]
        for before, after in pairwise(pictures):
            pair = replace(job, pictures=(before, after))
            question = self._asked(pair, prompt.change, (before.jpeg, after.jpeg))
            replies.append(self.ask(question))
            steps.append(_step("change", before.time_s, after.time_s, replies[-1]))
        merged = self._asked(job, prompt.words, (), render_captions(steps))
        replies.append(self.ask(merged))
        evidence = self._evidence(job, replies[-1])
        texts = [Text(prompt.kind, replies[-1].text.strip(), prompt.language, evidence)]
        texts += [
            Text(
                step["kind"],
                step["text"],
                prompt.language,
                {"finish": reply.finish},
                Window(step["start_s"], step["end_s"]),
            )
            for step, reply in zip(steps, replies, strict=False)
        ]
        return Answer(texts, _sum(replies), sum(reply.seconds for reply in replies))

    # -- words -----------------------------------------------------------------------------

    def _captions(self, job: Job) -> list[Mapping[str, Any]]:
        """The captions to read: of the asked kinds, in the window, never one's own."""
        kinds = self.prompt.sources
        chosen = [
            row
            for row in job.captions
            if (not kinds or row["kind"] in kinds)
            and not row["kind"].startswith("part:")
            and row["text"]
            and (self._source is None or row["model"] == self._source)
            and not (row["model"] == self.name and row["prompt_hash"] == self.prompt_hash)
            and (row["origin"] != "rewrite" or self._source is not None)
        ]
        return [row for row in chosen if _overlaps(row, job.window)]

    def _asked(
        self, job: Job, words: str, pictures: tuple[bytes, ...], captions: str = ""
    ) -> Question:
        prompt = self.prompt
        text = words.format(
            times=", ".join(f"{picture.time_s:.1f}" for picture in job.pictures),
            seconds=f"{job.window.end_s - job.window.start_s:.1f}",
            captions=captions,
            language=prompt.language,
        )
        return Question(text, pictures, prompt.max_tokens, prompt.temperature, prompt.schema)


def _shown(pictures: Sequence[Picture], sheet: int) -> tuple[bytes, ...]:
    """The pictures; with `sheet` so many of them on a contact sheet, in front of all."""
    singles = tuple(picture.jpeg for picture in pictures)
    if not sheet:
        return singles
    from curation.captions.sheets import contact_sheet_of

    step = max(1.0, len(pictures) / sheet)
    chosen = [pictures[int(n * step)] for n in range(min(sheet, len(pictures)))]
    return (contact_sheet_of(chosen), *singles)


def parsed_json(text: str, fields: Mapping[str, str]) -> dict[str, str] | None:
    """The asked fields of a JSON answer, also out of a code fence; None when it holds no such."""
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start:
        return None
    try:
        found = json.loads(text[start : end + 1])
    except ValueError:
        return None
    if not isinstance(found, dict) or not all(isinstance(found.get(f), str) for f in fields):
        return None
    return {name: found[name] for name in fields}


def _refused(reply: Reply) -> bool:
    return reply.finish in ("content_filter", "refusal")


def _step(kind: str, start_s: float, end_s: float, reply: Reply) -> dict[str, Any]:
    return {"kind": kind, "start_s": start_s, "end_s": end_s, "text": reply.text.strip()}


def _sum(replies: Sequence[Reply]) -> int | None:
    counts = [reply.tokens for reply in replies]
    return None if None in counts else sum(count for count in counts if count is not None)


def _overlaps(row: Mapping[str, Any], window: Window) -> bool:
    end = row["end_s"] if row["end_s"] is not None else float("inf")
    return (row["start_s"] or 0.0) < window.end_s and end > window.start_s
