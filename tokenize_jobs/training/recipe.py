"""What a training run is told, in one file: which tokens, which model, how long.

    data:
      catalog: corpus
      tokenizer: motion/starter
      selection: walks
      split: train
      validation: val
      conditions: {text: captions, label: action}
    model:
      preset: motion/autoregressive_tiny
      change: {backbone: {dim: 128, depth: 4}}
    run: {steps: 2000, batch: 32}

A pretrained generator of diffusers learns by low-rank layers beside its frozen weights:

    model: diffusers:Wan-AI/Wan2.1-T2V-1.3B-Diffusers
    lora: {rank: 16}

A trained generator that denoises teaches one that needs few steps:

    distil: {teacher: local-dir:runs/walks/model, method: consistency, steps: 4}

A misspelt or mistyped line is refused before anything is read. The size of the grid, the codes, the
classes and the width of embeddings follow from the data, so a preset fits any tokenizer of its
kind, and a line under `change` scales it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo.training.settings import Distillation, GeneratorSettings, Strict, read_settings

__all__ = ["Data", "Lora", "Model", "Recipe"]


@dataclass(frozen=True, kw_only=True)
class Data(Strict):
    """Which windows are trained on, and what the model is told of each."""

    catalog: str
    tokenizer: str
    """As `zoo.load` takes it; its tokens must be in the catalog."""
    stream: str = ""
    """Of a tokenizer that has several; the first by default."""
    levels: int = 0
    """Of codes whose first levels decode alone, the first so many; 0 takes all."""
    selection: str = ""
    where: str = ""
    windows: str = ""
    """A condition on the table's own columns, `frames >= 16`."""
    split: str = ""
    validation: str = ""
    """The split that is kept apart."""
    conditions: dict[str, str] = field(default_factory=dict)
    """By the model's condition: `captions`, `captions:KIND`, or a column of clips."""
    workers: int = 0
    """Processes that read ahead."""


@dataclass(frozen=True, kw_only=True)
class Model(Strict):
    """A preset, and what of its configuration is different here."""

    preset: str
    change: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Lora(Strict):
    """The low-rank layers that a pretrained generator learns."""

    rank: int = field(default=16, metadata={"least": 1})
    alpha: float = field(default=0.0, metadata={"least": 0})
    """What they learn is multiplied by alpha / rank; 0 takes the rank."""
    targets: list[str] = field(default_factory=lambda: ["to_q", "to_k", "to_v", "to_out.0"])
    """Ends of the names of linear layers."""
    drop: float = field(default=0.1, metadata={"least": 0, "most": 1})
    """Share of the examples that learn without their text, for guidance."""
    precision: str = field(
        default="bfloat16", metadata={"choices": ("bfloat16", "float16", "float32")}
    )
    """Of the frozen weights."""


@dataclass(frozen=True, kw_only=True)
class Recipe(Strict):
    """Data, model and budget of one run; `workers` processes share the batch."""

    data: Data
    model: Model
    run: GeneratorSettings
    lora: Lora | None = None
    distil: Distillation | None = None
    workers: int = 1
    gpus: bool = False

    @classmethod
    def read(
        cls,
        path: str | Path,
        change: Mapping[str, Any] | None = None,
        *,
        workers: int | None = None,
    ) -> Recipe:
        """The recipe of a YAML or JSON file, with values of `run` changed."""
        known = dict(read_settings(path))
        if isinstance(known.get("model"), str):
            known["model"] = {"preset": known["model"]}
        if change:
            known["run"] = {**dict(known.get("run", {})), **change}
        if workers is not None:
            known["workers"] = workers
        return cls.from_json(known)
