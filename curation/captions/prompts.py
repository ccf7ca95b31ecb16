"""What models are asked: prompts that ship, and prompts of one's own.

A prompt holds everything that decides what comes out beside the model: words, pictures, schema,
lengths. Its hash covers all of it, so a changed prompt captions anew, and only its own rows.

    prompt("dense")                       one that ships
    prompt("my.txt")                      a file with the words of one's own
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from catalogs.errors import NotFoundError, UsageError, nearest
from catalogs.ids import settings_hash
from curation.captions.frames import Sampling

__all__ = ["PROMPTS", "Prompt", "prompt", "render_captions"]

Way = Literal["pictures", "differences", "captions"]

_PLAIN = (
    "Say only what can be seen. Do not begin with 'The video shows' or the like, do not guess "
    "names, moods or what happens outside of the pictures."
)
_FRAMES = "These pictures are frames of one video clip in order of time, at {times} seconds."


@dataclass(frozen=True)
class Prompt:
    """One way to ask."""

    id: str
    words: str
    """May hold {times}, {seconds}, {captions}, {language}."""
    kind: str = "detailed"
    """Of the text that comes out; with `fields`, of each of them their own."""
    way: Way = "pictures"
    """Look at pictures; look at key frames two by two and merge; or read captions."""
    sampling: Sampling | None = field(default_factory=Sampling)
    sheet: int = 0
    """So many of the pictures lie on one contact sheet in front of the others."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Names of a JSON answer with what each is to hold; each becomes a caption of that kind."""
    sources: tuple[str, ...] = ()
    """Kinds of captions that are read, all if empty."""
    change: str = ""
    """Asked about two neighbouring key frames."""
    max_tokens: int = 400
    temperature: float = 0.0
    window_s: float | None = None
    """Longer clips are captioned in windows of about this length."""
    language: str = "en"
    serves: tuple[str, ...] = ()
    """Ids of published systems whose way of asking this is."""

    @cached_property
    def hash(self) -> str:
        plain = asdict(replace(self, serves=()))
        return settings_hash({name: value for name, value in plain.items() if name != "serves"})

    @property
    def kinds(self) -> tuple[str, ...]:
        return ("structured", *self.fields) if self.fields else (self.kind,)

    @property
    def schema(self) -> dict[str, Any] | None:
        """JSON schema of the answer."""
        if not self.fields:
            return None
        properties = {
            name: {"type": "string", "description": meaning}
            for name, meaning in self.fields.items()
        }
        return {
            "type": "object",
            "properties": properties,
            "required": list(self.fields),
            "additionalProperties": False,
        }


def render_captions(captions: Iterable[Mapping[str, Any]]) -> str:
    """Captions as a prompt reads them, one a line with kind and time."""
    return "\n".join(
        f"[{row['kind']} {row['start_s'] or 0.0:.1f}-{row['end_s'] or 0.0:.1f} s] {row['text']}"
        for row in captions
        if row["text"]
    )


