"""What of a clip is kept when a generator makes the rest: its stored tokens, and a mask."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from catalogs.catalog import Catalog
from catalogs.errors import NotFoundError, UsageError
from catalogs.schema import view_name
from tokenize_jobs.shards import unpack
from zoo.adapters.pipelines import Pipeline
from zoo.generator import Generator, Known

__all__ = ["known_of_clip", "known_of_picture", "parse_keep", "tokens_of_model"]

_KEEP = re.compile(r"(first|ends):(\d+)")


def known_of_clip(
    model: Generator, catalog: Catalog, clip_id: str, keep: str, count: int, frames: int = 0
) -> Known:
    """The first window of a clip for `count` samples; `keep` is `first:N` or `ends:N`."""
    table = tokens_of_model(catalog, model)
    assert model.source is not None
    view = view_name(table)
    rows = catalog.sql(
        f'select * from "{view}" where clip_id like ? order by clip_id, window_index limit 1',
        [f"{clip_id}%"],
    ).arrow()
    if not rows.num_rows:
        raise NotFoundError(
            f"{table} has no window of clip {clip_id}", hint="clipmill tokenize makes them"
        )
    arrays = unpack(rows, catalog.columns(table))[0]
    values = arrays[model.source.stream or next(iter(arrays))]
    shape = model.space.shape(count, frames)
    kind = torch.long if model.space.discrete else torch.float32
    x = torch.zeros(shape, dtype=kind)
    there = min(len(values), shape[1])
    x[:, :there] = torch.as_tensor(values.astype("int64" if model.space.discrete else "float32"))[
        :there
    ]
    mask = torch.zeros(shape[: 1 + len(model.space.grid)], dtype=torch.bool)
    for part in parse_keep(keep, there):
        mask[:, part] = True
    return Known(x, mask)


def known_of_picture(
    model: Generator, path: Path, count: int, frames: int = 0, size: tuple[int, int] | None = None
) -> Known:
    """A picture as the first frame of `count` samples, cut to their shape around its middle."""
    if not isinstance(model, Pipeline):
        raise UsageError(
            f"{model.name} makes tokens and begins with no picture",
            hint="--clip CATALOG:ID keeps the first positions of a clip",
        )
    rows, columns = size or model.spec.size
    try:
        picture = ImageOps.fit(Image.open(path).convert("RGB"), (columns, rows))
    except FileNotFoundError:
        raise NotFoundError(f"there is no picture at {path}") from None
    except UnidentifiedImageError:
        raise UsageError(f"{path} is no picture", allowed="PNG, JPEG and the like") from None
    shape = (count, frames or model.spec.frames, rows, columns, 3)
    x, mask = torch.zeros(shape), torch.zeros(shape[:-1], dtype=torch.bool)
    x[:, 0] = torch.from_numpy(np.array(picture)).float() / 127.5 - 1
    mask[:, 0] = True
    return Known(x, mask)


def parse_keep(text: str, length: int) -> list[slice]:
    """Which positions in time are kept."""
    match = _KEEP.fullmatch(text)
    if match is None or not 0 < int(match[2]) <= length:
        raise UsageError(f"--keep is {text!r}", allowed=f"first:N or ends:N, N from 1 to {length}")
    count = int(match[2])
    first = [slice(0, count)]
    return first if match[1] == "first" else [*first, slice(length - count, length)]


def tokens_of_model(catalog: Catalog, model: Generator) -> str:
    """The table with the tokens that a generator learned to make."""
    if model.source is None:
        raise UsageError(f"{model.name} was trained on no tokenizer's tokens")
    for table in catalog.tables():
        if table.startswith("tokens/") and table.endswith(f"@{model.source.spec_hash[:12]}"):
            return table
    raise NotFoundError(
        f"the catalog holds no tokens of {model.source.name} as {model.name} learned them",
        allowed=", ".join(t for t in catalog.tables() if t.startswith("tokens/")) or "none yet",
    )
