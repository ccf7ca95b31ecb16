"""Labels and captions that others wrote, read as they are, with their source.

| reader | file |
|---|---|
| `read_humanml_text` | HumanML3D and KIT text files: `caption#tokens#start#end` per line |
| `read_babel` | BABEL JSON: sequence and frame labels |
| `read_json` | a list of `{text, start_s, end_s}`, or annotations by id as in the KIT-ML index |
| `read_csv` | columns `text` and, where given, `start_s`, `end_s`, `label` |
| `read_label_ids` | a JSON of ids beside a motion, with tables of names (Bandai Namco) |

`read_labels` picks the reader.

A span of None is the whole take.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curation.mocap.problems import MocapFileError

__all__ = [
    "LABEL_SUFFIXES",
    "Label",
    "is_label_file",
    "read_babel",
    "read_csv",
    "read_humanml_text",
    "read_json",
    "read_label_ids",
    "read_labels",
]

LABEL_SUFFIXES = frozenset({".csv", ".json", ".txt"})
_TABLE_ENDING = "_label.txt"
"""How tables of names end: `dataset-1_content_label.txt` names the ids of `content`."""


@dataclass(frozen=True)
class Label:
    """One caption or label of a take."""

    text: str
    source: str
    """Where it came from: the format and the file."""
    start_s: float | None = None
    end_s: float | None = None
    kind: str = "caption"
    """caption, action or style."""
    take: str | None = None
    """The take's id or path, where the file says which of many it belongs to."""
    alias: str | None = None
    """Another name of the take, such as its number in the data set."""
    language: str | None = None
    """BCP 47 tag, where it is known."""


def is_label_file(path: Path) -> bool:
    """Whether a file in a folder may hold labels: tables of names and takes do not."""
    if path.suffix.lower() not in LABEL_SUFFIXES or path.name.endswith(_TABLE_ENDING):
        return False
    if path.suffix.lower() != ".txt":
        return True
    with path.open("rb") as file:
        return not file.read(64).lstrip().startswith(b"{")


def read_labels(path: Path) -> list[Label]:
    """The labels of a file, by its name and content."""
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return read_csv(path)
    if suffix == ".txt":
        return read_humanml_text(path)
    if suffix == ".json":
        content = _json(path)
        if isinstance(content, dict):
            if content and all(type(value) is int for value in content.values()):
                return read_label_ids(path, _tables_beside(path, list(content)))
            if any(_is_babel(entry) for entry in (content, *content.values())):
                return read_babel(path)
        return read_json(path)
    raise MocapFileError(f"{path.name} is no label file", allowed=".txt, .csv or .json")


def _is_babel(entry: Any) -> bool:
    return isinstance(entry, dict) and ("seq_ann" in entry or "frame_ann" in entry)


def _tables_beside(path: Path, keys: Sequence[str]) -> dict[str, Path]:
    """The tables of names for the ids of `path`: those whose name begins as its own does."""
    tables = {}
    for key in keys:
        ending = f"{key}{_TABLE_ENDING}"
        fitting = [
            table
            for table in path.parent.glob(f"*{ending}")
            if path.name.startswith(table.name.removesuffix(ending))
        ]
        if not fitting:
            raise MocapFileError(
                f"{path.name} holds ids, and no table beside it names those of {key!r}",
                hint=f"put NAME_{ending} there, where {path.name} begins with NAME_",
            )
        tables[key] = max(fitting, key=lambda table: len(table.name))
    return tables


def read_humanml_text(path: Path) -> list[Label]:
    labels = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        parts = line.rsplit("#", 3)
        if len(parts) != 4:
            raise MocapFileError.at(
                number, f"{len(parts)} fields", allowed="caption#tokens#start#end"
            )
        start, end = (_seconds(part, number) for part in parts[2:])
        whole = end is None or end <= 0
        labels.append(
            Label(
                parts[0].strip(),
                f"humanml:{path.name}",
                None if whole else start,
                None if whole else end,
            )
        )
    return labels


