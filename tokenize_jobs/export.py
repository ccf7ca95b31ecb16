"""Tokens in the forms that other trainers read: WebDataset tars, MDS shards, or plain npy.

    export_tokens(catalog, "vq", "out", form="webdataset", selection="calm", columns=["captions"])

- `webdataset`: `NNNNN.tar`; a sample is `CLIP-WINDOW.STREAM.npy` for each stream and
  `CLIP-WINDOW.json` with what was joined;
- `mds`: `shard.NNNNN.mds` and `index.json`, which `streaming.StreamingDataset` opens;
- `npy`: one `STREAM.npy` with all windows, or one for each grid (`STREAM-5x16x16.npy`), and
  `index.jsonl`, where each window's line names the file and the row of every stream.

Windows come in the order of clips and windows. The folder appears when it is whole.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from catalogs.catalog import Catalog
from catalogs.errors import UsageError
from catalogs.shards import staged_folder
from tokenize_jobs.feed_batch import ShardPool
from tokenize_jobs.feed_index import FeedIndex, Wanted, build_index
from tokenize_jobs.mds import MdsWriter
from tokenize_jobs.packing import Packing
from tokenize_jobs.shards import find_tokens

__all__ = ["Exported", "Form", "export_tokens"]

Form = Literal["webdataset", "mds", "npy"]
_FORMS: tuple[Form, ...] = ("webdataset", "mds", "npy")
Sample: TypeAlias = tuple[dict[str, NDArray[Any]], dict[str, Any]]
"""The arrays of a window by stream, and what is known of it."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, and where."""

    folder: Path
    windows: int
    files: int
    bytes: int


def export_tokens(
    catalog: Catalog,
    tokens: str,
    folder: str | Path,
    *,
    form: Form,
    selection: str | None = None,
    where: str | None = None,
    split: str | None = None,
    windows: str | None = None,
    columns: Sequence[str] = (),
    per_shard: int = 10_000,
) -> Exported:
    """Write the windows that a feed with these arguments would give.

    bfloat16 latents become float32, which every reader knows.
    """
    if form not in _FORMS:
        raise UsageError(f"tokens cannot be exported as {form!r}", allowed=", ".join(_FORMS))
    if not catalog.storage.is_local:
        raise UsageError(
            f"{catalog.storage.root} is not on this machine", hint="clipmill pull it first"
        )
    target = Path(folder).expanduser().absolute()
    names = list(dict.fromkeys(("clip_id", "window_index", *columns)))
    wanted = Wanted(find_tokens(catalog, tokens), where, selection, windows, split, names)
    index = build_index(catalog, wanted)
    pool = ShardPool(index.places, index.streams, Path(catalog.storage.root))
    with staged_folder(target) as staged:
        samples = _samples(index, pool)
        if form == "webdataset":
            _write_tars(staged, samples, per_shard)
        elif form == "mds":
            _write_mds(staged, samples, index, per_shard)
        else:
            _write_npy(staged, samples, index)
    written = [path for path in target.rglob("*") if path.is_file()]
    return Exported(target, len(index), len(written), sum(f.stat().st_size for f in written))


def _samples(index: FeedIndex, pool: ShardPool) -> Iterator[Sample]:
    """Windows one by one, by clip and number."""
    known = {name: column.to_pylist() for name, column in index.columns.items()}
    if index.captions is not None:
        known["captions"] = [texts or [] for texts in index.captions.to_pylist()]
    keys = zip(known["clip_id"], known["window_index"], range(len(index)), strict=True)
    for _, _, entry in sorted(keys):
        arrays = {}
        for name, packing in index.streams.items():
            grid = index.grids[index.bucket[entry]][name]
            lines = pool.gather(
                name,
                index.file[entry : entry + 1],
                index.row[entry : entry + 1],
                np.asarray([packing.nbytes(grid)]),
            )
            arrays[name] = packing.unpack(lines.tobytes(), grid)
        yield arrays, {name: values[entry] for name, values in known.items()}


def _chunks(samples: Iterator[Sample], size: int) -> Iterator[list[Sample]]:
    chunk: list[Sample] = []
    for sample in samples:
        chunk.append(sample)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


# -- WebDataset --------------------------------------------------------------------------------


def _write_tars(folder: Path, samples: Iterator[Sample], per_shard: int) -> None:
    for number, chunk in enumerate(_chunks(samples, per_shard)):
        with tarfile.open(folder / f"{number:05d}.tar", "w") as tar:
            for arrays, about in chunk:
                key = f"{about['clip_id']}-{about['window_index']:05d}"
                for name, array in arrays.items():
                    _add(tar, f"{key}.{name}.npy", _npy(array))
                _add(tar, f"{key}.json", json.dumps(about).encode())


def _npy(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """Without owner and time, so that the same tokens make the same file."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


# -- MDS ---------------------------------------------------------------------------------------


def _write_mds(folder: Path, samples: Iterator[Sample], index: FeedIndex, per_shard: int) -> None:
    columns = {name: f"ndarray:{_plain_type(packing)}" for name, packing in index.streams.items()}
    writer = MdsWriter(folder, columns | {"about": "json"})
    for chunk in _chunks(samples, per_shard):
        writer.write_shard([{**arrays, "about": about} for arrays, about in chunk])
    writer.finish()


# -- npy ---------------------------------------------------------------------------------------


def _write_npy(folder: Path, samples: Iterator[Sample], index: FeedIndex) -> None:
    """Files are made in their final size and filled through a map: memory does not grow."""
    counts = _windows_by_grid(index)
    files = {
        (stream, grid): np.lib.format.open_memmap(
            folder / _npy_name(stream, grid, counts),
            "w+",
            _plain_type(index.streams[stream]),
            (count, *index.streams[stream].shape(grid)),
        )
        for (stream, grid), count in counts.items()
    }
    filled = dict.fromkeys(files, 0)
    with open(folder / "index.jsonl", "w", encoding="utf-8") as lines:
        for arrays, about in samples:
            line: dict[str, Any] = {"files": {}, "rows": {}, **about}
            for stream, array in arrays.items():
                key = stream, index.streams[stream].grid_of(array.shape)
                files[key][filled[key]] = array
                line["files"][stream] = _npy_name(*key, counts)
                line["rows"][stream] = filled[key]
                filled[key] += 1
            lines.write(json.dumps(line, ensure_ascii=False) + "\n")


def _windows_by_grid(index: FeedIndex) -> Counter[tuple[str, tuple[int, ...]]]:
    """How many windows each stream has on each of its grids."""
    counts: Counter[tuple[str, tuple[int, ...]]] = Counter()
    in_bucket = np.bincount(index.bucket, minlength=len(index.grids)).tolist()
    for grids, count in zip(index.grids, in_bucket, strict=True):
        for stream, grid in grids.items():
            counts[stream, grid] += count
    return counts


def _plain_type(packing: Packing) -> np.dtype[Any]:
    """What numpy arrays of a stream have when they are exported."""
    return np.dtype(np.float32) if packing.dtype == "bfloat16" else packing.stored


def _npy_name(stream: str, grid: Sequence[int], counts: Collection[tuple[str, Any]]) -> str:
    several = sum(name == stream for name, _ in counts) > 1
    return f"{stream}-{'x'.join(map(str, grid))}.npy" if several else f"{stream}.npy"
