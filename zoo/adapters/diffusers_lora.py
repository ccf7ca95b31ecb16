"""A pretrained video generator that learns a catalog's latents by low-rank layers.

The base is a pipeline of diffusers and stays frozen; what is learned are small layers beside its
attention (`zoo/layers/lora.py`), and only they are trained, saved and published. The space is that
of the pipeline's own VAE, whose tokens the catalog holds; tokens of another VAE are refused, and so
are the layers when the base is not the one that they were learned on.

    model: diffusers:Wan-AI/Wan2.1-T2V-1.3B-Diffusers     # two lines of a recipe
    lora: {rank: 16}

The lesson is the base's own: latents are mixed with noise in a proportion that is drawn from a
logit-normal law and shifted as the base's sampler shifts it; the network names noise minus latents.
`load_lora_weights` of diffusers reads the saved layers.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from zoo.adapters.flows import FLOWS
from zoo.adapters.pipelines import Pipeline
from zoo.errors import InputError, SpecMismatchError, UsageError
from zoo.generator import (
    Batch,
    Condition,
    Conditions,
    Decoding,
    Generator,
    Known,
    Samples,
    Space,
)
from zoo.layers.lora import adapt, header_of, load_tensors, merge, tensors_of
from zoo.layers.text import texts_of
from zoo.spec import TokenizerSpec, hash_tensors

__all__ = ["Config", "DiffusersLora", "TextCache"]

PART = "transformer"
CONDITIONS = (Condition("text", "text"), Condition("negative", "text"))
TARGETS = ("to_q", "to_k", "to_v", "to_out.0")


@dataclass(frozen=True)
class Config:
    """`precision` is that of the frozen weights; the layers learn in float32."""

    base: str
    space: Space
    conditions: tuple[Condition, ...] = CONDITIONS
    drop: float = 0.1
    rank: int = 16
    alpha: float = 16.0
    targets: tuple[str, ...] = TARGETS
    precision: str = "bfloat16"
    base_sha256: str = ""
    """Of the frozen weights in this precision; empty takes them as they are."""


class TextCache:
    """Embeddings of texts, each made once; with a folder they outlive the process.

    A file is written under another name first, so several processes may share the folder.
    """

    def __init__(self, embed: Callable[[str], Tensor], folder: Path | None = None):
        self.embed, self.folder = embed, folder
        self.held: dict[str, Tensor] = {}

    def __call__(self, text: str) -> Tensor:
        if text not in self.held:
            self.held[text] = self._read(text)
        return self.held[text]

    def _read(self, text: str) -> Tensor:
        if self.folder is None:
            return self._made(text)
        path = self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.safetensors"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_suffix(f".{os.getpid()}.unfinished")
            save_file({"text": self._made(text)}, unfinished)
            unfinished.rename(path)
        return load_file(path)["text"]

    @torch.no_grad()
    def _made(self, text: str) -> Tensor:
        return self.embed(text).detach().cpu().contiguous()


class DiffusersLora(Generator):
    """Low-rank layers in one pipeline."""

    config_class = Config

    def __init__(self, config: Config, pipeline: Pipeline | None = None):
        """`pipeline` is the base that was loaded already; it is changed."""
        super().__init__(config)
        base = pipeline or _load_base(config)
        kind = type(base.pipe).__name__
        if kind not in FLOWS:
            raise UsageError(f"{kind} is not fine-tuned", allowed=", ".join(FLOWS))
        base.checked_size(tuple(places * base.port.space for places in config.space.grid[1:]))
        # The base is no part of this module: it is neither trained nor averaged nor saved.
        self.base = (base,)
        self.flow = FLOWS[kind](base)
        self.layers = adapt(self.trunk, config.targets, config.rank, config.alpha)
        self.learned = nn.ModuleList(self.layers.values()).to(base.device)
        self.texts = TextCache(self.flow.embed)
        self.default_guidance = base.default_guidance
        self.header = header_of(self.layers, PART)

    @classmethod
    def of(cls, pipeline: Pipeline, config: Config) -> DiffusersLora:
        """Fresh layers in a base whose weights are noted."""
        weights = hash_tensors(pipeline.pipe.transformer.named_parameters())
        return cls(replace(config, base_sha256=weights), pipeline)

    @property
    def pipeline(self) -> Pipeline:
        return self.base[0]

    @property
    def trunk(self) -> nn.Module:
        """The network with the frozen layers."""
        network: nn.Module = self.pipeline.pipe.transformer
        return network

    def bind(self, spec: TokenizerSpec, size: tuple[int, ...], address: str = "") -> DiffusersLora:
        """Remember the tokenizer; refuse one that is not the base's own VAE."""
        _check_vae(self.pipeline, spec)
        return super().bind(spec, size, address)

    def keep_texts(self, texts: Sequence[str], folder: Path | None) -> None:
        """Embed all texts of a run now, and let the encoder go."""
        self.texts = TextCache(self.flow.embed, folder)
        for text in ("", *texts):
            self.texts(text)
        self.pipeline.pipe.text_encoder = None
        self.texts.embed = _gone

    def check(self, batch: Batch) -> None:
        super().check(batch)
        if batch.lengths is not None and bool((batch.lengths != batch.x.shape[1]).any()):
            raise InputError(
                "clips of a batch differ in length, and padding would be learned",
                hint='choose one length: windows: "frames = ..." in the recipe',
            )

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        latents = batch.x.movedim(-1, 1)
        noise = torch.randn_like(latents)
        share = torch.sigmoid(torch.randn(len(latents), device=latents.device))
        shift = self.flow.shift(latents.shape[2:])
        share = shift * share / (1 + (shift - 1) * share)
        mixed = share.view(-1, 1, 1, 1, 1)
        texts = self._texts(batch.conditions, len(latents), "text")
        noisy = (1 - mixed) * latents + mixed * noise
        made = self.flow.predict(noisy, share, *texts)
        return {"flow": (made.float() - (noise - latents)).square().mean()}

    def draw(
        self,
        x: Tensor,
        conditions: Conditions,
        decoding: Decoding,
        dice: torch.Generator,
        known: Known | None,
        lengths: Tensor | None,
    ) -> Samples:
        if known is not None:
            raise InputError(
                f"{self.name or self.family()} makes whole clips", allowed="texts, nothing known"
            )
        base, grid = self.pipeline, tuple(x.shape[1:4])
        port = base.port
        size = (
            port.length.first + (grid[0] - 1) * port.time,
            *(places * port.space for places in grid[1:]),
        )
        made = []
        for number in range(len(x)):
            seed = int(torch.randint(2**62, (), generator=dice, device=dice.device))
            asked: dict[str, Any] = {}
            one = conditions.select(slice(number, number + 1))
            for name, argument in (("text", "prompt"), ("negative", "negative_prompt")):
                asked |= self.flow.asked(*self._texts(one, 1, name), argument)
            latents = base.call(size, decoding, seed, output_type="latent", **asked)
            made.append(self.flow.unpacked(latents, grid).float().movedim(1, -1))
        return Samples(torch.cat(made))

    def save_merged(self, folder: str | Path) -> Path:
        """Write the whole pipeline with what was learned in its weights, and keep it so.

        `zoo.load("diffusers:FOLDER")` loads it.
        """
        merge(self.trunk, self.layers)
        self.pipeline.pipe.save_pretrained(folder)
        return Path(folder)

    def state_dict(self, *args: Any, **options: Any) -> dict[str, Any]:
        """What was learned, by the names that peft gives it."""
        return {n: t.detach() for n, t in tensors_of(self.layers, PART).items()}

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **options: Any) -> Any:
        load_tensors(self.layers, PART, state_dict)

    def _apply(self, fn: Any, recurse: bool = True) -> DiffusersLora:
        """Where the layers go the frozen ones go as well."""
        super()._apply(fn, recurse)
        self.pipeline.pipe.to(next(self.learned.parameters()).device)
        return self

    def _texts(self, conditions: Conditions, count: int, name: str) -> tuple[Tensor, Tensor]:
        """Embeddings of what each example is asked for; of the empty text where it is not."""
        value = conditions.values.get(name)
        texts = [""] * count if value is None else texts_of(value, conditions.seen(name))
        return self.flow.padded([self.texts(text) for text in texts])


