"""Checkpoints of T2M-GPT and MoMask, and of what was built on their code, as `motion_conv`.

Both save a sequence of convolutions along time; sizes are read off the weights. Their features are
normalised outside the model, by statistics in two files, which become part of ours.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zoo.adapters.convert import fill, read_checkpoint, state_of
from zoo.errors import InputError, UsageError
from zoo.layers.quantizers import QuantizerConfig, Rvq, Vq
from zoo.tokenizers.motion_conv import Config, MotionConv

__all__ = ["momask", "t2m_gpt"]

Statistics = tuple[str | Path, str | Path] | None
"""Files of mean and deviation (.npy); None where features come normalised."""

_FPS = {263: 20.0, 251: 12.5}
"""Frames a second of HumanML3D and KIT-ML, by their features."""


def t2m_gpt(checkpoint: Path, *, statistics: Statistics) -> MotionConv:
    """One codebook; also MMM and MotionGPT-like models that kept the layout."""
    state = state_of(read_checkpoint(checkpoint), "net")
    state = {key.removeprefix("vqvae."): value for key, value in state.items()}
    return _motion_conv(state, ["quantizer.codebook"], statistics)


def momask(checkpoint: Path, *, statistics: Statistics) -> MotionConv:
    """A codebook for every residual level."""
    state = state_of(read_checkpoint(checkpoint), "vq_model", "net")
    levels = sum(key.startswith("quantizer.layers.") for key in state)
    tables = [f"quantizer.layers.{level}.codebook" for level in range(levels)]
    return _motion_conv(state, tables, statistics)


def _motion_conv(state: dict[str, Tensor], tables: list[str], statistics: Statistics) -> MotionConv:
    config = _config(state, tables)
    model = MotionConv(config)
    renamed = _renamed(config)
    weights = {renamed.get(key, key): value for key, value in state.items() if key not in tables}
    residual = isinstance(config.quantizer, Rvq)
    for level, table in enumerate(tables):
        name = f"codebooks.{level}" if residual else "codebook"
        weights |= _codebook(f"quantizer.{name}", state[table])
    weights |= _statistics(config.features, statistics)
    weights["error_bound"] = model.error_bound
    fill(model, weights)
    return model


def _config(state: dict[str, Tensor], tables: list[str]) -> Config:
    """Sizes as the weights have them."""
    if not tables or tables[0] not in state or "encoder.model.0.weight" not in state:
        raise UsageError(
            "this is no VQ of T2M-GPT's or MoMask's layout",
            allowed="encoder.model.0.weight and the codebooks quantizer.codebook (T2M-GPT) or "
            "quantizer.layers.0.codebook (MoMask)",
        )
    width, features, _ = state["encoder.model.0.weight"].shape
    size, dim = state[tables[0]].shape
    quantizer: QuantizerConfig = Vq(dim=dim, size=size)
    if tables[0].startswith("quantizer.layers."):
        quantizer = Rvq(dim=dim, size=size, depth=len(tables))
    return Config(
        quantizer,
        features=features,
        fps=_FPS.get(features),
        halvings=_count(state, "encoder.model.{}.0.weight"),
        width=width,
        decoder_width=width,
        blocks=_count(state, "encoder.model.2.1.model.{}.conv1.weight"),
        decoder_blocks=_count(state, "decoder.model.2.0.model.{}.conv1.weight"),
    )


def _count(state: dict[str, Tensor], pattern: str) -> int:
    """How many keys fit the pattern with some number in it."""
    return sum(pattern.format(number) in state for number in range(len(state)))


def _renamed(config: Config) -> dict[str, str]:
    """Our names by theirs, without the codebooks."""
    pairs = {"encoder.model.0": "encoder.stem.conv", "decoder.model.0": "decoder.stem.conv"}
    for stage in range(config.halvings):
        theirs, ours = f"encoder.model.{stage + 2}", stage * (config.blocks + 1)
        pairs[f"{theirs}.0"] = f"encoder.layers.{ours}.conv"
        pairs |= _blocks(f"{theirs}.1", "encoder", ours + 1, config.blocks)
        theirs, ours = f"decoder.model.{stage + 2}", stage * (config.decoder_blocks + 1)
        pairs |= _blocks(f"{theirs}.0", "decoder", ours, config.decoder_blocks)
        pairs[f"{theirs}.2"] = f"decoder.layers.{ours + config.decoder_blocks}.conv"
    last = config.halvings + 2
    pairs[f"encoder.model.{last}"] = "encoder.head.conv"
    pairs[f"decoder.model.{last}"] = "decoder.tail.conv"
    pairs[f"decoder.model.{last + 2}"] = "decoder.head.conv"
    return {
        f"{theirs}.{kind}": f"{ours}.{kind}"
        for theirs, ours in pairs.items()
        for kind in ("weight", "bias")
    }


def _blocks(theirs: str, half: str, start: int, count: int) -> dict[str, str]:
    pairs = {}
    for block in range(count):
        pairs[f"{theirs}.model.{block}.conv1"] = f"{half}.layers.{start + block}.conv1.conv"
        pairs[f"{theirs}.model.{block}.conv2"] = f"{half}.layers.{start + block}.conv2"
    return pairs


def _codebook(name: str, codes: Tensor) -> dict[str, Tensor]:
    """Codes, with even use: their projects do not save how often each was used."""
    return {
        f"{name}.codes": codes,
        f"{name}.sums": codes.clone(),
        f"{name}.counts": torch.ones(len(codes)),
        f"{name}.started": torch.tensor(True),
        f"{name}.updates": torch.tensor(0),
    }


def _statistics(features: int, files: Statistics) -> dict[str, Tensor]:
    values = [torch.zeros(features), torch.ones(features)]
    if files is not None:
        values = [torch.from_numpy(np.load(file, allow_pickle=False)).float() for file in files]
    for value in values:
        if value.shape != (features,):
            raise InputError(
                f"statistics of shape {tuple(value.shape)}", allowed=f"({features},) for this model"
            )
    return {"normalizer.mean": values[0], "normalizer.deviation": values[1]}
