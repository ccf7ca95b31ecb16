"""The text-motion evaluator, trained on the takes of a catalog as they are stored.

It learns from joints and captions, not from tokens: what a tokenizer loses must not look right to
the judge of its generators.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from catalogs.catalog import Catalog
from catalogs.errors import NotFoundError
from tokenize_jobs.clips import chosen_sources
from tokenize_jobs.takes import take_windows
from tokenize_jobs.training.judges import EVALUATED
from tokenize_jobs.transform import Transform
from zoo.evaluators.text_motion import Config, Pairs, TextMotion, fit_evaluator
from zoo.training.run import Outcome
from zoo.training.settings import Training

__all__ = ["pairs_of", "train_evaluator"]


def pairs_of(
    catalog: Catalog, *, selection: str = "", split: str = ""
) -> tuple[list[Tensor], list[list[str]]]:
    """Features (T, 263) of every whole take's clip that has captions, and those captions."""
    whole = Transform(features=EVALUATED)
    motions, texts = [], []
    for session, source in chosen_sources(catalog, kind="mocap", selection=selection or None):
        for clip in source.clips:
            if split and clip.split != split:
                continue
            rows = session.sql(
                "select distinct text from captions where clip_id = ? and text <> '' order by 1",
                [clip.clip_id],
            ).rows()
            if not rows:
                continue
            try:
                (window,) = take_windows(session, clip, whole)
            except NotFoundError:  # Too short, or joints are missing: nothing to learn from.
                continue
            motions.append(torch.from_numpy(window.values))
            texts.append([text for (text,) in rows])
    return motions, texts


def train_evaluator(
    catalog: str,
    folder: str | Path,
    *,
    selection: str = "",
    split: str = "",
    steps: int = 2000,
    batch: int = 64,
    seed: int = 0,
    config: Config | None = None,
    progress: bool = True,
) -> Outcome:
    """Train an evaluator in `folder`, from its latest checkpoint if there is one."""
    motions, texts = pairs_of(Catalog.open(catalog), selection=selection, split=split)
    if len(motions) < 2:
        raise NotFoundError(
            f"{len(motions)} clips of takes in {catalog} have captions",
            allowed="2 or more",
            hint="clipmill caption CATALOG describes takes",
        )
    torch.manual_seed(seed)
    model = TextMotion(config)
    model.fit_normalizer(motions)
    size = min(batch, len(motions))
    settings = Training(steps=steps, batch=size, learning_rate=1e-3, seed=seed)
    feed = Pairs(motions, texts, batch=size, seed=seed)
    return fit_evaluator(model, feed, settings, folder, progress=progress)
