"""Checkpoints that are either whole or not there, of safetensors and JSON only.

A checkpoint is a folder `step-00000500`: `tensors.safetensors` (weights, averages, optimisers,
discriminator) and `state.json` (step, position in the data, settings). It is written under another
name, flushed to disk and renamed, so a run that is killed while saving resumes from the one before.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from zoo.errors import UsageError
from zoo.training.shards import in_parts

__all__ = ["Checkpoint", "Checkpoints", "flatten_optimiser", "restore_optimiser"]

_TENSORS, _STATE = "tensors.safetensors", "state.json"
_PREFIX = "step-"


@dataclass(frozen=True)
class Checkpoint:
    """Tensors in named groups, and JSON values."""

    tensors: Mapping[str, Mapping[str, Tensor]]
    state: Mapping[str, Any]


class Checkpoints:
    """The checkpoints of one run."""

    def __init__(self, folder: Path, keep: int):
        self.folder, self.keep = folder, keep

    def save(self, step: int, checkpoint: Checkpoint) -> Path:
        """Write the checkpoint of `step` and drop the oldest ones."""
        self.folder.mkdir(parents=True, exist_ok=True)
        target = self.folder / f"{_PREFIX}{step:08d}"
        unfinished = self.folder / f"unfinished-{target.name}"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        flat = {
            f"{group}/{name}": tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
            for group, tensors in checkpoint.tensors.items()
            for name, tensor in tensors.items()
        }
        save_file(flat, unfinished / _TENSORS)
        (unfinished / _STATE).write_text(json.dumps(checkpoint.state, indent=1) + "\n")
        for name in (_TENSORS, _STATE):
            _flush(unfinished / name)
        shutil.rmtree(target, ignore_errors=True)
        unfinished.rename(target)
        _flush(self.folder)
        for old in self._steps()[: -self.keep]:
            shutil.rmtree(old)
        return target

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint, or None when there is none yet."""
        steps = self._steps()
        if not steps:
            return None
        grouped: dict[str, dict[str, Tensor]] = {}
        for name, tensor in load_file(steps[-1] / _TENSORS).items():
            group, _, rest = name.partition("/")
            grouped.setdefault(group, {})[rest] = tensor
        return Checkpoint(grouped, json.loads((steps[-1] / _STATE).read_text()))

    def _steps(self) -> list[Path]:
        return sorted(self.folder.glob(f"{_PREFIX}*")) if self.folder.is_dir() else []


def flatten_optimiser(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The moments of every parameter by its index."""
    return {
        f"{index}.{name}": torch.as_tensor(value)
        for index, moments in optimiser.state_dict()["state"].items()
        for name, value in moments.items()
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, flat: Mapping[str, Tensor]) -> None:
    """What `flatten_optimiser` gave, into an optimiser of the same parameters."""
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    groups = optimiser.state_dict()["param_groups"]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in flat.items():
        index, _, name = key.partition(".")
        if int(index) >= len(parameters):
            raise UsageError("the checkpoint is of another model: it has more parameters")
        state.setdefault(int(index), {})[name] = in_parts(value, parameters[int(index)])
    optimiser.load_state_dict({"state": state, "param_groups": groups})


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
