"""The tokenize job next to the bare model: what reading, handing over and committing cost.

    python bench/tokenize_job.py DIR [--tokenizer video/starter] [--workers 2] [--turns 3]

The videos below DIR are curated into a throw-away catalog. Then, turn by turn:

- `bare`: as many processes as workers encode ready tensors of the same shape, as many windows;
- `job`: `tokenize` on Ray, into a fresh copy of the catalog; its start-up is told apart;
- `read`: as many processes as workers read the same windows and throw them away: no job that
  decodes can be faster;
- `alone`: the job in this process, for its processor time, which a busy machine disturbs less than
  the clock does.

`job / bare` is of frames a second. `cpu bare / alone` is of processor seconds: with the decoding
process, and of the process with the model alone, which is what counts when the reader has a core
of its own. Medians of all turns.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalogs.catalog import Catalog
from catalogs.query import Session
from curation.jobs.run import curate
from curation.jobs.settings import MillSettings
from tokenize_jobs.clips import ChosenSource
from tokenize_jobs.job import Report, tokenize
from tokenize_jobs.plan import Plan, make_plan, table_of, transform_for
from tokenize_jobs.read import read_windows
from tokenize_jobs.transform import Transform
from zoo.hub import load

PACKAGES = ("av", "numpy", "pyarrow", "ray", "torch")
RATIO_AT_LEAST = 0.85
READY = 16
"""Different tensors that the bare loop goes round."""

Figures = dict[str, Any]
Stretch = tuple[float, float, float]
"""Beginning and end on the clock, and processor seconds."""


@dataclass(frozen=True)
class Wanted:
    """The same work for all contenders."""

    tokenizer: str
    transform: Transform
    size: tuple[int, int]
    plan: Plan
    workers: int


def main() -> None:
    """Run all turns, print the table and one line of JSON."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="clipmill-bench-") as folder:
        corpus = Path(folder) / "corpus"
        settings = MillSettings(operators=())
        curate([options.folder], corpus, settings=settings, workers=0, progress=None)
        wanted = _wanted(corpus, options)
        turns = []
        for number in range(options.turns):
            print(f"turn {number + 1} of {options.turns}", file=sys.stderr)
            turns.append(one_turn(corpus, wanted))
    figures = summary(turns, wanted)
    print_table(figures)
    print(json.dumps(figures))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, help="videos, at any depth")
    parser.add_argument("--tokenizer", default="video/starter", metavar="NAME")
    parser.add_argument("--size", type=int, default=128, help="of the square frames")
    parser.add_argument("--window", type=int, default=17, help="frames")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--turns", type=int, default=3, help="at least 3 for a median")
    return parser.parse_args()


def _wanted(corpus: Path, options: argparse.Namespace) -> Wanted:
    spec = load(options.tokenizer).spec
    size = (options.size, options.size)
    asked = Transform(fps=Fraction(24), size=size, window=options.window, tail="drop")
    transform = transform_for(spec, asked)
    catalog = Catalog.open(corpus)
    plan = make_plan(catalog, spec, table_of(spec, {}), transform)
    with Session(catalog, cutting="-") as session:
        plan.units = [unit.opened(session, transform) for unit in plan.units]
    return Wanted(options.tokenizer, transform, size, plan, options.workers)


