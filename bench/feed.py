"""Token feeds side by side: a shuffled epoch of 100,000 windows of 1,280 ids, in batches of 64.

    python bench/feed.py DIR [--windows 100000] [--workers 1 2] [--turns 3]

Writes the same ids to DIR once for each contender: a catalog, a flat file for `np.memmap`, and, if
they are installed, litdata, webdataset (one .npy for each window) and MDS shards. Then every
contender gives one epoch of int64 tensors of (64, 1280) through a torch DataLoader, turn by turn,
in a fresh process each. The memory-mapped array is read in the feed's own order; the others
shuffle in their own way. The rate counts from the first request, so workers' starts are in it.
`cpu_us` is the time that a window costs on the cores, of all processes together; a machine with
other work disturbs it less than the rate. `anon_mib` is the memory of all processes, without what
is shared with files, after a tenth and after nine tenths of the epoch.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import json
import multiprocessing
import os
import platform
import resource
import shutil
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from catalogs import Catalog, Span
from catalogs.testing.records import record_clips
from tokenize_jobs.feed import TokenFeed
from tokenize_jobs.shards import ShardWriter, TokenStream, TokenTable, Window

CODES, IDS, BATCH, SEED = 32_768, 1_280, 64, 1
LOOKS = (0.1, 0.9)
"""How far an epoch is when memory is looked at."""
WINDOWS_PER_COMMIT = 25_000
TABLE = TokenTable("video/bench", "5" * 64, "3" * 64, [TokenStream(levels=(CODES,))])

Figures = dict[str, Any]


def ids_of(first: int, count: int) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """The ids of some windows; every contender stores the same ones."""
    dice = np.random.default_rng(first)
    return dice.integers(0, CODES, (count, IDS), np.uint16)


def parts(windows: int) -> Iterator[tuple[int, np.ndarray[Any, np.dtype[np.uint16]]]]:
    for first in range(0, windows, WINDOWS_PER_COMMIT):
        yield first, ids_of(first, min(WINDOWS_PER_COMMIT, windows - first))


def tensor(rows: Any) -> torch.Tensor:
    """What every contender hands to training."""
    return torch.from_numpy(np.asarray(rows).astype(np.int64))


def stacked(samples: list[Any]) -> torch.Tensor:
    return tensor(np.stack(samples))


def options(workers: int) -> dict[str, Any]:
    return {"num_workers": workers, "prefetch_factor": 2, "multiprocessing_context": "fork"}


# -- the contenders: how each one stores the windows, and how it gives an epoch ----------------


def write_clipmill(folder: Path, windows: int) -> None:
    clips = pa.table({"clip_id": [f"{n:032x}" for n in range(windows)]})
    catalog = record_clips(folder, clips)
    span = Span(0, 17 * 3_600, Fraction(1, 90_000))
    for first, rows in parts(windows):
        writer = ShardWriter(TABLE)
        for n, row in enumerate(rows, first):
            window = Window(f"{n:032x}", 0, span, 17, 25.0, "bench")
            writer.add(window, {"tokens": row.reshape(5, 16, 16)})
        with catalog.transaction("tokens") as txn:
            writer.finish().insert(txn)


def read_clipmill(folder: Path, workers: int) -> Iterable[Any]:
    feed = TokenFeed(Catalog.open(folder), TABLE.name, batch=BATCH, seed=SEED)
    return (batch["tokens"] for batch in feed.loader(workers, start="fork"))


def write_memmap(folder: Path, windows: int) -> None:
    folder.mkdir()
    with open(folder / "ids.u16", "wb") as file:
        for _, rows in parts(windows):
            file.write(rows.tobytes())


class Mapped(IterableDataset):  # type: ignore[misc]
    """A memory-mapped array in a given order."""

    def __init__(self, path: Path, order: np.ndarray[Any, np.dtype[np.int64]]):
        self._rows = np.memmap(path, np.uint16, "r").reshape(-1, IDS)
        self._order = order

    def __iter__(self) -> Iterator[torch.Tensor]:
        worker = get_worker_info()
        for first in range(worker.id * BATCH, len(self._order), worker.num_workers * BATCH):
            yield tensor(self._rows[self._order[first : first + BATCH]])


def read_memmap(folder: Path, workers: int) -> Iterable[Any]:
    feed = TokenFeed(Catalog.open(folder.parent / "clipmill"), TABLE.name, batch=BATCH, seed=SEED)
    order = np.concatenate([feed.places(number) for number in range(len(feed))])
    return DataLoader(Mapped(folder / "ids.u16", order), batch_size=None, **options(workers))


def write_litdata(folder: Path, windows: int) -> None:
    from litdata.streaming import Cache
    from litdata.streaming.item_loader import TokensLoader

    folder.mkdir()
    cache = Cache(str(folder), chunk_bytes="64MB", item_loader=TokensLoader(IDS))
    for first, rows in parts(windows):
        for n, row in enumerate(rows, first):
            cache[n] = torch.from_numpy(row)
    cache.done()
    cache.merge()


def read_litdata(folder: Path, workers: int) -> Iterable[Any]:
    from litdata import StreamingDataLoader, StreamingDataset
    from litdata.streaming.item_loader import TokensLoader

    data = StreamingDataset(str(folder), item_loader=TokensLoader(IDS), shuffle=True, seed=SEED)
    return StreamingDataLoader(data, batch_size=BATCH, collate_fn=stacked, **options(workers))


def write_webdataset(folder: Path, windows: int) -> None:
    import webdataset

    folder.mkdir()
    with webdataset.ShardWriter(f"{folder}/%05d.tar", maxcount=10_000, verbose=0) as writer:
        for first, rows in parts(windows):
            for n, row in enumerate(rows, first):
                writer.write({"__key__": f"{n:08d}", "npy": row})


def from_npy(sample: dict[str, Any]) -> Any:
    return np.load(io.BytesIO(sample["npy"]))


def read_webdataset(folder: Path, workers: int) -> Iterable[Any]:
    import webdataset

    shards = sorted(map(str, folder.glob("*.tar")))
    data = webdataset.WebDataset(shards, shardshuffle=len(shards), seed=SEED)
    pipeline = data.shuffle(1_000).map(from_npy).batched(BATCH, collation_fn=stacked)
    return DataLoader(pipeline, batch_size=None, **options(workers))


def write_mds(folder: Path, windows: int) -> None:
    from streaming import MDSWriter

    with MDSWriter(out=str(folder), columns={"tokens": f"ndarray:uint16:{IDS}"}) as writer:
        for _, rows in parts(windows):
            for row in rows:
                writer.write({"tokens": row})


def from_mds(samples: list[dict[str, Any]]) -> torch.Tensor:
    return stacked([sample["tokens"] for sample in samples])


def read_mds(folder: Path, workers: int) -> Iterable[Any]:
    from streaming import StreamingDataset

    data = StreamingDataset(local=str(folder), shuffle=True, shuffle_seed=SEED, batch_size=BATCH)
    return DataLoader(data, batch_size=BATCH, collate_fn=from_mds, **options(workers))


Contender = tuple[str, Callable[[Path, int], None], Callable[[Path, int], Iterable[Any]]]
CONTENDERS: dict[str, Contender] = {
    "clipmill": ("", write_clipmill, read_clipmill),
    "memmap": ("", write_memmap, read_memmap),
    "litdata": ("litdata", write_litdata, read_litdata),
    "webdataset": ("webdataset", write_webdataset, read_webdataset),
    "mds": ("streaming", write_mds, read_mds),
}
GOALS = {"memmap": 0.6, "litdata": 1.2, "webdataset": 3.0, "mds": 3.0}


# -- measuring ---------------------------------------------------------------------------------


def epoch(name: str, folder: Path, workers: int, windows: int) -> Figures:
    """One epoch of one contender, in this process."""
    torch.set_num_threads(1)
    batches = CONTENDERS[name][2](folder / name, workers)
    memory: list[float] = []
    seen = total = 0
    before = cpu_seconds()
    started = time.perf_counter()
    for batch in batches:
        seen += len(batch)
        total += int(batch.flatten(1)[:, 0].sum())
        if len(memory) < len(LOOKS) and seen >= LOOKS[len(memory)] * windows:
            memory.append(anonymous_mib())
    seconds = time.perf_counter() - started
    del batches
    cpu_us = (cpu_seconds() - before) / seen * 1e6
    return {
        "rate": seen / seconds,
        "cpu_us": cpu_us,
        "seen": seen,
        "sum": total,
        "anon_mib": memory,
    }


def cpu_seconds() -> float:
    """Time on a core of this process and of its children that have ended."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def anonymous_mib() -> float:
    """Memory of this process and its children that is not part of a file."""
    pids = [os.getpid(), *(child.pid for child in multiprocessing.active_children())]
    total = 0
    for pid in pids:
        with contextlib.suppress(FileNotFoundError):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("RssAnon"):
                    total += int(line.split()[1])
    return total / 1024


