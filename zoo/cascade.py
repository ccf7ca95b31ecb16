"""Generators one after the other: a picture, then a clip from it, then more frames, then more size.

A stage reads what earlier stages made: as a condition, or as frames that are known. With a folder
each result is stored there and taken from there next time, so one stage can be run alone, and a
first picture that was liked is kept.

    first = Stage("picture", painter, frames=1)
    stages = [first, Stage("clip", animator, reads={"image": "picture"})]
    run(stages, {"text": ["a dog runs"]}, folder="drafts")["clip"]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from zoo.errors import NotFoundError
from zoo.generator import Decoding, Generator, Known

__all__ = ["Stage", "rows", "run"]


@dataclass(frozen=True)
class Stage:
    """A generator, and which earlier result it reads as which condition.

    "image" reads the first frame of a result, "known" spreads its frames evenly over the clip,
    from the first to the last; every other condition reads the whole clip.
    """

    name: str
    model: Generator
    reads: Mapping[str, str] = field(default_factory=dict)
    frames: int = 0


def run(
    stages: Sequence[Stage],
    asked: Mapping[str, Sequence[Any]],
    *,
    count: int = 1,
    folder: str | Path | None = None,
    seed: int = 0,
    decoding: Decoding | None = None,
) -> dict[str, Tensor]:
    """What every stage made, by its name; each is asked for what it can be asked for."""
    made: dict[str, Tensor] = {}
    for stage in stages:
        file = None if folder is None else Path(folder) / f"{stage.name}.safetensors"
        if file is not None and file.exists():
            made[stage.name] = load_file(file)["x"]
            continue
        made[stage.name] = _made(stage, asked, made, count, folder, seed, decoding)
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            save_file({"x": made[stage.name].contiguous()}, file)
    return made


def rows(clip: Tensor) -> Tensor:
    """A clip (B, T, H, W, C) as a condition: its places in raster order, (B, T * H * W, C)."""
    return clip.flatten(1, 3)


def _made(
    stage: Stage,
    asked: Mapping[str, Sequence[Any]],
    made: Mapping[str, Tensor],
    count: int,
    folder: str | Path | None,
    seed: int,
    decoding: Decoding | None,
) -> Tensor:
    model = stage.model
    names = [condition.name for condition in model.config.conditions]
    given = {name: value for name, value in asked.items() if name in names}
    known = None
    for name, source in stage.reads.items():
        before = _result(source, made, folder)
        if name == "known":
            known = _spread(before, model.space.shape(len(before), stage.frames))
        else:
            given[name] = rows(before[:, :1] if name == "image" else before)
    conditions = model.given(**given)
    return model.sample(count, conditions, decoding, seed=seed, frames=stage.frames, known=known).x


def _result(name: str, made: Mapping[str, Tensor], folder: str | Path | None) -> Tensor:
    if name in made:
        return made[name]
    file = None if folder is None else Path(folder) / f"{name}.safetensors"
    if file is None or not file.exists():
        raise NotFoundError(
            f"there is no result of the stage {name!r}",
            hint="run that stage before, or name the folder that holds its result",
        )
    return load_file(file)["x"]


def _spread(before: Tensor, shape: tuple[int, ...]) -> Known:
    """Frames at even distances in a longer clip."""
    places = torch.linspace(0, shape[1] - 1, before.shape[1]).round().long()
    x, mask = torch.zeros(shape), torch.zeros(shape[:-1], dtype=torch.bool)
    x[:, places], mask[:, places] = before, True
    return Known(x, mask)