_DECLARED = (
    Prompt(
        "brief",
        f"{_FRAMES} Describe the clip in one sentence of at most 20 words. {_PLAIN}",
        kind="brief",
        max_tokens=80,
    ),
    Prompt(
        "dense",
        f"{_FRAMES} Describe the clip in full: who and what is seen and what it looks like, what "
        "happens and in which order, where it is, the light and the colours, and what the camera "
        f"does. {_PLAIN}",
        sampling=Sampling("changes", 12),
        max_tokens=600,
        serves=("tarsier",),
    ),
    Prompt(
        "brief-dense-frames",
        f"{_FRAMES} Say in one sentence what is done in the clip. {_PLAIN}",
        kind="brief",
        sampling=Sampling("uniform", 32, short_side=224, decoded=True),
        max_tokens=60,
        serves=("swinbert",),
    ),
    Prompt(
        "sheet",
        "The first picture is a contact sheet of a video clip, read row by row; the others are "
        f"frames of it, at {{times}} seconds. Describe the clip in a few sentences. {_PLAIN}",
        sampling=Sampling("uniform", 10),
        sheet=6,
        serves=("ts-llava",),
    ),
    Prompt(
        "camera",
        f"{_FRAMES} Describe only what the camera does: pan, tilt, zoom, roll, travel or none, "
        "with direction and speed, how it is held, the size of the shot and the angle.",
        kind="camera",
        sampling=Sampling("per-second", 16, per_s=2.0, decoded=True),
        max_tokens=120,
    ),
    Prompt(
        "apart",
        f"{_FRAMES} Keep two things apart. {_PLAIN}",
        fields={
            "content": "what is seen and what it looks like, as in a still picture; no motion",
            "motion": "what moves and how, without what it looks like",
        },
    ),
    Prompt(
        "structured",
        f"{_FRAMES} Fill in every field with plain sentences. {_PLAIN}",
        sampling=Sampling("changes", 12),
        fields={
            "brief": "the clip in one sentence",
            "detailed": "the clip in four to eight sentences",
            "subject": "the main subjects, what they look like and what they do",
            "background": "the place and what stands around",
            "camera": "what the camera does and the size of the shot",
            "motion": "what moves, where to and how fast",
            "style": "light, colours and the look of the pictures",
        },
        max_tokens=900,
    ),
    Prompt(
        "differences",
        "Below stand the description of the first key frame of a clip and the changes from each "
        "key frame to the next, with their times. Write one description of the whole clip in "
        f"order of time. {_PLAIN}\n\n{{captions}}",
        way="differences",
        sampling=Sampling("changes", 6),
        change=(
            "Two key frames of one video clip, at {times} seconds. Say only what has changed from "
            "the first to the second: what moved, came, went or looks different, and the camera."
        ),
        max_tokens=500,
        serves=("sharegpt4video",),
    ),
    Prompt(
        "brief-from-detailed",
        "Shorten this description of a video clip to one sentence of at most 20 words. Add "
        "nothing.\n\n{captions}",
        kind="brief",
        way="captions",
        sampling=None,
        sources=("detailed",),
        max_tokens=80,
    ),
    Prompt(
        "detailed-from-parts",
        "Write one description of a video clip from these statements about it. Keep every fact, "
        "add none.\n\n{captions}",
        way="captions",
        sampling=None,
        max_tokens=600,
    ),
    Prompt(
        "user-prompt",
        "Write what a person would type to have this video clip made: one or two plain sentences, "
        "no talk of videos or cameras unless it matters.\n\n{captions}",
        kind="user prompt",
        way="captions",
        sampling=None,
        sources=("detailed", "structured"),
        max_tokens=120,
    ),
    Prompt(
        "merge-windows",
        "These descriptions are of stretches of one video clip, in order of time. Merge them into "
        "one description of the whole clip; say once what stays.\n\n{captions}",
        way="captions",
        sampling=None,
        sources=("detailed",),
        max_tokens=700,
    ),
    Prompt(
        "everything",
        "Below stands what is known of a video clip: descriptions of its pictures, its sound and "
        "what is said in it; some of it may be missing. Write one text about the clip that joins "
        "all of it.\n\n{captions}",
        way="captions",
        sampling=None,
        sources=("brief", "detailed", "sound", "transcript", "text"),
        max_tokens=500,
        serves=("vx2text",),
    ),
    Prompt(
        "translate",
        "Translate this description of a video clip into {language}. Answer with the translation "
        "only.\n\n{captions}",
        way="captions",
        sampling=None,
        sources=("detailed",),
        max_tokens=700,
    ),
)

PROMPTS: dict[str, Prompt] = {declared.id: declared for declared in _DECLARED}


def prompt(name: str, **changes: Any) -> Prompt:
    """A prompt that ships, or the words of a text file, with some settings changed."""
    known = {key: value for key, value in changes.items() if value is not None}
    if name in PROMPTS:
        return replace(PROMPTS[name], **known)
    path = Path(name)
    if path.suffix == ".txt" or path.is_file():
        if not path.is_file():
            raise NotFoundError(f"the prompt {name} does not exist", hint="give a text file")
        words = path.read_text(encoding="utf-8").strip()
        if not words:
            raise UsageError(f"the prompt {name} is empty", allowed="a text file with words")
        _check_places(name, words)
        return replace(Prompt(path.stem, words), **known)
    raise NotFoundError(
        f"no prompt is called {name!r}",
        allowed=", ".join(PROMPTS) + ", or a text file",
        hint=nearest(name, PROMPTS),
    )


def _check_places(name: str, words: str) -> None:
    try:
        words.format(times="", seconds="", captions="", language="")
    except (KeyError, IndexError, ValueError) as error:
        raise UsageError(
            f"the prompt {name} has a place {error} that nothing fills",
            allowed="{times}, {seconds}, {captions}, {language}; write {{ for a brace",
        ) from error