def alone(what: Callable[..., Any], *arguments: Any) -> Any:
    """Run in a fresh process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(what, *arguments).result()


def prepare(folder: Path, windows: int) -> tuple[list[str], dict[str, str]]:
    """Write what is not there yet; the contenders that can run, and why others cannot."""
    present, skipped = [], {}
    for name, (package, write, _) in CONTENDERS.items():
        if package and importlib.util.find_spec(package) is None:
            skipped[name] = f"{package} is not installed"
            continue
        target = folder / name
        done = folder / f"{name}.{windows}.done"
        if not done.exists():
            shutil.rmtree(target, ignore_errors=True)
            try:
                alone(write, target, windows)
            except (ImportError, RuntimeError) as error:
                skipped[name] = str(error).splitlines()[0]
                continue
            done.touch()
        present.append(name)
    return present, skipped


def bytes_per_id(folder: Path, windows: int) -> float:
    catalog = Catalog.open(folder)
    return sum(item.bytes for item in catalog.files(TABLE.name)) / (windows * IDS)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where to write the windows")
    parser.add_argument("--windows", type=int, default=100_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--turns", type=int, default=3)
    chosen = parser.parse_args()
    folder = chosen.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    names, skipped = prepare(folder, chosen.windows)
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    packages = ("torch", "numpy", "pyarrow", "litdata", "webdataset", "mosaicml-streaming")
    versions = {}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = version(package)
    print(machine, versions, f"{chosen.windows:,} windows of {IDS:,} ids", flush=True)
    for name, why in skipped.items():
        print(f"skipped {name}: {why}")

    results: dict[str, Any] = {}
    for workers in chosen.workers:
        turns: dict[str, list[Figures]] = {name: [] for name in names}
        for turn in range(chosen.turns):
            for name in sorted(names, reverse=bool(turn % 2)):
                turns[name].append(alone(epoch, name, folder, workers, chosen.windows))
        results[str(workers)] = report(workers, turns)
    figures = {
        "machine": machine,
        "versions": versions,
        "windows": chosen.windows,
        "skipped": skipped,
        "bytes_per_id": round(bytes_per_id(folder / "clipmill", chosen.windows), 4),
        "workers": results,
    }
    print(json.dumps({"feed": figures}))


def report(workers: int, turns: dict[str, list[Figures]]) -> Figures:
    """A table of medians over the turns, and the same as figures."""
    print(f"\n{workers} workers")
    print(f"{'feed':<12}{'windows/s':>12}{'ours is':>9}{'goal':>6}{'cpu us':>8}  MiB")
    ours = statistics.median(turn["rate"] for turn in turns["clipmill"])
    made: Figures = {}
    sums = {turn["sum"] for name in ("clipmill", "memmap") for turn in turns[name]}
    assert len(sums) == 1, f"the feed and the array gave different ids: {sums}"
    for name, figures in turns.items():
        rate = statistics.median(turn["rate"] for turn in figures)
        memory = [round(statistics.median(t["anon_mib"][end] for t in figures)) for end in (0, 1)]
        goal = f"{GOALS[name]:.1f}" if name in GOALS else ""
        cpu = statistics.median(turn["cpu_us"] for turn in figures)
        print(
            f"{name:<12}{rate:>12,.0f}{ours / rate:>9.2f}{goal:>6}{cpu:>8.1f}"
            f"  {memory[0]} to {memory[1]}"
        )
        made[name] = {
            "windows_per_s": round(rate),
            "ours_is": round(ours / rate, 3),
            "cpu_us": round(cpu, 1),
            "seen": figures[0]["seen"],
            "anon_mib": memory,
        }
    return made


if __name__ == "__main__":
    main()
