"""What the verb `encode` costs beside the network: checks, padding, cutting, joining.

    python bench/encode.py [NAME ...] [--seconds 10]

For each model (by default the shipped ones and the first small one of each family) the same clip
is encoded by `encode`, and by a bare loop that calls the family's `encode_piece` on pieces cut
beforehand: the same network on the same shapes. Clips have the size of real work: 17 frames of
128x128, 64 and 196 frames of motion; others where a family takes a fixed window. They take turns
call by call; figures are processor time of one thread, medians of all calls. The shipped
models are of a size for work; the small ones are toys, whose networks cost next to nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from statistics import median
from typing import Any

import torch
from torch import Tensor

import zoo
from zoo.hub import load, shipped
from zoo.pieces import Cutter
from zoo.registry import presets
from zoo.tokenizer import Tokenizer

OVERHEAD_AT_MOST = 0.03
FRAMES = {"BCTHW": (17,), "BTD": (64, 196), "BTJC": (64, 196)}
"""Lengths of clips by layout."""
SIDE = 128

Figures = dict[str, Any]


def main() -> None:
    """Measure each model, print the table and one line of JSON."""
    torch.set_num_threads(1)
    options = _options()
    print(f"{'':<38}{'frames':>6}{'encode ms':>11}{'bare ms':>9}{'overhead':>10}")
    rows = []
    for name in options.names or [*sorted(shipped()), *small_ones()]:
        torch.manual_seed(0)
        model = load(name) if name in shipped() else zoo.create(name)
        for clip in clips_for(model):
            rows.append(measured(model, clip, options.seconds))
            print(line(rows[-1]), flush=True)
    over = sum(row["overhead"] > OVERHEAD_AT_MOST for row in rows)
    print(f"\n{len(rows) - over} of {len(rows)} within {OVERHEAD_AT_MOST:.0%}")
    print(json.dumps({
        "models": rows,
        "within": len(rows) - over,
        "machine": f"{os.cpu_count()} x {platform.machine()}, Python {platform.python_version()}",
        "versions": {"torch": version("torch")},
        "date": datetime.now(UTC).date().isoformat(),
    }))  # fmt: skip


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", metavar="NAME", help="presets or shipped models")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each clip")
    return parser.parse_args()


def small_ones() -> list[str]:
    """The first tiny preset of each family."""
    first: dict[str, str] = {}
    for name, preset in presets().items():
        if name.partition(".")[0].endswith("_tiny"):
            first.setdefault(preset.family.family(), name)
    return sorted(first.values())


def clips_for(model: Tokenizer) -> list[Tensor]:
    """Clips of each length, random inside the value range."""
    spec, shape = model.spec, list(model.example_shape(1))
    time_axis = spec.layout.index("T")
    if spec.layout == "BCTHW" and not spec.size:
        shape[-2:] = (SIDE, SIDE)
    lengths = FRAMES[spec.layout] if spec.streaming else (shape[time_axis],)
    return [
        torch.rand(*shape[:time_axis], frames, *shape[time_axis + 1 :]) * 2 - 1
        for frames in lengths
    ]


@torch.no_grad()
def measured(model: Tokenizer, clip: Tensor, seconds: float) -> Figures:
    """Processor milliseconds of a clip, by `encode` and bare."""
    cutter = Cutter(model.spec, model.pace)
    pieces = list(cutter.pieces(clip))

    def bare(parts: list[Tensor]) -> None:
        state: dict[Any, Any] = {}
        for part in parts:
            model.encode_piece(part, state)

    contenders: dict[str, Callable[[], object]] = {
        "encode": lambda: model.encode(clip),
        "bare": lambda: bare(pieces),
    }
    spent = {contender: [milliseconds(call)] for contender, call in contenders.items()}
    ends = time.process_time() + seconds
    while time.process_time() < ends:
        for contender, call in contenders.items():
            spent[contender].append(milliseconds(call))
    figures: Figures = {key: round(median(ms[1:] or ms), 3) for key, ms in spent.items()}
    return {
        "name": model.spec.name,
        "frames": clip.shape[cutter.time],
        **{f"{key}_ms": value for key, value in figures.items()},
        "overhead": round(figures["encode"] / figures["bare"] - 1, 4),
    }


def milliseconds(call: Callable[[], object]) -> float:
    """Processor time of a call."""
    began = time.process_time()
    call()
    return 1000 * (time.process_time() - began)


def line(row: Figures) -> str:
    return (
        f"{row['name']:<38}{row['frames']:>6}{row['encode_ms']:>11.2f}{row['bare_ms']:>9.2f}"
        f"{row['overhead']:>10.1%}"
    )


if __name__ == "__main__":
    main()
