"""What a generator made, as media: frames, or a moving body; to files and to pictures.

Ids and latents are decoded by the tokenizer that the generator learned; features of bodies become
joints. A clip is written as a film, a body as a film, BVH or arrays; several are named by number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from catalogs.errors import UsageError
from curation.mocap.arrays import motion_from_array
from curation.mocap.bvh_write import write_bvh
from curation.mocap.draw import draw_motion, motion_sheet
from curation.pictures import contact_sheet, save_film
from tokenize_jobs.takes import features_for
from zoo.generator import Batch, Generator, Samples
from zoo.tokenizer import Tokenizer

__all__ = ["Media", "decoded", "draw_samples"]

SUFFIXES = (".mp4", ".gif", ".png", ".npy", ".bvh")
_SHOWN_FRAMES, _SHOWN_SAMPLES = 4, 4
_DEFAULT_FPS = Fraction(12)


@dataclass(frozen=True, eq=False)
class Media:
    """Frames (T, H, W, 3) of uint8, or joints (T, 22, 3) in metres."""

    values: NDArray[Any]
    fps: Fraction

    @property
    def is_body(self) -> bool:
        return self.values.ndim == 3

    def write(self, path: Path) -> Path:
        """Write as the ending of the name says."""
        suffix = path.suffix.lower()
        fits = suffix in SUFFIXES and (self.is_body or suffix != ".bvh")
        if not fits:
            what = "a body" if self.is_body else "a clip"
            allowed = SUFFIXES if self.is_body else SUFFIXES[:-1]
            raise UsageError(f"cannot write {what} as {path.name}", allowed=", ".join(allowed))
        path.parent.mkdir(parents=True, exist_ok=True)
        if suffix == ".npy":
            np.save(path, self.values, allow_pickle=False)
        elif suffix == ".bvh":
            write_bvh(self.values, self.fps, path)
        elif self.is_body:
            draw_motion(motion_from_array(self.values, fps=self.fps).motion, path)
        elif suffix == ".png":
            self.sheet().save(path)
        else:
            save_film([Image.fromarray(frame) for frame in self.values], path, self.fps)
        return path

    def sheet(self) -> Image.Image:
        """A few moments side by side."""
        if self.is_body:
            return motion_sheet(
                motion_from_array(self.values, fps=self.fps).motion, 160, _SHOWN_FRAMES
            )
        chosen = np.linspace(0, len(self.values) - 1, _SHOWN_FRAMES).round().astype(int)
        frames = [Image.fromarray(self.values[number]) for number in chosen.tolist()]
        texts = [f"{float(number / self.fps):.2f} s" for number in chosen.tolist()]
        return contact_sheet(frames, texts, columns=_SHOWN_FRAMES)


def decoded(model: Generator, made: Samples, tokenizer: Tokenizer | None = None) -> list[Media]:
    """Each sample as media, by the tokenizer that the generator learned; pixels as they are."""
    if model.source is None and model.space.modality == "video" and model.space.channels == 3:
        return [_clip(x.movedim(-1, 0), model.fps) for x in made.x.float().cpu()]
    tokenizer = tokenizer or model.tokenizer()
    assert model.source is not None
    spec = tokenizer.spec
    stream = spec.stream(model.source.stream) if model.source.stream else spec.streams[0]
    media = []
    for number in range(len(made.x)):
        length = int(made.lengths[number]) if made.lengths is not None else made.x.shape[1]
        values = made.x[number : number + 1, : max(1, length)]
        steps = (values.shape[1] - stream.first) // max(1, stream.step)
        size = (spec.length.first + max(0, steps) * spec.length.step, *model.source.size[1:])
        tokens = tokenizer.tokens({stream.name: values.to(tokenizer.device)}, size)
        media.append(_media(tokenizer.decode(tokens)[0].float().cpu(), spec))
    return media


def _media(x: torch.Tensor, spec: Any) -> Media:
    if spec.layout == "BCTHW":
        return _clip(x, spec.fps)
    features = features_for(spec.channels, spec.joints, spec.name)
    return Media(np.asarray(features.joints(x.numpy().astype(float))), features.fps)


def _clip(x: torch.Tensor, fps: float | None) -> Media:
    """Pixels (3, T, H, W) in -1..1 as a clip."""
    pixels = ((x.movedim(0, -1) + 1) * 127.5).round().clamp(0, 255)
    rate = Fraction(fps).limit_denominator(1001) if fps else _DEFAULT_FPS
    return Media(pixels.numpy().astype(np.uint8), rate)


def draw_samples(model: Generator, batch: Batch) -> Image.Image:
    """What the model makes when it is asked as the first examples of a batch are."""
    count = min(_SHOWN_SAMPLES, len(batch))
    asked = batch.select(slice(0, count)).conditions
    made = model.sample(count, asked, frames=batch.x.shape[1], seed=0)
    sheets = [media.sheet() for media in decoded(model, made)]
    return stacked(sheets)


def stacked(sheets: Sequence[Image.Image]) -> Image.Image:
    """Pictures below each other."""
    width = max(sheet.width for sheet in sheets)
    whole = Image.new("RGB", (width, sum(sheet.height for sheet in sheets)), "#ffffff")
    top = 0
    for sheet in sheets:
        whole.paste(sheet, (0, top))
        top += sheet.height
    return whole
