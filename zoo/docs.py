"""The page `docs/models.md`, made from the registry.

python -m zoo.docs > docs/models.md
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from zoo.registry import Preset, generators, presets

__all__ = ["page"]

HEAD = """\
# Models

Every tokenizer of the zoo, family by family, then every generator. This page is made from the
registry: `python -m zoo.docs > docs/models.md`. `clipmill zoo list` and `clipmill zoo show NAME`
tell the same. Published numbers are the papers' own, under the papers' own protocols: they tell
what to expect of trained weights, and were not measured here. Those that come trained are listed by
`clipmill zoo list --weights`; `zoo.create` gives the others fresh weights.

A model whose name ends in `_tiny` is small enough to be trained in a test. It stands for the
full-size ones beside it: what they share is tested on it.
"""


def page() -> str:
    """The whole page."""
    ordered = sorted(presets().values(), key=lambda preset: (preset.family.family(), preset.name))
    parts = [HEAD]
    for family, members in groupby(ordered, key=lambda preset: preset.family.family()):
        group = list(members)
        summary = (group[0].family.__doc__ or "").strip().splitlines()[0]
        parts.append(f"## {family}\n\n{summary}\n")
        parts += ["| model | frames | compression | codes at a position | streams | from |"]
        parts += ["|---|---|---|---|---|---|", *map(_row, group), ""]
        parts += [*_published(group)]
    return "\n".join([*parts, *_generators()])


def _generators() -> Iterator[str]:
    """Generators, family by family."""
    yield "# Generators\n"
    ordered = sorted(
        generators().values(), key=lambda preset: (preset.family.family(), preset.name)
    )
    for family, members in groupby(ordered, key=lambda preset: preset.family.family()):
        group = list(members)
        summary = (group[0].family.__doc__ or "").strip().splitlines()[0]
        yield f"## {family}\n\n{summary}\n"
        yield "| model | grid | makes | asked for | from |"
        yield "|---|---|---|---|---|"
        for preset in group:
            space = preset.config.space
            makes = " x ".join(map(str, space.levels)) + " codes"
            cells = (
                f"`{preset.name}`",
                "x".join(map(str, space.grid)),
                makes if space.discrete else f"{space.channels} channels",
                ", ".join(condition.name for condition in preset.config.conditions),
                preset.paper,
            )
            yield f"| {' | '.join(cells)} |"
        yield ""
        yield from _published(group)


def _row(preset: Preset) -> str:
    spec = preset.spec
    codes = "<br>".join(
        " x ".join(map(str, stream.levels)) if stream.discrete else f"{stream.channels} channels"
        for stream in spec.streams
    )
    cells = (
        f"`{preset.name}`",
        str(spec.length),
        "x".join(map(str, spec.compression)),
        codes,
        "yes" if spec.streaming else "no",
        preset.paper,
    )
    return f"| {' | '.join(cells)} |"


def _published(group: list[Preset]) -> Iterator[str]:
    """The papers' numbers of a family."""
    for preset in group:
        if preset.published:
            told = ", ".join(f"{what} {value}" for what, value in preset.published.items())
            yield f"- `{preset.name}`, published: {told}"
    if any(preset.published for preset in group):
        yield ""


if __name__ == "__main__":
    print(page(), end="")
