"""Pretrained video generators of diffusers under our verbs.

    pipe = zoo.load("diffusers:Wan-AI/Wan2.1-T2V-1.3B-Diffusers", dtype="bfloat16")
    pipe.spec                                   # task, lengths, sizes, steps, guidance, frame rate
    made = pipe.sample(1, pipe.given(text=["a cat"]), seed=1, frames=33, size=(480, 832))
    made.x                                      # (1, 33, 480, 832, 3) in -1..1

The space is pixels, so what is made needs no tokenizer. Lengths belong to the adapter: the next
length that the model makes is made, and cut to what was asked for. Sizes that do not fit are
refused. A first picture, or a clip to go on from, is what is `known`, as for every generator. Every
sample has a seed of its own and is made alone, so it does not depend on how many are made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from zoo.adapters.diffusers import licence_of
from zoo.adapters.pipeline_files import parse_address
from zoo.adapters.pipeline_traits import Traits
from zoo.adapters.vae_ports import PORTS
from zoo.errors import InputError, UsageError
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
from zoo.layers.text import texts_of
from zoo.spec import LengthRule

__all__ = ["Pipeline", "PipelineSpec"]


@dataclass(frozen=True)
class PipelineSpec:
    """What a pretrained generator makes, and what it can be asked for."""

    name: str
    tasks: tuple[str, ...]
    length: LengthRule
    frames: int
    size: tuple[int, int]
    multiple: int
    fps: float
    steps: int
    guidance: float
    negative: bool
    longest: int = 0
    """Most frames; 0 where memory is the limit."""
    precision: str = "float32"
    licence: str = ""
    value_range: tuple[float, float] = (-1.0, 1.0)


@dataclass(frozen=True)
class Config:
    """What every generator's configuration has."""

    space: Space
    conditions: tuple[Condition, ...]
    drop: float = 0.0