def _gone(text: str) -> Tensor:
    raise UsageError(
        f"{text!r} is none of the texts that were embedded before the run",
        hint="load the model anew to ask for other texts",
    )


def _load_base(config: Config) -> Pipeline:
    """The base, if its weights are those that the layers were learned on."""
    from zoo.hub import load

    base = load(config.base, dtype=config.precision)
    if not isinstance(base, Pipeline):
        raise UsageError(f"{config.base} is no generator", allowed="a pipeline of diffusers")
    if config.base_sha256:
        found = hash_tensors(base.pipe.transformer.named_parameters())
        if found != config.base_sha256:
            raise SpecMismatchError(
                f"{config.base} has weights {found[:12]}, the layers were learned on "
                f"{config.base_sha256[:12]}",
                hint="name the revision of the base that was trained on: ...@REVISION",
            )
    return base


def _check_vae(base: Pipeline, spec: TokenizerSpec) -> None:
    """Refuse tokens that the base's own VAE would not make."""
    from zoo.tokenizers.diffusers_vae import Config as VaeConfig
    from zoo.tokenizers.diffusers_vae import DiffusersVae

    vae = base.pipe.vae
    options = {"precision": spec.precision, "tiling": bool(spec.encoding.get("tiling"))}
    settings = {key: value for key, value in vae.config.items() if not key.startswith("_")}
    own = DiffusersVae(VaeConfig.of(type(vae).__name__, settings, **options), vae).eval().spec
    if own.hash != spec.hash:
        raise SpecMismatchError(
            f"tokens of {spec.name} have spec {spec.hash[:12]}, the VAE of {base.name} makes "
            f"{own.hash[:12]}",
            hint=f"clipmill tokenize CATALOG --tokenizer {base.name}:vae",
        )
