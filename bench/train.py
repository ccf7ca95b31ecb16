"""What the training loop costs beside the bare model.

    python bench/train.py [--steps N] [--rounds N] [--batch N] [--dim N] [--depth N]

Each round trains the same autoregressive model twice for N steps: by a plain loop on tensors that
lie in memory (forward, backward, clipping, AdamW, running average), and by `fit_generator` from the
token shards of a catalog, with its log, without pictures and checkpoints. The first steps of both
are left out. On a GPU it computes in bfloat16 and also states the share of the peak.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from tokenize_jobs.plan import table_of
from tokenize_jobs.testing import record_tokens
from tokenize_jobs.training.prepare import Prepared, prepare
from tokenize_jobs.training.recipe import Recipe
from zoo import create
from zoo.generator import Generator
from zoo.training import fit_generator
from zoo.training.ema import Ema
from zoo.training.run import autocast

WARM_STEPS = 3
WINDOWS = 512


def recipe_for(folder: Path, options: argparse.Namespace, steps: int) -> Recipe:
    """A catalog of random tokens of a small video tokenizer, and a model for them."""
    catalog = folder / "corpus"
    model = folder / "tokenizer"
    if not model.exists():
        torch.manual_seed(0)
        create("video/causal_cnn_fsq_tiny").save(model)
        from zoo.artefact import load_tokenizer

        spec = load_tokenizer(model).spec
        grid = spec.grid((17, 64, 64))["tokens"]
        codes = spec.streams[0].levels[0]
        dice = np.random.default_rng(0)
        record_tokens(
            catalog,
            clips=WINDOWS,
            table=table_of(spec, {}),
            arrays=lambda number: {"tokens": dice.integers(0, codes, grid)},
        )
    return Recipe.from_json(
        {
            "data": {"catalog": str(catalog), "tokenizer": f"local-dir:{model}"},
            "model": {
                "preset": "video/autoregressive_tiny",
                "change": {
                    "backbone": {
                        "dim": options.dim,
                        "depth": options.depth,
                        "heads": options.dim // 64,
                    }
                },
            },
            "run": {
                "steps": steps,
                "batch": options.batch,
                "log_every": 1,
                "save_every": 10**6,
                "precision": "bfloat16" if torch.cuda.is_available() else "float32",
                "compile": options.compile,
            },
            "gpus": torch.cuda.is_available(),
        }
    )


def bare_seconds(ready: Prepared, recipe: Recipe) -> list[float]:
    """Seconds of each step of a plain loop on one batch after the other from memory."""
    settings = recipe.run
    device = "cuda" if recipe.gpus else "cpu"
    model: Generator = ready.model.to(device).train()
    feed = iter(ready.batches)
    batches = [next(feed).to(device) for _ in range(4)]
    optimiser = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate)
    ema = Ema(model, settings.ema_decay)
    losses = torch.compile(model) if settings.compile else model
    seconds = []
    for step in range(settings.steps):
        began = time.perf_counter()
        with autocast(settings, model.device):
            loss = model.total(losses(batches[step % 4]))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        ema.update(model, step)
        float(loss.detach())
        seconds.append(time.perf_counter() - began)
    return seconds[WARM_STEPS:]


def loop_seconds(
    ready: Prepared, recipe: Recipe, folder: Path
) -> tuple[list[float], dict[str, float]]:
    """Seconds of each step of the product's loop, and what its last line says."""
    device = None if recipe.gpus else "cpu"
    outcome = fit_generator(
        ready.model, ready.batches, recipe.run, folder, device=device, progress=False
    )
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [1 / line["steps_per_second"] for line in lines][WARM_STEPS:], outcome.losses


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    bare: list[float] = []
    loop: list[float] = []
    last: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe = recipe_for(folder, options, options.steps)
        for number in range(options.rounds):
            bare += bare_seconds(prepare(recipe), recipe)
            seconds, last = loop_seconds(prepare(recipe), recipe, folder / f"run{number}")
            loop += seconds
        parameters = sum(p.numel() for p in prepare(recipe).model.parameters())
    overhead = statistics.median(loop) / statistics.median(bare) - 1
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor()
    print(f"{parameters / 1e6:.1f}M parameters, torch {torch.__version__}, {device}")
    print(f"bare loop   {statistics.median(bare) * 1000:9.1f} ms a step")
    print(f"fit         {statistics.median(loop) * 1000:9.1f} ms a step, {overhead:+.1%}")
    figures = {
        "bare_ms": round(statistics.median(bare) * 1000, 2),
        "fit_ms": round(statistics.median(loop) * 1000, 2),
        "overhead": round(overhead, 4),
        "parameters": parameters,
        "tokens_per_second": round(last["tokens_per_second"]),
        "share_of_peak": round(last.get("share_of_peak", 0.0), 4),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
