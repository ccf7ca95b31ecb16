"""What the verb `encode` costs beside the network: checks, padding, cutting, joining.

    python bench/encode.py [NAME ...] [--seconds 2] [--turns 5]

For each model (by default the first small one of each family) the same clip is encoded by
`encode`, and by a bare loop that calls the family's `encode_piece` on pieces cut beforehand. Both
take turns; figures are processor seconds of one thread, medians of all turns. `whole` is one piece
as long as the clip, what a family that need not keep its ids could do.
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
from zoo.pieces import Cutter
from zoo.registry import presets
from zoo.tokenizer import Tokenizer

OVERHEAD_AT_MOST = 0.03
STEPS = 5
"""Steps of the length rule in the clip."""

Figures = dict[str, Any]


def main() -> None:
    """Measure each model, print the table and one line of JSON."""
    torch.set_num_threads(1)
    options = _options()
    print(f"{'':<44}{'encode ms':>11}{'bare ms':>9}{'overhead':>10}{'whole ms':>10}")
    rows = []
    for name in options.names or small_ones():
        rows.append(measured(name, options.seconds, options.turns))
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
    parser.add_argument("--seconds", type=float, default=2.0, help="of each contender's turn")
    parser.add_argument("--turns", type=int, default=5)
    return parser.parse_args()


def small_ones() -> list[str]:
    """The first tiny preset of each family."""
    first: dict[str, str] = {}
    for name, preset in presets().items():
        if name.partition(".")[0].endswith("_tiny"):
            first.setdefault(preset.family.family(), name)
    return sorted(first.values())


def model_named(name: str) -> Tokenizer:
    torch.manual_seed(0)
    return (zoo.create(name) if name in presets() else zoo.load(name)).eval()


def clip_for(model: Tokenizer) -> Tensor:
    """One clip of some steps, random inside the value range."""
    shape = list(model.example_shape(1))
    rule, time_axis = model.spec.length, model.spec.layout.index("T")
    if model.spec.streaming:
        shape[time_axis] = rule.first + STEPS * rule.step
    return torch.rand(shape) * 2 - 1


@torch.no_grad()
def measured(name: str, seconds: float, turns: int) -> Figures:
    """Processor milliseconds of a clip: by `encode`, bare, and as one piece."""
    model = model_named(name)
    clip = clip_for(model)
    cutter = Cutter(model.spec, model.pace)
    pieces = list(cutter.pieces(clip))
    padded = cutter.pad(clip, model.spec.length.padded(clip.shape[cutter.time]))

    def bare(parts: list[Tensor]) -> None:
        state: dict[Any, Any] = {}
        for part in parts:
            model.encode_piece(part, state)

    contenders: dict[str, Callable[[], object]] = {
        "encode": lambda: model.encode(clip),
        "bare": lambda: bare(pieces),
        "whole": lambda: bare([padded]),
    }
    spent: dict[str, list[float]] = {contender: [] for contender in contenders}
    for _ in range(turns):
        for contender, function in contenders.items():
            spent[contender].append(milliseconds(function, seconds))
    figures: Figures = {f"{key}_ms": round(median(ms), 3) for key, ms in spent.items()}
    ratios = [a / b for a, b in zip(spent["encode"], spent["bare"], strict=True)]
    return {"name": name, "frames": clip.shape[cutter.time], **figures,
            "overhead": round(median(ratios) - 1, 4)}  # fmt: skip


def milliseconds(function: Callable[[], object], seconds: float) -> float:
    """Processor time of a call, after one that is not counted."""
    function()
    began, calls = time.process_time(), 0
    while (spent := time.process_time() - began) < seconds:
        function()
        calls += 1
    return 1000 * spent / calls


def line(row: Figures) -> str:
    return (
        f"{row['name']:<44}{row['encode_ms']:>11.2f}{row['bare_ms']:>9.2f}"
        f"{row['overhead']:>10.1%}{row['whole_ms']:>10.2f}"
    )


if __name__ == "__main__":
    main()
