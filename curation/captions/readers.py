"""Texts that others wrote about video, as labels: subtitles, tables and files beside a video.

| file | what it holds |
|---|---|
| `.vtt`, `.srt` | subtitles: each cue is a transcript of its span; `talk.en.vtt` is of `talk` |
| `.parquet` | columns `text` or `caption`, `file`, `start_s`, `end_s`, `kind`, `language` |
| `.txt` | beside `film.mp4`: `film.txt` is its caption (with `#` fields: HumanML3D and KIT) |

Everything else is read by `curation.mocap.labels`.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from curation.mocap.labels import LABEL_SUFFIXES, Label, is_label_file, read_labels
from curation.mocap.problems import MocapFileError

__all__ = ["TEXT_SUFFIXES", "holds_texts", "read_texts"]

SUBTITLES = frozenset({".vtt", ".srt"})
TEXT_SUFFIXES = LABEL_SUFFIXES | SUBTITLES | {".parquet"}

_TIME = r"(?:(\d+):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
_CUE = re.compile(rf"^\s*{_TIME}\s*-->\s*{_TIME}")
_LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[A-Za-z0-9]{2,8})*")
_TAG = re.compile(r"<[^>]*>|\{\\[^}]*\}")
_NAMES = ("file", "uri", "path", "take", "source")
_TEXTS = ("text", "caption")


def holds_texts(path: Path) -> bool:
    """Whether a file in a folder may hold texts."""
    if path.suffix.lower() in SUBTITLES | {".parquet"}:
        return True
    return is_label_file(path)


def read_texts(path: Path) -> list[Label]:
    """The texts of a file, by its name and content."""
    suffix = path.suffix.lower()
    if suffix in SUBTITLES:
        return _read_subtitles(path)
    if suffix == ".parquet":
        return _read_table(path)
    if suffix == ".txt":
        text = _decoded(path)
        if "#" not in text:
            kept = " ".join(text.split())
            return [Label(kept, f"file beside the media: {path.name}")] if kept else []
    return read_labels(path)


def _decoded(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise MocapFileError(
            f"{path.name} is not UTF-8: {error}", allowed="text in UTF-8"
        ) from error


# -- subtitles -----------------------------------------------------------------------------------


def _read_subtitles(path: Path) -> list[Label]:
    stem, _, language = path.stem.rpartition(".")
    spoken = language if stem and _LANGUAGE.fullmatch(language) else None
    take = str(path.absolute().with_name(stem)) if spoken else None
    name = "WebVTT" if path.suffix.lower() == ".vtt" else "SRT"
    labels = [
        Label(
            text,
            f"{name} {path.name}",
            start_s,
            end_s,
            kind="transcript",
            take=take,
            language=spoken,
        )
        for start_s, end_s, text in _cues(_decoded(path))
        if text
    ]
    if not labels:
        raise MocapFileError(
            f"{path.name} holds no cue", allowed="lines such as 00:01.000 --> 00:04.000 with text"
        )
    return labels


def _cues(text: str) -> Iterator[tuple[float, float, str]]:
    """Start, end and text of every cue; what rolls on from cue to cue is said once."""
    last: list[str] = []
    for block in re.split(r"\r?\n[ \t]*\r?\n", text):
        lines = block.splitlines()
        at = next((n for n, line in enumerate(lines) if _CUE.match(line)), None)
        if at is None:
            continue
        found = _CUE.match(lines[at])
        assert found is not None
        times = found.groups()
        spoken = [html.unescape(_TAG.sub("", line)).strip() for line in lines[at + 1 :]]
        spoken = [line for line in spoken if line]
        fresh = [line for line in spoken if line not in last]
        last = spoken
        yield _seconds(*times[:4]), _seconds(*times[4:]), " ".join(fresh)


def _seconds(hours: str | None, minutes: str, seconds: str, fraction: str) -> float:
    whole = int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds)
    return whole + int(fraction.ljust(3, "0")) / 1000


# -- tables --------------------------------------------------------------------------------------


def _read_table(path: Path) -> list[Label]:
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (OSError, ValueError) as error:
        raise MocapFileError(f"{path.name} is no Parquet table: {error}") from error
    columns = set(table.column_names)
    text = next((name for name in _TEXTS if name in columns), None)
    if text is None:
        raise MocapFileError(
            f"{path.name} has the columns {', '.join(table.column_names)}",
            allowed="a column text or caption, and file, start_s, end_s, kind, language",
        )
    file = next((name for name in _NAMES if name in columns), None)
    return [
        _label(row, row[text], row[file] if file else None, path)
        for row in table.to_pylist()
        if row[text]
    ]


def _label(row: dict[str, Any], text: str, take: str | None, path: Path) -> Label:
    return Label(
        str(text),
        str(row.get("model") or f"Parquet {path.name}"),
        row.get("start_s"),
        row.get("end_s"),
        kind=str(row.get("kind") or "caption"),
        take=take,
        language=row.get("language"),
    )