class Pipeline(Generator):
    """One pipeline behind its traits."""

    config_class = Config

    def __init__(self, pipe: Any, address: str, traits: Traits):
        self.pipe, self.traits = pipe, traits
        self.port = _port(pipe.vae)
        self.window = _window(pipe, traits)
        self.spec = self._describe(address)
        asked = ("text", "negative") if traits.negative else ("text",)
        super().__init__(
            Config(
                Space("video", (self.spec.frames, *self.spec.size), channels=3),
                tuple(Condition(name, "text") for name in asked if traits.text),
            )
        )
        self.name = f"diffusers:{address}"
        self.fps, self.default_guidance = self.spec.fps, self.spec.guidance

    @property
    def device(self) -> torch.device:
        return torch.device(self.pipe.device)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        raise UsageError(
            f"{self.name} is not trained as a whole",
            hint="a recipe with `lora: {rank: 16}` fine-tunes it on a catalog's latents",
        )

    def save(self, folder: Any) -> Any:
        raise UsageError(
            f"{self.name} is a folder of diffusers and stays one",
            hint="pipe.save_pretrained(folder) copies it; diffusers:FOLDER loads the copy",
        )

    @torch.no_grad()
    def sample(
        self,
        count: int,
        conditions: Conditions | None = None,
        decoding: Decoding | None = None,
        *,
        seed: int = 0,
        frames: int = 0,
        known: Known | None = None,
        lengths: Tensor | None = None,
        size: tuple[int, int] | None = None,
    ) -> Samples:
        """`count` clips of `frames` frames of `size` (rows, columns); those of what is known, else
        the model's own, where they are not asked for."""
        conditions = conditions or Conditions()
        self._check_conditions(conditions, count)
        shown = (self.spec.frames, *self.spec.size) if known is None else known.x.shape[1:4]
        rows, columns = self.checked_size(size or tuple(shown[1:]))
        shape = (count, self._checked_frames(frames or shown[0]), rows, columns, 3)
        if known is not None:
            checked = self._checked_known(known, shape)
            known = Known(checked.x.cpu(), checked.mask.cpu())
        dice = torch.Generator().manual_seed(seed)
        chosen = decoding or Decoding(guidance=self.spec.guidance)
        made = self.draw(torch.zeros(shape), conditions, chosen, dice, known, lengths)
        return made if known is None else Samples(self.held(made.x, known))

    def draw(
        self,
        x: Tensor,
        conditions: Conditions,
        decoding: Decoding,
        dice: torch.Generator,
        known: Known | None,
        lengths: Tensor | None,
    ) -> Samples:
        texts = {
            name: texts_of(value, conditions.seen(name))
            for name, value in conditions.values.items()
        }
        clips = []
        for number in range(len(x)):
            seed = int(torch.randint(2**62, (), generator=dice))
            asked = {name: values[number] for name, values in texts.items()}
            start = None if known is None else _start(known.x[number], known.mask[number])
            clips.append(self._clip(tuple(x.shape[1:4]), asked, decoding, seed, start))
        return Samples(torch.stack(clips))

    def call(
        self,
        size: tuple[int, ...],
        decoding: Decoding,
        seed: int,
        *,
        pipe: Any = None,
        **asked: Any,
    ) -> Any:
        """What the pipeline makes of its own arguments, from one seed alone."""
        frames, rows, columns = size
        traits, pipe = self.traits, pipe or self.pipe
        self.port.fit(rows, columns)
        arguments: dict[str, Any] = {
            traits.frames_name: frames,
            "height": rows,
            "width": columns,
            "num_inference_steps": decoding.steps or self.spec.steps,
            traits.guidance_name: decoding.guidance,
            "generator": torch.Generator().manual_seed(seed),
            "output_type": "np",
            **traits.options,
            **asked,
        }
        if traits.fps_name:
            arguments[traits.fps_name] = int(traits.fps)
        if self.window and frames > self.window:
            arguments |= traits.longer
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return pipe(**arguments).frames

    def _clip(
        self,
        size: tuple[int, ...],
        texts: dict[str, str],
        decoding: Decoding,
        seed: int,
        start: _Start | None,
    ) -> Tensor:
        """One clip (T, H, W, 3)."""
        asked: dict[str, Any] = {}
        if self.traits.text:
            asked["prompt"] = texts.get("text", "")
        if self.traits.negative:
            asked["negative_prompt"] = texts.get("negative", "")
        pipe, given = self._pipe_from(start)
        made = self.spec.length.padded(size[0])
        if start and start.last and made != size[0]:
            raise InputError(
                f"a last picture does not end {size[0]} frames",
                allowed=f"{self.spec.length} frames",
                hint=f"ask for {made}",
            )
        if self.traits.free_noise:
            self._free_noise(made)
        frames = self.call((made, *size[1:]), decoding, seed, pipe=pipe, **asked, **given)
        values = torch.as_tensor(frames[0]).float() * 2 - 1
        # A pipeline that goes on from a clip may round the length up as its windows ask for.
        return values[: size[0]].clamp(-1, 1)

    def _pipe_from(self, start: _Start | None) -> tuple[Any, dict[str, Any]]:
        """The pipeline that begins with what is known, and the arguments that say so."""
        traits = self.traits
        if start is None:
            if traits.picture:
                raise InputError(
                    f"{self.name} begins with a picture",
                    allowed="what is known of the first frame",
                    hint="clipmill sample ... --image FILE; in Python sample(known=...)",
                )
            return self.pipe, {}
        if start.last is not None and not _takes_last(self.pipe, traits):
            raise InputError(f"{self.name} takes no last picture", allowed="first frames")
        if len(start.first) > 1:
            if not traits.from_clip:
                raise InputError(
                    f"{self.name} cannot go on from {len(start.first)} frames",
                    allowed="a first picture" if traits.picture or traits.from_picture else "texts",
                )
            clip = {"video": start.first, **traits.longer}
            return self._sibling(traits.from_clip), clip
        if not traits.picture and not traits.from_picture:
            raise InputError(f"{self.name} takes no picture", allowed="texts")
        pipe = self.pipe if traits.picture else self._sibling(traits.from_picture)
        last = {} if start.last is None else {"last_image": start.last}
        return pipe, {"image": start.first[0], **last}

    def _sibling(self, name: str) -> Any:
        """A pipeline of another class with the same parts."""
        import diffusers

        made = getattr(diffusers, name)(**self.pipe.components)
        made.set_progress_bar_config(disable=None)
        return made

    def _free_noise(self, frames: int) -> None:
        if frames > self.window:
            self.pipe.enable_free_noise(
                context_length=self.window // 2, context_stride=max(1, self.window // 8)
            )
        elif getattr(self.pipe, "_free_noise_context_length", None):
            self.pipe.disable_free_noise()

    def _checked_frames(self, frames: int) -> int:
        fewest, longest = self.traits.fewest, self.spec.longest
        if frames < fewest or (longest and frames > longest):
            most = f"{fewest} to {longest}" if longest else f"{fewest} or more"
            raise UsageError(f"{frames} frames were asked for", allowed=most)
        return frames

    def checked_size(self, size: tuple[int, ...]) -> tuple[int, int]:
        """Rows and columns, if the model makes such frames."""
        rows, columns = size
        multiple = self.spec.multiple
        if rows < 1 or columns < 1 or rows % multiple or columns % multiple:
            near = " x ".join(str(max(1, round(n / multiple)) * multiple) for n in size)
            raise UsageError(
                f"{self.name} makes no frames of {rows} x {columns}",
                allowed=f"rows and columns that are multiples of {multiple}",
                hint=f"the nearest are {near}",
            )
        return rows, columns

    def _describe(self, address: str) -> PipelineSpec:
        traits, pipe = self.traits, self.pipe
        tasks = () if traits.picture else ("text-to-video",)
        if traits.picture or traits.from_picture:
            tasks = (*tasks, "image-to-video")
        endless = traits.longer or traits.free_noise or not self.window
        licence = licence_of(parse_address(address)[0])
        length = self.port.length
        if traits.exact:
            length = LengthRule(self.window, self.window)
        return PipelineSpec(
            name=type(pipe).__name__,
            tasks=tasks,
            length=length,
            frames=self.window if traits.exact else traits.frames,
            size=traits.size,
            multiple=math.lcm(self.port.space * _patch(pipe), traits.multiple),
            fps=traits.fps,
            steps=traits.steps,
            guidance=traits.guidance,
            negative=traits.negative,
            longest=0 if endless else self.window,
            precision=str(_network(pipe).dtype).removeprefix("torch."),
            licence=licence.name if licence else "",
        )


