"""How fast files become clips and scores, next to merely decoding them.

    python bench/curate.py DIR [--repeat N] [--rounds N]

Each round takes every video below DIR three times: `ffmpeg -threads 1 -i F -f null -` in two
processes at a time, a whole `curate` (all signals, default cutting and scores, committed to a new
catalog) with two workers, and the same with one. Start-up of Ray and the workers is left out of
these times and measured apart: `clipmill curate` on a folder with the smallest file, against the
seconds that its worker needed. Medians of all rounds.

`--repeat N` takes N copies of each file that decode alike and differ in their last bytes, so that
each is a source of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from curation.jobs.run import Report, curate
from curation.jobs.scan import VIDEO_SUFFIXES
from curation.media import probe

PROCESSES = 2
PACKAGES = ("av", "numpy", "opencv-python-headless", "pyarrow", "ray")
RATIO_AT_MOST, DECODED_AT_MOST, SCALING_AT_LEAST, STARTUP_AT_MOST_S = 1.3, 1.05, 1.7, 8.0
FILES_FOR_SCALING = 20

_VOID_ELEMENT = b"\xec\x88"
_NULL_PACKET = b"\x47\x1f\xff\x10"
_PACKET_BYTES = 188


@dataclass
class Round:
    """Seconds of one round."""

    ffmpeg_s: float
    two: Report
    one: Report


@dataclass
class Startup:
    """The whole command on one file, and the part of it that is work."""

    total_s: list[float] = field(default_factory=list)
    work_s: list[float] = field(default_factory=list)

    @property
    def overhead_s(self) -> float:
        return median(total - work for total, work in zip(self.total_s, self.work_s, strict=True))


def main() -> None:
    """Run all rounds, print the table and one line of JSON."""
    options = _options()
    if shutil.which("ffmpeg") is None:
        sys.exit("ffmpeg is not on the PATH; install it (apt-get install ffmpeg) to compare with")
    with tempfile.TemporaryDirectory(prefix="clipmill-bench-") as folder:
        files = copies(options.folder, Path(folder) / "media", options.repeat)
        if not files:
            sys.exit(f"no video below {options.folder}")
        frames = sum(probe(file).frames for file in files)
        rounds = []
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
            rounds.append(one_round(files, Path(folder)))
        startup = Startup()
        smallest = min(files, key=lambda file: file.stat().st_size)
        for _ in range(options.rounds):
            measure_startup(smallest, Path(folder), startup)
    figures = summary(rounds, startup, len(files), frames)
    print_table(figures, rounds)
    print(json.dumps(figures))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, help="videos, at any depth")
    parser.add_argument("--repeat", type=int, default=1, help="copies of each file")
    parser.add_argument("--rounds", type=int, default=3, help="at least 3 for a median")
    return parser.parse_args()


def copies(folder: Path, target: Path, repeat: int) -> list[Path]:
    """Each video `repeat` times, the copies with bytes of their own at the end; largest first."""
    target.mkdir()
    made: list[Path] = []
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() not in VIDEO_SUFFIXES:
            continue
        for number in range(repeat):
            path = target / f"{len(made):04d}{file.suffix}"
            shutil.copy(file, path)
            with path.open("ab") as stream:
                stream.write(_ignored(file.suffix.lower(), number) if number else b"")
            made.append(path)
    return sorted(made, key=lambda path: -path.stat().st_size)


def _ignored(suffix: str, number: int) -> bytes:
    """Bytes that a player of such files skips, different for each number."""
    stamp = number.to_bytes(8, "big")
    if suffix in {".mkv", ".webm"}:
        return _VOID_ELEMENT + stamp
    if suffix in {".ts", ".m2ts", ".mts"}:
        return (_NULL_PACKET + stamp).ljust(_PACKET_BYTES, b"\xff")
    return (16).to_bytes(4, "big") + b"free" + stamp


def one_round(files: Sequence[Path], folder: Path) -> Round:
    """ffmpeg, two workers, one worker, in turn."""
    return Round(seconds_of(lambda: decode_only(files)), milled(files, folder, 2),
                 milled(files, folder, 1))  # fmt: skip


def decode_only(files: Sequence[Path]) -> None:
    """What the machine's ffmpeg needs to decode everything, two files at a time."""

    def decode(file: Path) -> None:
        command = ["ffmpeg", "-v", "quiet", "-threads", "1", "-i", str(file), "-f", "null", "-"]
        subprocess.run(command, stdin=subprocess.DEVNULL, check=False)

    with ThreadPoolExecutor(PROCESSES) as pool:
        list(pool.map(decode, files))


