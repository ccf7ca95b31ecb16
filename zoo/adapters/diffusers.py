"""Published VAEs of diffusers by address, and what their licences allow.

    load_diffusers("Wan-AI/Wan2.1-T2V-1.3B-Diffusers:vae")
    load_diffusers("genmo/mochi-1-preview", dtype="bfloat16")      # the folder is known
    load_diffusers("folder/of/a/vae")
    licence_of("hunyuanvideo-community/HunyuanVideo").allows("commercial", region="DE")

Only safetensors are read and no code of a repository is run. The type of the numbers is part of
the spec, because latents and ids in bfloat16 differ from those in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from zoo.adapters.pipeline_files import parse_address
from zoo.adapters.vae_ports import PORTS
from zoo.errors import MissingExtraError, NotFoundError, UnsafeFileError, UsageError, nearest
from zoo.tokenizer import Tokenizer

__all__ = ["CHECKPOINTS", "Checkpoint", "Licence", "licence_of", "load_diffusers"]

EU = (
    *("AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE"),
    *("IT", "LT", "LU", "LV", "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK"),
)


@dataclass(frozen=True)
class Licence:
    """Licence of weights. `conditions` is what commercial use asks for, empty when nothing.

    `excluded` are ISO codes of countries where the licence grants nothing.
    """

    name: str
    commercial: bool = True
    conditions: str = ""
    excluded: tuple[str, ...] = ()

    def allows(self, use: Literal["research", "commercial"], region: str = "") -> bool:
        """Whether the licence grants `use` in a country; without one, anywhere."""
        if region.upper() in self.excluded or (not region and self.excluded):
            return False
        return use == "research" or self.commercial


APACHE = Licence("Apache-2.0")
TENCENT = Licence(
    "Tencent Hunyuan Community", conditions="see the licence", excluded=(*EU, "GB", "KR")
)
COGVIDEOX = Licence("CogVideoX", conditions="registration")
LTX = Licence("LTX-Video", conditions="see the licence")
NVIDIA = Licence("NVIDIA Open Model", conditions="see the licence")
SVD = Licence("Stable Video Diffusion", conditions="see the licence")


@dataclass(frozen=True)
class Checkpoint:
    """A published repository: the class in its `subfolder`, the licence of its weights."""

    vae: str
    licence: Licence
    subfolder: str = "vae"


CHECKPOINTS = {
    "Lightricks/LTX-Video": Checkpoint("AutoencoderKLLTXVideo", LTX),
    "THUDM/CogVideoX-2b": Checkpoint("AutoencoderKLCogVideoX", APACHE),
    "THUDM/CogVideoX-5b": Checkpoint("AutoencoderKLCogVideoX", COGVIDEOX),
    "Wan-AI/Wan2.1-T2V-1.3B-Diffusers": Checkpoint("AutoencoderKLWan", APACHE),
    "Wan-AI/Wan2.1-T2V-14B-Diffusers": Checkpoint("AutoencoderKLWan", APACHE),
    "alibaba-pai/EasyAnimateV5.1-7b-zh-diffusers": Checkpoint("AutoencoderKLMagvit", APACHE),
    "genmo/mochi-1-preview": Checkpoint("AutoencoderKLMochi", APACHE),
    "hunyuanvideo-community/HunyuanVideo": Checkpoint("AutoencoderKLHunyuanVideo", TENCENT),
    "hunyuanvideo-community/HunyuanVideo-1.5-480p_t2v": Checkpoint(
        "AutoencoderKLHunyuanVideo15", TENCENT
    ),
    "nvidia/Cosmos-1.0-Diffusion-7B-Text2World": Checkpoint("AutoencoderKLCosmos", NVIDIA),
    "rhymes-ai/Allegro": Checkpoint("AutoencoderKLAllegro", APACHE),
    "stabilityai/stable-video-diffusion-img2vid-xt": Checkpoint(
        "AutoencoderKLTemporalDecoder", SVD
    ),
}
"""Repositories whose licence is known; any other one loads as well, with its subfolder."""


def licence_of(repo: str) -> Licence | None:
    """The licence of a published repository's weights, None where it is not known here."""
    known = CHECKPOINTS.get(repo)
    return known.licence if known else None


def load_diffusers(
    address: str,
    subfolder: str | None = None,
    revision: str | None = None,
    *,
    dtype: str | torch.dtype = "float32",
    tiling: bool = False,
) -> Tokenizer:
    """A pretrained VAE as a tokenizer; `address` is org/name[:subfolder][@revision] or a folder."""
    try:
        import diffusers
    except ImportError as error:
        raise MissingExtraError(
            "a VAE of diffusers needs diffusers", hint="pip install 'clipmill[adapters]'"
        ) from error
    from zoo.tokenizers.diffusers_vae import Config, DiffusersVae

    repo, found, pinned = _parsed(address)
    where = {"subfolder": subfolder or found, "revision": revision or pinned}
    precision = str(dtype).removeprefix("torch.")
    name = _class_name(repo, where)
    network: Any = getattr(diffusers, name)
    try:
        vae = network.from_pretrained(
            repo, use_safetensors=True, torch_dtype=getattr(torch, precision), **where
        )
    except OSError as error:
        raise UnsafeFileError(
            f"{repo} has no safetensors of {name}: {_first_line(error)}",
            allowed="diffusion_pytorch_model.safetensors beside config.json",
            hint="ask its authors for safetensors, or convert the weights in a place you trust",
        ) from error
    settings = {key: value for key, value in vae.config.items() if not key.startswith("_")}
    config = Config.of(name, settings, precision=precision, tiling=tiling)
    tokenizer = DiffusersVae(config, vae)
    tokenizer.name = f"diffusers:{address}"
    return tokenizer.eval()


def _parsed(address: str) -> tuple[str, str | None, str | None]:
    """Repository or folder, subfolder and revision."""
    repo, subfolder, revision = parse_address(address)
    if Path(repo).is_dir():
        return str(Path(repo) / subfolder), None, None
    if not subfolder and repo in CHECKPOINTS:
        subfolder = CHECKPOINTS[repo].subfolder
    return repo, subfolder or None, revision or None


def _class_name(repo: str, where: dict[str, str | None]) -> str:
    """The class that `config.json` names, if there is a port for it."""
    from diffusers import AutoencoderKLWan

    try:
        known = AutoencoderKLWan.load_config(repo, **where)
    except (OSError, ValueError) as error:
        raise NotFoundError(
            f"no config.json of a VAE at {repo}: {_first_line(error)}",
            allowed="diffusers:org/name:subfolder, or a folder that save_pretrained wrote",
            hint=None if where["subfolder"] else f'a pipeline keeps it in "{repo}:vae"',
        ) from error
    name = str(known.get("_class_name"))
    if name not in PORTS:
        raise UsageError(
            f"{repo} holds {name}, for which there is no port",
            allowed=", ".join(PORTS),
            hint=nearest(name, PORTS),
        )
    return name


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
