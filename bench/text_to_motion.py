"""Whether a small generator does what a text says: known actions in, measured actions out.

    python bench/text_to_motion.py [--takes N] [--steps N] [--to FOLDER]

Takes of a person who walks, runs, jumps or turns are rendered, each with a text that says what,
whereto and how often. Their tokens train a text-to-motion model in one process on one thread. Then
every text is asked for again, the answers are decoded to joints, and the rules that describe real
takes say what they see. Counted are answers whose action, direction and count are those of the
text. The same is counted for the tokens of rendered takes that were not trained on, which is as
good as any generator of these tokens can be.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import zoo
from catalogs.testing import render_take
from curation.mocap.arrays import motion_from_array
from curation.mocap.body import body_of, without_gaps
from curation.mocap.captions import find_events
from curation.mocap.events import Event, Scene
from tokenize_jobs.takes import features_named
from tokenize_jobs.training.media import decoded
from zoo.generator import Batch, Condition, Decoding, Generator, Samples, Space
from zoo.generators.autoregressive import Autoregressive
from zoo.training import GeneratorSettings, fit_generator

TOKENIZER = "motion/starter"
PRESET = "motion/autoregressive_tiny"
SIZE = {"dim": 128, "depth": 4, "heads": 4}
LEVELS = 6
"""Of the codes of a position: the first ones say what happens, the rest how exactly."""
FPS, SECONDS = 20, 4.0
FEATURES = features_named("humanml263")
COUNTS = {1: "once", 2: "twice"}


@dataclass(frozen=True)
class Wish:
    """One thing to ask for: its texts, how it is rendered, what must be measured."""

    texts: tuple[str, ...]
    action: str
    options: dict[str, Any]
    kind: str
    direction: str = ""
    count: int = 0

    def met(self, events: list[Event]) -> bool:
        """Whether the main event is the one that was asked for."""
        if not events:
            return False
        event = max(events, key=lambda found: found.weight)
        side = str(event.measures.get("direction", event.side))
        count = round(float(event.measures.get("count", 1)))
        return event.kind == self.kind and self.direction in side and self.count in (0, count)


def wishes() -> list[Wish]:
    """Everything that is asked for."""
    made = []
    for action in ("walk", "run"):
        for way in ("forward", "backward") if action == "walk" else ("forward",):
            texts = (f"a person {action}s {way}", f"the person {action}s {way} at an even pace")
            made.append(Wish(texts, action, {"direction": way}, action, way))
    for side, sign in (("left", 1), ("right", -1)):
        texts = (f"a person turns {side} on the spot", f"somebody turns to the {side}")
        made.append(Wish(texts, "turn", {"turn_deg": 90.0 * sign, "rest_s": 0.5}, "turn", side))
        texts = (f"a person walks sideways to the {side}", f"someone steps to the {side}")
        made.append(Wish(texts, "walk", {"direction": side}, "walk", side))
    for count, word in COUNTS.items():
        texts = (f"a person jumps {word}", f"the person leaps up {word}")
        made.append(Wish(texts, "jump", {"count": count, "rest_s": 0.3}, "jump", "", count))
    return made


def features_of(wish: Wish, seed: int, folder: Path) -> Tensor:
    """The features of a rendered take."""
    path = folder / "take.npy"
    render_take(path, wish.action, fps=FPS, seconds=SECONDS, seed=seed, **wish.options)  # type: ignore[arg-type]
    return torch.from_numpy(FEATURES.make(np.load(path)))


def takes(count: int, seed: int) -> tuple[Tensor, list[str], list[Wish]]:
    """Tokens of rendered takes, a text of each, and what it asks for."""
    tokenizer, every = zoo.load(TOKENIZER), wishes()
    dice = np.random.default_rng(seed)
    ids, texts, asked = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            wish = every[number % len(every)]
            features = features_of(wish, seed + number, Path(folder))
            ids.append(tokenizer.encode(features[None].float()).ids[0, :, :LEVELS])
            texts.append(wish.texts[dice.integers(len(wish.texts))])
            asked.append(wish)
    return torch.stack(ids), texts, asked


class Takes:
    """Endless shuffled batches."""

    def __init__(self, model: Generator, ids: Tensor, texts: list[str], batch: int):
        self.model, self.ids, self.texts, self.batch, self.seen = model, ids, texts, batch, 0

    def __iter__(self) -> Iterator[Batch]:
        while True:
            dice = np.random.default_rng(self.seen)
            chosen = dice.integers(len(self.ids), size=self.batch)
            self.seen += 1
            asked = self.model.given(text=[self.texts[number] for number in chosen])
            yield Batch(self.ids[chosen], asked)

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seen = state["seen"]

    def shard(self, rank: int, world: int) -> Takes:
        return self


def matched(model: Generator, samples: Samples, asked: list[Wish]) -> list[bool]:
    """Which samples do what was asked for."""
    made = decoded(model, samples, zoo.load(TOKENIZER))
    return [wish.met(events_in(item.values)) for wish, item in zip(asked, made, strict=True)]


def events_in(joints: np.ndarray[Any, Any]) -> list[Event]:
    body = body_of(motion_from_array(joints, fps=Fraction(FPS)).motion)
    return find_events(Scene(without_gaps(body))) if body else []


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--takes", type=int, default=600)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--to", type=Path, default=None)
    options = parser.parse_args()
    torch.set_num_threads(1)

    ids, texts, _ = takes(options.takes, seed=0)
    unseen, _, known = takes(len(wishes()) * 8, seed=100_000)
    spec = zoo.load(TOKENIZER).spec
    size = (spec.length.padded(int(FPS * SECONDS)),)
    preset = zoo.preset(PRESET)
    config = replace(
        preset.config,
        space=Space.of(spec, size, levels=LEVELS),
        conditions=(Condition("text", "words"),),
        backbone=replace(preset.config.backbone, **SIZE),
        arrangement="delay",
        ends=False,
    )
    torch.manual_seed(0)
    model = Autoregressive(config).bind(spec, size)
    model.name = PRESET
    began = time.process_time()
    settings = GeneratorSettings(
        steps=options.steps, batch=options.batch, learning_rate=2e-3, log_every=100, ema_decay=0.99
    )
    folder = options.to or Path(tempfile.mkdtemp())
    feed = Takes(model, ids, texts, options.batch)
    outcome = fit_generator(model, feed, settings, folder / "run", device="cpu")
    minutes = (time.process_time() - began) / 60

    wanted = [wish for wish in wishes() for _ in range(8)]
    asked = model.given(text=[wish.texts[number % 2] for number, wish in enumerate(wanted)])
    samples = model.sample(len(wanted), asked, Decoding(top_p=0.95, guidance=1.5), seed=1)
    hits = matched(model, samples, wanted)
    best = matched(model, Samples(unseen), known)
    for wish in wishes():
        mine = [hit for hit, other in zip(hits, wanted, strict=True) if other == wish]
        real = [hit for hit, other in zip(best, known, strict=True) if other == wish]
        print(
            f"{wish.texts[0]:44} {sum(mine)} of {len(mine)}    rendered {sum(real)} of {len(real)}"
        )
    figures = {
        "takes": options.takes,
        "parameters": sum(p.numel() for p in model.parameters()),
        "cpu_minutes": round(minutes, 2),
        "loss": round(outcome.losses["loss"], 3),
        "matched": round(sum(hits) / len(hits), 3),
        "matched_rendered": round(sum(best) / len(best), 3),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
