"""Checkpoints of VideoGPT, TATS and OmniTokenizer, and of what was built on their code.

All are saved by Lightning with their settings beside the weights. What the weights cannot tell
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
from zoo.tokenizers import omnitokenizer as omni_family
from zoo.tokenizers import tats as tats_family
from zoo.tokenizers import videogpt as videogpt_family

__all__ = ["omnitokenizer", "tats", "videogpt"]

Triple = tuple[int, int, int]

_RENAMED = {
    "pre_vq_conv.conv.": "encoder.head.conv.",
    "post_vq_conv.conv.": "decoder.stem.conv.",
    "pre_vq_conv.1.": "encoder.head.",
    "post_vq_conv.1.": "decoder.stem.",
    "encoder.enc_spatial_transformer.": "encoder.layers.space.",
    "encoder.enc_temporal_transformer.": "encoder.layers.time.",
    "decoder.dec_spatial_transformer.": "decoder.layers.space.",
    "decoder.dec_temporal_transformer.": "decoder.layers.time.",
}
_UNUSED = (
    *("spatial_rel_pos_bias", "context_norm", "relative_position_index", "codebook_usage"),
    *("rel_pos_bias.", "freqs_cis"),
)
"""Saved by OmniTokenizer, and without effect."""
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


def omnitokenizer(checkpoint: Path) -> Autoencoder:
    """The discrete models; all sizes are in the settings."""
    known = read_checkpoint(checkpoint)
    state = _state(known, "encoder.to_patch_emb.2.weight", "OmniTokenizer")
    for name, allowed in (
        *(("patch_embed", "linear"), ("l2_code", True), ("use_vae", False)),
        *(("use_external_codebook", False), ("defer_temporal_pool", False)),
        *(("defer_spatial_pool", False), ("gen_upscale", None)),
    ):
        value = _setting(known, name, allowed)
        if value != allowed:
            raise UsageError(f"{name} {value!r} is not converted", allowed=repr(allowed))
    size, dim = state["codebook.embeddings"].shape
    depth = _setting(known, "spatial_depth", 4)
    causal = _setting(known, "casual_in_peg", False)
    if causal != _setting(known, "casual_in_temporal_transformer", False):
        raise UsageError("causal in one half only", allowed="layers and convolutions alike")
    config = omni_family.Config(
        Vq(dim=dim, size=size),
        size=_setting(known, "resolution", 256),
        patch=(_setting(known, "temporal_patch_size", 4), _setting(known, "patch_size", 8)),
        width=_setting(known, "embedding_dim", 512),
        heads=_setting(known, "heads", 8),
        head=_setting(known, "dim_head", 64),
        widen=_setting(known, "ff_mult", 4.0),
        blocks=_setting(known, "enc_block", "t" * depth),
        depth=_setting(known, "temporal_depth", 4),
        window=_setting(known, "twod_window_size", 4),
        rotary=_setting(known, "spatial_pos", "rel") == "rope",
        causal=causal,
        decoder_blocks=_setting(known, "dec_block", "t" * depth),
    )
    kept = {key: v for key, v in state.items() if not any(part in key for part in _UNUSED)}
    return _filled(omni_family.OmniTokenizer(config), kept)


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
