"""What is told of every tokenizer in a list, from a file: building them all takes ten seconds.

`models.tsv` is made from the registry, and a test compares the two:

    python -m zoo.table > zoo/models.tsv
"""

from __future__ import annotations

import csv
import fnmatch
import sys
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.registry import Preset

__all__ = ["Listed", "from_registry", "listed", "row_of", "text_of"]


@dataclass(frozen=True, slots=True)
class Listed:
    """One tokenizer, in words and marks."""

    name: str
    modality: str
    frames: str
    compression: str
    codes: str
    discrete: bool
    streaming: bool
    ordered: bool
    weights: bool
    """Whether it comes trained."""


def listed(
    pattern: str = "*",
    *,
    modality: str | None = None,
    discrete: bool | None = None,
    streaming: bool | None = None,
    ordered: bool | None = None,
    weights: bool | None = None,
) -> list[Listed]:
    """The tokenizers that match a wildcard and everything asked for, by name."""
    return [
        row
        for row in _stored()
        if fnmatch.fnmatchcase(row.name, pattern)
        and modality in (None, row.modality)
        and discrete in (None, row.discrete)
        and streaming in (None, row.streaming)
        and ordered in (None, row.ordered)
        and weights in (None, row.weights)
    ]


def _stored() -> Iterator[Listed]:
    text = resources.files("zoo").joinpath("models.tsv").read_text(encoding="utf-8")
    marks = {field.name for field in fields(Listed) if field.type == "bool"}
    for row in csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE):
        values: dict[str, Any] = {k: v == "yes" if k in marks else v for k, v in row.items()}
        yield Listed(**values)


def from_registry() -> list[Listed]:
    """The rows as the code has them now."""
    from zoo.hub import shipped
    from zoo.registry import presets

    trained = shipped()
    return [row_of(preset, name in trained) for name, preset in presets().items()]


def row_of(preset: Preset, weights: bool) -> Listed:
    """One row; `weights` says whether the model comes trained."""
    spec = preset.spec
    codes = (
        "x".join(map(str, stream.levels)) or f"{stream.channels} channels"
        for stream in spec.streams
    )
    return Listed(
        preset.name,
        spec.modality,
        str(spec.length),
        "x".join(map(str, spec.compression)),
        " + ".join(codes),
        spec.discrete,
        spec.streaming,
        any(stream.ordered for stream in spec.streams),
        weights,
    )


def text_of(rows: Sequence[Listed]) -> str:
    """The file."""
    lines = ["\t".join(field.name for field in fields(Listed))]
    lines += ["\t".join(map(_word, astuple(row))) for row in rows]
    return "\n".join(lines) + "\n"


def _word(value: str | bool) -> str:
    return value if isinstance(value, str) else "yes" if value else "no"


if __name__ == "__main__":
    sys.stdout.write(text_of(from_registry()))