@dataclass(frozen=True)
class _Start:
    """First frames as pictures, and a last one where it is known as well."""

    first: list[Any]
    last: Any = None


def _start(x: Tensor, mask: Tensor) -> _Start:
    """What is known of a clip (T, H, W, 3), as pictures."""
    from PIL import Image

    held = mask.flatten(1).all(1).tolist()
    first = held.index(False) if False in held else len(held)
    wanted = [
        number < first or (number == len(held) - 1 and held[-1]) for number in range(len(held))
    ]
    if not first or wanted != mask.flatten(1).any(1).tolist():
        raise InputError(
            "what is known is neither a first picture nor a beginning",
            allowed="whole first frames, and the last one where the model takes it",
        )
    pixels = ((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()
    pictures = [Image.fromarray(frame) for frame in pixels[:first]]
    ends = held[-1] and first < len(held)
    return _Start(pictures, Image.fromarray(pixels[-1]) if ends else None)


@dataclass(frozen=True)
class _Frames:
    """A VAE of single pictures: every length, each picture on its own."""

    space: int
    length: LengthRule = field(default_factory=lambda: LengthRule(1, 1))

    def fit(self, rows: int, columns: int) -> None:
        """There is nothing to prepare."""


def _port(vae: Any) -> Any:
    """What knows the lengths and sizes of a VAE."""
    port = PORTS.get(type(vae).__name__)
    if port is not None:
        return port(vae, False)
    return _Frames(2 ** (len(vae.config.block_out_channels) - 1))


def _network(pipe: Any) -> Any:
    return pipe.components.get("transformer") or pipe.unet


def _patch(pipe: Any) -> int:
    """Rows of latents that a network takes together: a patch, or what a U-Net halves to one."""
    known = _network(pipe).config
    if "patch_size" in known:
        patch = known["patch_size"]
        return int(patch if isinstance(patch, int) else patch[-1])
    return int(2 ** (len(known["block_out_channels"]) - 1)) if "block_out_channels" in known else 1


def _takes_last(pipe: Any, traits: Traits) -> bool:
    """Whether a last picture goes with the first: a network that reads pictures must be made so."""
    known = _network(pipe).config
    return traits.last and (
        known.get("image_dim") is None or known.get("pos_embed_seq_len") is not None
    )


def _window(pipe: Any, traits: Traits) -> int:
    if not traits.window:
        return traits.window_frames
    part, setting = traits.window.split(".")
    return int(pipe.components[part].config[setting])
