"""Stored tokens against their media: decode a sample, measure it, and put it side by side.

    for check in verify(catalog, "tokens/video.starter@0123456789ab", "video/starter", clips=8):
        print(check.clip_id, check.error)

The media are read again and encoded again: tokens that are not what the tokenizer gives now are
reported as different, so a wrong model, a changed decoder or a damaged shard cannot pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from catalogs.catalog import Catalog
from catalogs.errors import NotFoundError
from catalogs.schema import view_name
from catalogs.storage import local_copy
from curation.media.guard import GuardedWorker
from tokenize_jobs.clips import ChosenSource, chosen_sources, frame_times
from tokenize_jobs.plan import kind_of
from tokenize_jobs.read import read_windows
from tokenize_jobs.shards import unpack
from tokenize_jobs.takes import take_windows
from tokenize_jobs.transform import Transform
from tokenize_jobs.windows import clip_windows
from tokenize_jobs.work import as_input, as_shown, round_trip_error

if TYPE_CHECKING:
    from catalogs.query import Session
    from zoo.tokenizer import Tokenizer

__all__ = ["Verified", "draw_verified", "verify"]

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False, slots=True)
class Verified:
    """One window: what is stored, against what the media and the tokenizer give now."""

    clip_id: str
    window_index: int
    equal: bool
    error: float
    """PSNR in dB of pictures, MPJPE in mm of takes."""
    original: NDArray[Any]
    decoded: NDArray[Any]


def verify(
    catalog: Catalog, model: Tokenizer, transform: Transform, *, clips: int = 8
) -> Iterator[Verified]:
    """Check one window of each of some clips, spread over all that have tokens."""
    table = _table(catalog, model)
    rows = _sample(catalog, table, model, transform, clips)
    stored = {row["clip_id"]: (row, arrays) for row, arrays in rows}
    names = ", ".join(f"'{clip_id}'" for clip_id in stored)
    sources = chosen_sources(catalog, kind=kind_of(model.spec), where=f"clip_id in ({names})")
    for session, source in sources:
        for clip_id, values in _media(session, source, transform, stored):
            yield _compared(clip_id, values, model, transform, *stored[clip_id])


def _table(catalog: Catalog, model: Tokenizer) -> str:
    wanted = model.spec.hash[:12]
    for table in catalog.tables():
        if table.startswith("tokens/") and table.endswith(f"@{wanted}"):
            return table
    raise NotFoundError(
        f"no tokens of {model.spec.name} with spec {wanted} are stored",
        allowed=", ".join(t for t in catalog.tables() if t.startswith("tokens/")) or "none yet",
        hint="clipmill tokenize CATALOG --tokenizer NAME makes them",
    )


def _sample(
    catalog: Catalog, table: str, model: Tokenizer, transform: Transform, clips: int
) -> list[tuple[dict[str, Any], Arrays]]:
    """One window of each of some clips, in the order of a hash, so that every run looks at them."""
    rows = catalog.sql(
        f'select * from "{view_name(table)}" where window_index = 0 and transform_hash = ? '
        "and weights_hash = ? order by hash(clip_id) limit ?",
        [transform.hash, model.spec.weights_sha256, clips],
    ).arrow()
    if not rows.num_rows:
        raise NotFoundError(
            f"{table} holds no tokens made with these settings",
            hint="give the --fps, --size and --window that they were made with",
        )
    arrays = unpack(rows, catalog.columns(table))
    return list(zip(rows.to_pylist(), arrays, strict=True))


def _media(
    session: Session,
    source: ChosenSource,
    transform: Transform,
    stored: dict[str, tuple[dict[str, Any], Arrays]],
) -> Iterator[tuple[str, NDArray[Any]]]:
    """The first window of each clip, read again."""
    clips = [clip for clip in source.clips if clip.clip_id in stored]
    if source.kind == "mocap":
        for clip in clips:
            yield clip.clip_id, take_windows(session, clip, transform)[0].values
        return
    times = frame_times(session, source.source_id)
    wanted = [
        next(clip_windows(clip.clip_id, clip.span, times, source.fps, transform)) for clip in clips
    ]
    with local_copy(source.uri) as path, GuardedWorker() as guard:
        for number, frames in guard.stream(
            read_windows,
            str(path),
            [item.pts for item in wanted],
            transform,
            source.size,
            source.frame_ticks(),
        ):
            yield clips[number].clip_id, frames


def _compared(
    clip_id: str,
    values: NDArray[Any],
    model: Tokenizer,
    transform: Transform,
    row: dict[str, Any],
    arrays: Arrays,
) -> Verified:
    import torch

    x = as_input(values)
    fresh = model.encode(x)
    same = all(
        np.array_equal(
            arrays[name], value[0].cpu().numpy().astype(arrays[name].dtype), equal_nan=False
        )
        for name, value in fresh.streams.items()
    )
    streams = {
        name: torch.from_numpy(np.array(arrays[name])).to(value.dtype)[None]
        for name, value in fresh.streams.items()
    }
    back = model.decode(model.tokens(streams, fresh.size)).float().cpu()
    return Verified(
        clip_id,
        row["window_index"],
        same,
        round_trip_error(x, back, transform),
        values,
        as_shown(back, values),
    )


def draw_verified(checks: Sequence[Verified], folder: Path, fps: Fraction) -> list[Path]:
    """A film for each clip: the original, and what its tokens decode to, side by side."""
    from PIL import Image

    from curation.pictures import save_film, stamped

    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for check in checks:
        if check.original.dtype != np.uint8:
            continue
        beside = np.concatenate([check.original, check.decoded], axis=2)
        frames = [stamped(Image.fromarray(frame), f"{check.error:.1f} dB") for frame in beside]
        path = folder / f"{check.clip_id}.gif"
        save_film(frames, path, fps)
        made.append(path)
    return made