def _seconds(text: str, line: int) -> float | None:
    """A time; the published files hold `nan` for the whole clip here and there."""
    try:
        value = float(text)
    except ValueError:
        raise MocapFileError.at(line, f"{text!r} is not a time in seconds") from None
    return None if value != value else value


def read_babel(path: Path) -> list[Label]:
    content = _json(path)
    if not isinstance(content, dict):
        raise MocapFileError(f"{path.name} is no BABEL file", allowed="a JSON object")
    entries = [content] if _is_babel(content) else content.values()
    labels = []
    for entry in entries:
        take, number = entry.get("feat_p"), entry.get("babel_sid")
        for part in ("seq_ann", "frame_ann"):
            for label in (entry.get(part) or {}).get("labels") or []:
                start, end = label.get("start_t"), label.get("end_t")
                labels.append(
                    Label(
                        str(label.get("proc_label") or label.get("raw_label")),
                        f"babel:{path.name}",
                        None if start is None else float(start),
                        None if end is None else float(end),
                        "action",
                        None if take is None else str(take),
                        None if number is None else str(number),
                    )
                )
    return labels


def read_json(path: Path) -> list[Label]:
    content = _json(path)
    source = f"json:{path.name}"
    if isinstance(content, list):
        return [_entry(entry, source, None) for entry in content]
    if isinstance(content, dict):
        return [
            _entry(annotation, source, str(entry.get("path", number)), number)
            for number, entry in content.items()
            if isinstance(entry, dict)
            for annotation in entry.get("annotations", [])
        ]
    raise MocapFileError(f"{path.name} holds no labels", allowed="a list or an object")


def _entry(entry: Any, source: str, take: str | None, alias: str | None = None) -> Label:
    if isinstance(entry, str):
        return Label(entry, source, take=take, alias=alias)
    if not isinstance(entry, dict) or not isinstance(entry.get("text"), str):
        raise MocapFileError(f"a label without 'text': {str(entry)[:80]}", allowed="{text, ...}")
    start = entry.get("start_s", entry.get("start"))
    end = entry.get("end_s", entry.get("end"))
    return Label(
        entry["text"],
        source,
        None if start is None else float(start),
        None if end is None else float(end),
        str(entry.get("kind", "caption")),
        entry.get("take", take),
        alias,
    )


def read_csv(path: Path) -> list[Label]:
    labels = []
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if "text" not in (reader.fieldnames or []):
            raise MocapFileError.at(
                1, f"columns {reader.fieldnames}", allowed="text, and start_s, end_s, take, kind"
            )
        for row in reader:
            start, end = (
                _seconds(row[name], reader.line_num) if row.get(name) else None
                for name in ("start_s", "end_s")
            )
            kind, take = row.get("kind") or "caption", row.get("take") or None
            labels.append(Label(row["text"], f"csv:{path.name}", start, end, kind, take))
    return labels


def read_label_ids(path: Path, tables: Mapping[str, Path]) -> list[Label]:
    """Names for the ids of a JSON such as {"content": 6, "style": 11}.

    `tables` gives for each key the text file whose line number (from 0) is the id; what stands
    before the last underscore of a line is the data set's name and is left out.
    """
    content = _json(path)
    labels = []
    for key, table in tables.items():
        names = table.read_text(encoding="utf-8").splitlines()
        number = content.get(key) if isinstance(content, dict) else None
        if not isinstance(number, int) or not 0 <= number < len(names):
            raise MocapFileError(
                f"{path.name}: {key} {number!r}",
                allowed=f"0 to {len(names) - 1}, as in {table.name}",
            )
        kind = "style" if key == "style" else "action"
        text = names[number].rpartition("_")[2].replace("-", " ").strip()
        labels.append(Label(text, f"ids:{path.name}", kind=kind))
    return labels


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise MocapFileError.at(error.lineno, f"broken JSON: {error.msg}") from None