def one_turn(corpus: Path, wanted: Wanted) -> Figures:
    """Every contender once."""
    shares = split(wanted.plan.units, wanted.workers)
    counts = [wanted.plan.windows // wanted.workers] * wanted.workers
    bare = side_by_side(encode_ready, [(wanted, count) for count in counts])
    read = side_by_side(
        read_all,
        [
            ([(u.source, [pts for _, pts in u.windows]) for u in share], wanted.transform)
            for share in shares
            if share
        ],
    )
    job = tokenized(corpus, wanted, wanted.workers)
    own, children = cpu_s(resource.RUSAGE_SELF), cpu_s(resource.RUSAGE_CHILDREN)
    alone = tokenized(corpus, wanted, 0)
    frames = sum(counts) * (wanted.transform.window or 0)
    return {
        "bare": frames / wall_s(bare),
        "bare_cpu_s": sum(cpu for _, _, cpu in bare) * wanted.plan.frames / frames,
        "read": wanted.plan.frames / wall_s(read),
        "job": job.frames / job.wall_s,
        "tokens": job.tokens / job.wall_s,
        "startup_s": job.startup_s,
        "stages": {
            stage: seconds / (job.wall_s * wanted.workers) for stage, seconds in job.seconds.items()
        },
        "alone_stages": {stage: s / alone.wall_s for stage, s in alone.seconds.items()},
        "alone_cpu_s": cpu_s(resource.RUSAGE_SELF) - own,
        "reader_cpu_s": cpu_s(resource.RUSAGE_CHILDREN) - children,
    }


def split(items: Sequence[Any], parts: int) -> list[list[Any]]:
    return [list(items[number::parts]) for number in range(parts)]


def cpu_s(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def tokenized(corpus: Path, wanted: Wanted, workers: int) -> Report:
    """All windows into a copy of the catalog."""
    copy = corpus.with_name("copy")
    shutil.copytree(corpus, copy)
    report = tokenize(
        str(copy), wanted.tokenizer, transform=wanted.transform, workers=workers, progress=None
    )
    shutil.rmtree(copy)
    if report.windows != wanted.plan.windows:
        sys.exit(f"{report.quarantined} sources could not be read: give sound videos")
    return report


# -- what runs in processes of its own ---------------------------------------------------------


def side_by_side(function: Callable[..., Stretch], jobs: Sequence[Any]) -> list[Stretch]:
    """Each job in a process; all begin their measured part together."""
    context = get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(len(jobs), mp_context=context) as pool:
        together = manager.Barrier(len(jobs))
        return [done.result() for done in [pool.submit(function, *job, together) for job in jobs]]


def wall_s(stretches: Sequence[Stretch]) -> float:
    return max(end for _, end, _ in stretches) - min(begin for begin, _, _ in stretches)


def encode_ready(wanted: Wanted, windows: int, together: Any) -> Stretch:
    """The bare loop."""
    import torch

    torch.set_num_threads(1)
    model = load(wanted.tokenizer)
    shape = (READY, 1, 3, wanted.transform.window or 0, *wanted.size)
    ready = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    model.encode(ready[0])
    together.wait()
    began, cpu = time.monotonic(), time.process_time()
    for number in range(windows):
        model.encode(ready[number % READY])
    return began, time.monotonic(), time.process_time() - cpu


def read_all(
    sources: Sequence[tuple[ChosenSource, Sequence[NDArray[np.int64]]]],
    transform: Transform,
    together: Any,
) -> Stretch:
    """Reading without a model."""
    together.wait()
    began, cpu = time.monotonic(), time.process_time()
    for source, windows in sources:
        for _ in read_windows(source.uri, windows, transform, source.size, source.frame_ticks()):
            pass
    return began, time.monotonic(), time.process_time() - cpu


# -- telling -----------------------------------------------------------------------------------


def summary(turns: Sequence[Figures], wanted: Wanted) -> Figures:
    def middle(name: str) -> float:
        return median(turn[name] for turn in turns)

    def ratio(value: Callable[[Figures], float]) -> float:
        return round(median(value(turn) for turn in turns), 3)

    def shares(name: str) -> dict[str, float]:
        return {
            stage: round(median(turn[name][stage] for turn in turns), 3) for stage in turns[0][name]
        }

    return {
        "tokenizer": wanted.tokenizer,
        "windows": wanted.plan.windows,
        "frames": wanted.plan.frames,
        "workers": wanted.workers,
        "turns": len(turns),
        "bare_fps": round(middle("bare"), 1),
        "read_fps": round(middle("read"), 1),
        "job_fps": round(middle("job"), 1),
        "job_tokens_per_s": round(middle("tokens"), 1),
        "job_to_bare": ratio(lambda turn: turn["job"] / turn["bare"]),
        "job_to_read": ratio(lambda turn: turn["job"] / turn["read"]),
        "cpu_bare_to_model_process": ratio(lambda turn: turn["bare_cpu_s"] / turn["alone_cpu_s"]),
        "cpu_bare_to_all": ratio(
            lambda turn: turn["bare_cpu_s"] / (turn["alone_cpu_s"] + turn["reader_cpu_s"])
        ),
        "startup_s": round(middle("startup_s"), 2),
        "stages": shares("stages"),
        "stages_alone": shares("alone_stages"),
        "machine": machine(),
        "versions": {name: version(name) for name in PACKAGES},
        "date": datetime.now(UTC).date().isoformat(),
    }


def machine() -> str:
    return f"{os.cpu_count()} x {platform.machine()}, Python {platform.python_version()}"


def print_table(figures: Figures) -> None:
    print(figures["machine"])
    print(", ".join(f"{name} {number}" for name, number in figures["versions"].items()))
    print(f"{figures['tokenizer']}: {figures['windows']} windows, {figures['frames']} frames, "
          f"{figures['workers']} workers, n = {figures['turns']}\n")  # fmt: skip
    for text, value, bound in (
        ("bare, frames/s", figures["bare_fps"], ""),
        ("read only, frames/s", figures["read_fps"], ""),
        ("job, frames/s", figures["job_fps"], ""),
        ("job, tokens/s", figures["job_tokens_per_s"], ""),
        ("job / bare", figures["job_to_bare"], f"at least {RATIO_AT_LEAST} unless decoding limits"),
        ("job / read only", figures["job_to_read"], "1 is as fast as decoding"),
        ("cpu bare / model process", figures["cpu_bare_to_model_process"],
         f"at least {RATIO_AT_LEAST}"),
        ("cpu bare / with decoding", figures["cpu_bare_to_all"], ""),
        ("start-up, s", figures["startup_s"], ""),
    ):  # fmt: skip
        print(f"{text:<26}{value:>12}   {bound}")
    told = ", ".join(f"{name} {share:.0%}" for name, share in figures["stages"].items())
    print(f"\nshare of the workers' time: {told}")


if __name__ == "__main__":
    main()
