"""VidTok's checkpoints as `diffusers_vae`: a Lightning .ckpt, with the .yaml of its settings.

The class in diffusers was made from VidTok 1.1 and has its key names. The models of 1.0 have the
same keys, so that they load without complaint, and give other ids: 1.0 begins with zeros where 1.1
repeats the first frame, and doubles frames where 1.1 interpolates. The settings tell which it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from zoo.adapters.convert import fill, read_checkpoint, state_of
from zoo.errors import NotFoundError, UsageError
from zoo.tokenizers.diffusers_vae import Config, DiffusersVae

__all__ = ["vidtok"]

_OLD, _NEW = "vidtok.modules.model_3dcausal.", "vidtok.modules.model_3dcausal_v1_1."
_SETTINGS = (
    *("in_channels", "ch", "ch_mult", "z_channels", "double_z", "num_res_blocks"),
    *("dropout", "spatial_ds", "tempo_ds", "spatial_us", "tempo_us"),
)
_TRAINING_ONLY = ("loss.",)


def vidtok(checkpoint: Path, *, settings: str | Path | None = None) -> DiffusersVae:
    """`settings` is the .yaml of the checkpoint; the one beside it with the same stem if None."""
    path = Path(settings) if settings else checkpoint.with_suffix(".yaml")
    if not path.is_file():
        raise NotFoundError(
            f"there are no settings at {path}", hint="settings=the .yaml that VidTok published"
        )
    model = DiffusersVae(_config(yaml.safe_load(path.read_text())))
    state = state_of(read_checkpoint(checkpoint))
    kept = {key: value for key, value in state.items() if not key.startswith(_TRAINING_ONLY)}
    fill(model.vae, kept)
    return model


def _config(known: Mapping[str, Any]) -> Config:
    parts = known["model"]["params"]
    encoder, regularizer = parts["encoder_config"], parts["regularizer_config"]
    params = encoder["params"]
    version = _version(encoder["target"], params)
    values = {key: params[key] for key in _SETTINGS if key in params}
    values["out_channels"] = params["out_ch"]
    if regularizer["target"].endswith("FSQRegularizer"):
        levels = regularizer["params"]["levels"]
        if set(levels) != {8}:
            raise UsageError(f"FSQ levels {levels}", allowed="8 for every number of a latent")
        values |= {"regularizer": "fsq", "codebook_size": math.prod(levels)}
    return Config.of("AutoencoderVidTok", values, zero_padding=version == "1.0")


def _version(target: str, params: Mapping[str, Any]) -> str:
    """Which VidTok this is, or why it cannot be converted."""
    if not target.startswith((_OLD, _NEW)):
        raise UsageError(f"{target} is not converted", allowed="VidTok's causal models")
    if params.get("norm_type") != "layernorm":
        raise UsageError(f"norm_type {params.get('norm_type')!r}", allowed="layernorm")
    if target.startswith(_OLD):
        return "1.0"
    if params.get("interpolation_mode") != "trilinear":
        raise UsageError(
            f"interpolation_mode {params.get('interpolation_mode')!r}", allowed="trilinear"
        )
    return "1.1"
