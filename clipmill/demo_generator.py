"""The demo's last part: a generator of takes, trained in seconds, asked for what it has seen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from catalogs import Catalog
from clipmill.checks import Check
from curation.mocap.arrays import motion_from_array
from curation.mocap.captions import caption_motion
from tokenize_jobs.training.media import Media, decoded
from tokenize_jobs.training.recipe import Recipe
from tokenize_jobs.training.train import train

__all__ = ["generator_of"]

STEPS = 160
VERBS = ("jumps", "turns", "walks")


def generator_of(corpus: Path, folder: Path) -> Iterator[Check]:
    """Train on the tokens and captions of the takes, ask again, and measure what is made."""
    from zoo.artefact import load
    from zoo.generator import Decoding, Generator

    outcome = train(_recipe(corpus), folder / "run", progress=False)
    yield Check("steps of training", str(STEPS), str(outcome.steps))
    model = load(outcome.folder)
    assert isinstance(model, Generator)
    texts = _texts(corpus)
    asked = model.given(text=texts)
    made = decoded(model, model.sample(len(texts), asked, Decoding(temperature=0)))
    for verb, take in zip(VERBS, made, strict=True):
        take.write(folder / "made" / f"{verb}.gif")
        yield Check(f"a take that {verb}, made from its text", verb, _seen(take))


def _recipe(corpus: Path) -> Recipe:
    known: dict[str, Any] = {
        "data": {
            "catalog": str(corpus),
            "tokenizer": "motion/starter",
            "selection": "demo-takes",
            "levels": 6,
            "conditions": {"text": "captions:brief"},
        },
        "model": {
            "preset": "motion/autoregressive_delay_tiny",
            "change": {"backbone": {"dim": 96, "depth": 2, "heads": 2}},
        },
        "run": {"steps": STEPS, "batch": 4, "learning_rate": 3e-3, "ema_decay": 0.9},
    }
    return Recipe.from_json(known)


def _texts(corpus: Path) -> list[str]:
    """The brief caption of a take for each verb."""
    catalog = Catalog.open(corpus)
    query = "select text from captions where kind = 'brief' and text like ? order by text limit 1"
    return [catalog.sql(query, [f"A person {verb}%"]).value() for verb in VERBS]


def _seen(take: Media) -> str:
    """Which of the verbs the rules find first in what was made."""
    brief = caption_motion(motion_from_array(take.values, fps=take.fps).motion).brief
    found = [verb for verb in VERBS if verb in brief]
    return min(found, key=brief.index) if found else brief
