"""Checkpoints of VideoGPT and TATS, and of what was built on their code, as families of the zoo.

Both are saved by Lightning with their settings beside the weights. What the weights cannot tell
(strides, frames of a window) is taken from there, or given as options.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.adapters.convert import fill, read_checkpoint, state_of
from zoo.autoencoder import Autoencoder
from zoo.errors import UsageError
from zoo.layers.quantizers import Vq
from zoo.tokenizers import tats as tats_family
from zoo.tokenizers import videogpt as videogpt_family

__all__ = ["tats", "videogpt"]

Triple = tuple[int, int, int]

_RENAMED = {"pre_vq_conv.": "encoder.head.", "post_vq_conv.": "decoder.stem."}
_TRAINING_ONLY = ("image_discriminator.", "video_discriminator.", "perceptual_model.")


def videogpt(
    checkpoint: Path, *, downsample: Triple | None = None, frames: int | None = None
) -> Autoencoder:
    """`downsample` and `frames` (of a window) are those of its settings if None."""
    known = read_checkpoint(checkpoint)
    state = _state(known, "encoder.convs.0.conv.weight", "VideoGPT")
    size, dim = state["codebook.embeddings"].shape
    blocks = sum(f"encoder.res_stack.{n}.block.0.weight" in state for n in range(len(state)))
    config = videogpt_family.Config(
        Vq(dim=dim, size=size),
        frames=frames or _setting(known, "sequence_length", 16),
        downsample=downsample or _downsample(known),
        width=len(state["encoder.convs.0.conv.weight"]),
        blocks=blocks,
    )
    return _filled(videogpt_family.VideoGpt(config), state)


def tats(
    checkpoint: Path, *, downsample: Triple | None = None, frames: int | None = None
) -> Autoencoder:
    """`downsample` and `frames` (of a window) are those of its settings if None."""
    known = read_checkpoint(checkpoint)
    state = _state(known, "encoder.conv_first.conv.weight", "TATS")
    padding = _setting(known, "padding_type", "replicate")
    if padding != "replicate":
        raise UsageError(f"padding_type {padding!r}", allowed="replicate")
    size, dim = state["codebook.embeddings"].shape
    config = tats_family.Config(
        Vq(dim=dim, size=size),
        frames=frames or _setting(known, "sequence_length", 16),
        downsample=downsample or _downsample(known),
        width=len(state["encoder.conv_first.conv.weight"]),
        norm="batch" if "encoder.final_block.0.running_mean" in state else "group",
    )
    return _filled(tats_family.Tats(config), state)


def _state(known: Any, needed: str, name: str) -> dict[str, Tensor]:
    state = state_of(known)
    for key in (needed, "codebook.embeddings"):
        if key not in state:
            raise UsageError(f"this is no checkpoint of {name}'s layout", allowed=f"{key} in it")
    return {k: value for k, value in state.items() if not k.startswith(_TRAINING_ONLY)}


def _setting(known: Any, name: str, default: Any) -> Any:
    """A setting that Lightning saved: in a namespace of arguments, or by itself."""
    saved = known.get("hyper_parameters", {}) if isinstance(known, Mapping) else {}
    arguments = saved.get("args", saved) if isinstance(saved, Mapping) else saved
    values = arguments if isinstance(arguments, Mapping) else vars(arguments)
    return values.get(name, default)


def _downsample(known: Any) -> Triple:
    factors = _setting(known, "downsample", None)
    if factors is None or len(factors) != 3:
        raise UsageError(
            "the checkpoint does not tell its strides",
            allowed="downsample=(time, rows, columns), such as (4, 4, 4)",
        )
    time, rows, columns = factors
    return time, rows, columns


def _filled(model: Autoencoder, state: dict[str, Tensor]) -> Autoencoder:
    weights = {}
    for key, value in state.items():
        for theirs, ours in _RENAMED.items():
            key = ours + key.removeprefix(theirs) if key.startswith(theirs) else key
        weights[key] = value
    table = "quantizer.codebook"
    weights[f"{table}.codes"] = weights.pop("codebook.embeddings")
    weights[f"{table}.sums"] = weights.pop("codebook.z_avg")
    weights[f"{table}.counts"] = weights.pop("codebook.N")
    weights[f"{table}.started"] = torch.tensor(True)
    weights[f"{table}.updates"] = torch.tensor(0)
    fill(model, weights)
    return model
