"""Published checkpoints of other projects as models of ours, with equal ids.

    model = convert("t2m-gpt", "net_last.pth", statistics=("mean.npy", "std.npy"))
    convert("vidtok", "vidtok_fsq_causal_488_32768.ckpt").save("folder")

A checkpoint is read with `weights_only`, so nothing in it is run; one that cannot be read so is
refused. A converter names the layout it knows, maps its keys, and insists that every weight of the
model is there once, in its shape, and that none is left over: a model that loads in part gives ids
of another model.
"""

from __future__ import annotations

import argparse
import collections
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo.errors import NotFoundError, UnsafeFileError, UsageError, ZooError, nearest
from zoo.tokenizer import Tokenizer

__all__ = ["LAYOUTS", "convert", "fill", "read_checkpoint", "state_of"]

_NAMED = 5
"""How many keys an error names."""


def convert(layout: str, checkpoint: str | Path, **options: Any) -> Tokenizer:
    """The model of a checkpoint in one of `LAYOUTS`; options are those of its converter."""
    from zoo.adapters import convert_motion, convert_vidtok, convert_windows

    converters: dict[str, Callable[..., Tokenizer]] = {
        "momask": convert_motion.momask,
        "omnitokenizer": convert_windows.omnitokenizer,
        "t2m-gpt": convert_motion.t2m_gpt,
        "tats": convert_windows.tats,
        "videogpt": convert_windows.videogpt,
        "vidtok": convert_vidtok.vidtok,
    }
    if layout not in converters:
        raise UsageError(
            f"no converter for {layout!r}",
            allowed=", ".join(LAYOUTS),
            hint=nearest(layout, LAYOUTS),
        )
    model = converters[layout](Path(checkpoint), **options)
    model.name = model.name or f"{layout}:{Path(checkpoint).name}"
    return model.eval()


LAYOUTS = {
    "momask": "MoMask's residual VQ: net_best_fid.tar, with Mean and Std of its data set",
    "omnitokenizer": "OmniTokenizer's discrete models: a Lightning .ckpt",
    "t2m-gpt": "T2M-GPT's VQ: net_last.pth, with Mean and Std of its data set",
    "tats": "TATS's 3D VQGAN: a Lightning .ckpt",
    "videogpt": "VideoGPT's VQ-VAE: a Lightning .ckpt",
    "vidtok": "VidTok's causal models, 1.0 and 1.1: a .ckpt with its .yaml beside it",
}
"""What can be converted, and the files it takes."""


def read_checkpoint(path: Path) -> Any:
    """What `torch.save` wrote, without running anything of it."""
    if not path.is_file():
        raise NotFoundError(f"there is no checkpoint at {path}")
    harmless = [argparse.Namespace, collections.Counter]
    try:
        with torch.serialization.safe_globals(harmless):
            return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise UnsafeFileError(
            f"{path.name} cannot be read without running code of it",
            allowed="tensors, numbers, names and argparse settings",
            hint="in a place that holds nothing of worth, load it with weights_only=False and save "
            'its state alone: torch.save({"state_dict": checkpoint["state_dict"]}, ...)',
        ) from error


def state_of(checkpoint: Any, *keys: str) -> dict[str, Tensor]:
    """The tensors of a checkpoint, which lie under one of `keys` or under `state_dict`."""
    for key in (*keys, "state_dict"):
        if isinstance(checkpoint, Mapping) and isinstance(checkpoint.get(key), Mapping):
            checkpoint = checkpoint[key]
            break
    tensors = isinstance(checkpoint, Mapping) and all(
        isinstance(value, Tensor) for value in checkpoint.values()
    )
    if not tensors:
        raise UsageError(
            "this checkpoint does not have the layout asked for",
            allowed=f"tensors by name under {', '.join(repr(key) for key in keys) or 'state_dict'}",
        )
    return dict(checkpoint)


def fill(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load `weights`, every one of which must be of the model, and the model's only ones."""
    wanted = model.state_dict()
    problems = {
        "are missing": [key for key in wanted if key not in weights],
        "are left over": [key for key in weights if key not in wanted],
        "have another shape": [
            f"{key} {tuple(weights[key].shape)} instead of {tuple(value.shape)}"
            for key, value in wanted.items()
            if key in weights and weights[key].shape != value.shape
        ],
    }
    found = [f"{_listed(keys)} {problem}" for problem, keys in problems.items() if keys]
    if found:
        raise ZooError(
            f"the checkpoint is not of this architecture: {'; '.join(found)}",
            hint="give the settings it was trained with, or the checkpoint of the right model",
        )
    model.load_state_dict(dict(weights))


def _listed(keys: list[str]) -> str:
    rest = len(keys) - _NAMED
    return ", ".join(keys[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