def seconds_of(function: Callable[[], None]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def milled(files: Sequence[Path], folder: Path, workers: int) -> Report:
    """All files into a new catalog."""
    catalog = folder / "catalog"
    report = curate(files, catalog, workers=workers, progress=None)
    shutil.rmtree(catalog)
    if report.measured + report.duplicates != len(files):
        print(f"warning: {report.quarantined} files were not measured", file=sys.stderr)
    return report


def measure_startup(file: Path, folder: Path, startup: Startup) -> None:
    """The command line on one small file, from a shell's point of view."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        shutil.copy(file, place)
        command = [sys.executable, "-m", "clipmill", "curate", place, "--quiet", "--json",
                   "--workers", str(PROCESSES), "--catalog", f"{place}/catalog"]  # fmt: skip
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        startup.total_s.append(time.perf_counter() - began)
        startup.work_s.append(json.loads(done.stdout)["seconds"]["worker"])


def summary(rounds: Sequence[Round], startup: Startup, files: int, frames: int) -> dict[str, Any]:
    """The figures that are promised, and those that explain them."""
    return {
        "files": files,
        "frames": frames,
        "media_s": round(rounds[0].two.media_s, 2),
        "rounds": len(rounds),
        "ffmpeg_s": round(median(one.ffmpeg_s for one in rounds), 3),
        "two_workers_s": round(median(one.two.wall_s for one in rounds), 3),
        "one_worker_s": round(median(one.one.wall_s for one in rounds), 3),
        "ratio_to_ffmpeg": round(median(one.two.wall_s / one.ffmpeg_s for one in rounds), 3),
        "frames_decoded_ratio": round(rounds[0].two.frames / frames, 4),
        "two_workers_against_one": round(
            median(one.one.wall_s / one.two.wall_s for one in rounds), 3
        ),
        "startup_s": round(startup.overhead_s, 2),
        "worker_seconds": stages(rounds),
        "machine": machine(),
        "versions": {name: version(name) for name in PACKAGES} | {"ffmpeg": ffmpeg_version()},
        "date": datetime.now(UTC).date().isoformat(),
    }


def stages(rounds: Sequence[Round]) -> dict[str, float]:
    """Worker seconds by stage with two workers, the scores of all operators together."""
    totals: dict[str, list[float]] = {}
    for one in rounds:
        merged: dict[str, float] = {}
        for stage, seconds in one.two.seconds.items():
            name = stage.partition(":")[0]
            merged[name] = merged.get(name, 0.0) + seconds
        for name, seconds in merged.items():
            totals.setdefault(name, []).append(seconds)
    return {name: round(median(values), 3) for name, values in sorted(totals.items())}


def machine() -> str:
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return f"{os.cpu_count()} x {model}, {platform.system()}, Python {platform.python_version()}"


def ffmpeg_version() -> str:
    done = subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True, check=True)
    return done.stdout.split()[2]


def print_table(figures: dict[str, Any], rounds: Sequence[Round]) -> None:
    print(figures["machine"])
    print(", ".join(f"{name} {number}" for name, number in figures["versions"].items()))
    print(f"{figures['files']} files, {figures['media_s']} s, {figures['frames']} frames, "
          f"n = {figures['rounds']}\n")  # fmt: skip
    walls = {
        "ffmpeg, 2 processes": [one.ffmpeg_s for one in rounds],
        "curate, 2 workers": [one.two.wall_s for one in rounds],
        "curate, 1 worker": [one.one.wall_s for one in rounds],
    }
    print(f"{'':<22}{'median s':>10}{'min':>8}{'max':>8}")
    for name, seconds in walls.items():
        low, middle, high = min(seconds), median(seconds), max(seconds)
        print(f"{name:<22}{middle:>10.2f}{low:>8.2f}{high:>8.2f}")
    print()
    few = "" if figures["files"] >= FILES_FOR_SCALING else f" (for {FILES_FOR_SCALING}+ files)"
    for text, value, bound in (
        ("curate / ffmpeg", figures["ratio_to_ffmpeg"], f"at most {RATIO_AT_MOST}"),
        ("decoded / frames", figures["frames_decoded_ratio"], f"at most {DECODED_AT_MOST}"),
        ("1 worker / 2 workers", figures["two_workers_against_one"],
         f"at least {SCALING_AT_LEAST}{few}"),
        ("start-up, s", figures["startup_s"], f"at most {STARTUP_AT_MOST_S:g}"),
    ):  # fmt: skip
        print(f"{text:<22}{value:>10}   {bound}")
    print("\nworker seconds: " + ", ".join(
        f"{name} {seconds}" for name, seconds in figures["worker_seconds"].items()
    ))  # fmt: skip


if __name__ == "__main__":
    main()
