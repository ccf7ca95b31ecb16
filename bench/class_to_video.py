"""Whether a small generator makes clips of the class it is asked for.

    python bench/class_to_video.py [--clips N] [--steps N] [--to FOLDER]

Circles, squares, crosses and triangles of any size, colour and place move over plain grounds; the
class is the way they go: left, right, up or down. The tokens of such clips train a
class-conditional model and, apart from it, a small classifier. Then every class is asked for, and
the classifier says what it sees in the tokens that come; on tokens of clips that it was not trained
on it says how far it can be trusted. Both run in one process on one thread.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import zoo
from tokenize_jobs.training.media import decoded, stacked
from zoo.generator import Batch, Condition, Decoding, Generator, Samples, Space
from zoo.generators.autoregressive import Autoregressive
from zoo.training import GeneratorSettings, fit_generator

TOKENIZER, PRESET = "video/starter", "video/autoregressive_tiny"
SIZE = {"dim": 128, "depth": 4, "heads": 4}
LEVELS = 2
FRAMES, SIDE = 9, 64
SHAPES = ("circle", "square", "cross", "triangle")
WAYS = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}
CLASSES = tuple(WAYS)
ASKED_EACH = 24


def clip_of(number: int, dice: np.random.Generator) -> Tensor:
    """A clip (3, T, H, W) in -1..1 of one class."""
    shape, way = SHAPES[dice.integers(len(SHAPES))], np.array(WAYS[CLASSES[number]])
    radius, speed = dice.uniform(8, 14), dice.uniform(2.0, 3.5)
    y, x = np.mgrid[:SIDE, :SIDE].astype(float)
    middle = SIDE / 2 + dice.uniform(-8, 8, 2)
    ground, colour = dice.uniform(-1, -0.2, 3), dice.uniform(0.2, 1, 3)
    frames = []
    for frame in range(FRAMES):
        place = middle + way * speed * (frame - (FRAMES - 1) / 2)
        dy, dx = y - place[0], x - place[1]
        inside = {
            "circle": dy**2 + dx**2 < radius**2,
            "square": np.maximum(abs(dy), abs(dx)) < radius * 0.9,
            "cross": (np.minimum(abs(dy), abs(dx)) < radius * 0.3)
            & (np.maximum(abs(dy), abs(dx)) < radius),
            "triangle": (abs(dx) < (dy + radius) / 2) & (dy < radius * 0.8),
        }[shape]
        frames.append(np.where(inside[..., None], colour, ground))
    return torch.from_numpy(np.stack(frames)).float().permute(3, 0, 1, 2)


def clips(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Tokens of rendered clips, and their classes."""
    tokenizer, dice = zoo.load(TOKENIZER), np.random.default_rng(seed)
    labels = torch.arange(count) % len(CLASSES)
    ids = [tokenizer.encode(clip_of(int(c), dice)[None]).ids[0, ..., :LEVELS] for c in labels]
    return torch.stack(ids), labels


class Clips:
    """Endless shuffled batches."""

    def __init__(self, model: Generator, ids: Tensor, labels: Tensor, batch: int):
        self.model, self.ids, self.labels, self.batch, self.seen = model, ids, labels, batch, 0

    def __iter__(self) -> Iterator[Batch]:
        while True:
            chosen = np.random.default_rng(self.seen).integers(len(self.ids), size=self.batch)
            self.seen += 1
            asked = self.model.given(label=self.labels[chosen].tolist())
            yield Batch(self.ids[chosen], asked)

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seen = state["seen"]

    def shard(self, rank: int, world: int) -> Clips:
        return self


class Classifier(nn.Module):
    """What class a grid of ids is of; it looks at the vectors that the ids stand for."""

    def __init__(self, quantizer: Any, width: int):
        super().__init__()
        self.vectors = quantizer.decode
        self.look = nn.Sequential(
            nn.Conv3d(width, 64, 3, padding=1),
            nn.GELU(),
            nn.Conv3d(64, 64, 3, padding=1),
            nn.GELU(),
        )
        self.say = nn.Linear(64 * 3 * 16, len(CLASSES))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.look(self.vectors(ids).float().movedim(-1, 1))
        return self.say(functional.adaptive_avg_pool3d(x, (3, 4, 4)).flatten(1))


def classifier(ids: Tensor, labels: Tensor) -> Classifier:
    """Trained on tokens of rendered clips for some hundred steps."""
    torch.manual_seed(1)
    quantizer: Any = zoo.load(TOKENIZER).quantizer
    with torch.no_grad():
        width = quantizer.decode(ids[:1]).shape[-1]
    model = Classifier(quantizer, width)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    for step in range(300):
        chosen = np.random.default_rng(step).integers(len(ids), size=32)
        loss = functional.cross_entropy(model(ids[chosen]), labels[chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval()


def right(judge: Classifier, ids: Tensor, labels: Tensor) -> float:
    """The share of grids whose class is recognised."""
    with torch.no_grad():
        return float((judge(ids).argmax(-1) == labels).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clips", type=int, default=960)
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--to", type=Path, default=None)
    options = parser.parse_args()
    torch.set_num_threads(1)

    ids, labels = clips(options.clips, seed=0)
    unseen, known = clips(len(CLASSES) * ASKED_EACH, seed=1)
    spec, size = zoo.load(TOKENIZER).spec, (FRAMES, SIDE, SIDE)
    space, preset = Space.of(spec, size, levels=LEVELS), zoo.preset(PRESET)
    judge = classifier(ids, labels)
    config = replace(
        preset.config,
        space=space,
        conditions=(Condition("label", "class", len(CLASSES), CLASSES),),
        backbone=replace(preset.config.backbone, **SIZE),
        arrangement="delay",
    )
    torch.manual_seed(0)
    model = Autoregressive(config).bind(spec, size)
    model.name = PRESET
    began = time.process_time()
    settings = GeneratorSettings(
        steps=options.steps, batch=options.batch, learning_rate=2e-3, log_every=100, ema_decay=0.99
    )
    folder = options.to or Path(tempfile.mkdtemp())
    feed = Clips(model, ids, labels, options.batch)
    outcome = fit_generator(model, feed, settings, folder / "run", device="cpu")
    minutes = (time.process_time() - began) / 60

    wanted = torch.arange(len(CLASSES)).repeat_interleave(ASKED_EACH)
    asked = model.given(label=wanted.tolist())
    made = model.sample(len(wanted), asked, Decoding(top_p=0.95, guidance=1.5), seed=1)
    shown = Samples(made.x[::ASKED_EACH])
    stacked([media.sheet() for media in decoded(model, shown)]).save(folder / "samples.png")
    figures = {
        "clips": options.clips,
        "parameters": sum(p.numel() for p in model.parameters()),
        "cpu_minutes": round(minutes, 2),
        "loss": round(outcome.losses["loss"], 3),
        "recognised": round(right(judge, made.x, wanted), 3),
        "recognised_rendered": round(right(judge, unseen, known), 3),
    }
    print(f"samples of each class: {folder / 'samples.png'}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
