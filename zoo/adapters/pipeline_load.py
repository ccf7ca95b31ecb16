"""From the files of a pipeline of diffusers to a generator: class, precision, device, offload.

    load_pipeline(find_pipeline(address), address, dtype="bfloat16", offload="model")

`zoo.load("diffusers:ORG/NAME", ...)` is the way in.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import torch

from zoo.adapters.pipeline_files import PipelineFiles, parse_address
from zoo.adapters.pipeline_traits import TRAITS
from zoo.adapters.pipelines import Pipeline
from zoo.errors import MissingExtraError, UnsafeFileError, UsageError, nearest

__all__ = ["load_pipeline"]

OFFLOAD = ("none", "model", "sequential")

_PICTURES, _MOTION = "StableDiffusionPipeline", "AnimateDiffPipeline"
_MOTION_SCHEDULE: dict[str, Any] = {
    "beta_schedule": "linear", "clip_sample": False, "timestep_spacing": "linspace",
    "steps_offset": 1,
}  # fmt: skip
"""What motion adapters were trained with."""


def load_pipeline(
    files: PipelineFiles,
    address: str,
    *,
    dtype: str = "",
    device: str = "",
    offload: str = "none",
    tiling: bool = False,
    motion: str = "",
) -> Pipeline:
    """The generator whose files these are.

    `dtype` is float32 on a CPU and bfloat16 elsewhere unless it is said. `offload` keeps the parts
    on the CPU until they are needed: `model` one at a time, `sequential` layer by layer (slow).
    `tiling` decodes large frames in tiles. `motion` is the repository or folder of a motion adapter
    with which Stable Diffusion becomes AnimateDiff.
    """
    name = _class_of(files, address, motion)
    if offload not in OFFLOAD:
        raise UsageError(f"offload is {offload!r}", allowed=", ".join(OFFLOAD))
    traits = TRAITS[name]
    _require("diffusers", "accelerate", *traits.needs)
    import diffusers

    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    precision = getattr(torch, dtype or ("float32" if chosen == "cpu" else "bfloat16"))
    types = {"default": precision, "vae": torch.float32 if traits.vae_float32 else precision}
    adapter = {"motion_adapter": _motion_adapter(motion, precision)} if motion else {}
    pipe = getattr(diffusers, name).from_pretrained(
        str(files.folder),
        use_safetensors=True,
        local_files_only=True,
        dtype=types,
        **adapter,
    )
    if motion:
        pipe.scheduler = diffusers.DDIMScheduler.from_config(
            pipe.scheduler.config, **_MOTION_SCHEDULE
        )
    pipe.set_progress_bar_config(disable=None)
    if tiling:
        pipe.vae.enable_tiling()
    if offload == "model":
        pipe.enable_model_cpu_offload(device=chosen)
    elif offload == "sequential":
        pipe.enable_sequential_cpu_offload(device=chosen)
    else:
        pipe.to(chosen)
    made = Pipeline(pipe, address, traits)
    return made.eval()


def _class_of(files: PipelineFiles, address: str, motion: str) -> str:
    """The class that the parts become."""
    name = files.pipeline
    if motion:
        if name not in (_PICTURES, _MOTION):
            raise UsageError(f"{name} takes no motion adapter", allowed=_PICTURES)
        return _MOTION
    if name in TRAITS:
        return name
    raise UsageError(
        f"{address} holds {name}, which makes no video that is known here",
        allowed=", ".join(TRAITS),
        hint='motion="ORG/NAME" gives it a motion adapter (AnimateDiff)'
        if name == _PICTURES
        else nearest(name, TRAITS),
    )


def _motion_adapter(address: str, precision: torch.dtype) -> Any:
    from diffusers import MotionAdapter

    repo, _, revision = parse_address(address)
    try:
        return MotionAdapter.from_pretrained(
            repo, revision=revision or None, use_safetensors=True, torch_dtype=precision
        )
    except OSError as error:
        raise UnsafeFileError(
            f"{address} holds no safetensors of a motion adapter: {str(error).splitlines()[0]}",
            allowed="diffusion_pytorch_model.safetensors beside config.json",
        ) from error


def _require(*packages: str) -> None:
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(f"this pipeline needs {package}", hint=f"pip install {package}")
