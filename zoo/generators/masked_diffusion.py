"""Values without a codebook, set after set: behind masks a network, at each place a small denoiser.

As with ids behind masks, a share of the places is hidden and the others tell what they were. What
the network gives for a hidden place is no choice among codes but a vector, and a small head, told
that vector, turns noise into the place's values. Drawing goes through the places in random order,
in as many sets as are asked for; the places of one set are drawn together.

With `block`, so many frames are made at a time. A block sees the finished ones before it and never
a later one; in training all blocks are learned in one pass, in drawing keys and values of finished
blocks are kept.

MARDM is this on latents of whole motions, NOVA on latents of video frame by frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from zoo.errors import UsageError
from zoo.generator import (
    Batch,
    Condition,
    Conditions,
    Decoding,
    Generator,
    Known,
    Samples,
    Space,
    valid_positions,
)
from zoo.layers.attention import grid_positions
from zoo.layers.backbone import Backbone, BackboneConfig, Conditioner, View
from zoo.layers.denoising_head import DenoisingHead, HeadConfig
from zoo.layers.diffusion import Process, ladder, pushed, walk
from zoo.layers.dit import Places, cut, joined
from zoo.layers.schedules import Schedule, first_ranks, hidden_places, hidden_share
from zoo.registry import Preset
from zoo.tokenizer import State


@dataclass(frozen=True)
class Config:
    """`block` 0 makes all frames together. `copies` is how often each hidden place is noised in a
    step of training: the head is cheap beside the network."""

    space: Space
    conditions: tuple[Condition, ...] = ()
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    process: Process = field(default_factory=Process)
    patch: tuple[int, ...] = ()
    block: int = 0
    schedule: Schedule = "cosine"
    copies: int = 4
    drop: float = 0.1


class MaskedDiffusion(Generator):
    """A network that sees both sides of what is hidden, and a head that denoises it."""

    config_class = Config
    default_steps = 8
    lesson_steps = 120

    def __init__(self, config: Config):
        super().__init__(config)
        space, dim = config.space, config.backbone.dim
        self.patch = config.patch or (1,) * len(space.grid)
        if space.discrete:
            raise UsageError("this generator makes values", allowed="a space with channels")
        if config.block and (self.patch[0] != 1 or set(config.backbone.mixers) != {"full"}):
            raise UsageError(
                "blocks of frames do not fit", allowed='patches of 1 frame, mixers ("full",)'
            )
        self.channels = math.prod(self.patch) * space.channels
        self.conditioner = Conditioner(config.conditions, config.backbone)
        self.enter = nn.Linear(self.channels, dim)
        self.hidden = nn.Parameter(torch.randn(dim) * 0.02)
        self.places = Places(len(space.grid), dim)
        self.network = Backbone(
            config.backbone,
            context=self.conditioner.has_context,
            modulated=self.conditioner.has_vector,
        )
        self.head = DenoisingHead(self.channels, dim, config.head)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        patches, positions = cut(batch.x, self.patch), self.positions(batch.x)
        able = self._valid(batch.lengths, batch.x)
        frames = positions[:, 0] // (self.config.block or batch.x.shape[1])
        hidden = torch.zeros_like(able)
        for number in range(int(frames.max()) + 1):
            own = able & (frames == number)
            share = hidden_share(self.config.schedule, torch.rand(len(own), device=own.device))
            hidden |= hidden_places(own, share, torch.rand(own.shape, device=own.device))
        told = self.told(patches, hidden, batch.x, batch.conditions, able)[hidden]
        return {"denoise": self._error(patches[hidden], told)}

    def _error(self, wanted: Tensor, told: Tensor) -> Tensor:
        """How far the head is off at places (N, channels), each noised several times."""
        process = self.config.process
        wanted, told = (v.repeat(self.config.copies, 1) for v in (wanted, told))
        time = process.draw_times((len(wanted),), wanted.device)[torch.randperm(len(wanted))]
        noise = torch.randn_like(wanted)
        mixture = process.mix(wanted, noise, time)
        named = self.head(process.scaled(mixture, time), time, told)
        return (named - process.wanted(wanted, noise, time)).square().mean()

    def told(
        self, patches: Tensor, hidden: Tensor, x: Tensor, conditions: Conditions, valid: Tensor
    ) -> Tensor:
        """(B, N, dim) What the head is told at every place, in one pass over all blocks."""
        positions = self.positions(x)
        tokens = self._tokens(patches, hidden, positions)
        given = self.conditioner(conditions, len(x))
        small = tuple(n // p for n, p in zip(x.shape[1:-1], self.patch, strict=True))
        if not self.config.block:
            everywhere = None if bool(valid.all()) else valid
            made: Tensor = self.network(tokens, View(positions, small, valid=everywhere), given)
            return made
        clean = self._tokens(patches, torch.zeros_like(hidden), positions)
        block = positions[:, 0] // self.config.block
        before, same = block.unsqueeze(1) > block, block.unsqueeze(1) == block
        nothing = torch.zeros_like(same)
        mask = torch.cat(
            [torch.cat([before | same, nothing], dim=1), torch.cat([before, same], dim=1)]
        )
        view = View(positions.repeat(2, 1), mask=mask, valid=valid.repeat(1, 2))
        both = self.network(torch.cat([clean, tokens], dim=1), view, given)
        return both[:, len(positions) :]

    def draw(
        self,
        x: Tensor,
        conditions: Conditions,
        decoding: Decoding,
        dice: torch.Generator,
        known: Known | None,
        lengths: Tensor | None,
    ) -> Samples:
        small = tuple(n // p for n, p in zip(x.shape[1:-1], self.patch, strict=True))
        able, made = self._valid(lengths, x), cut(x, self.patch)
        if known is not None:
            whole = cut(known.mask.unsqueeze(-1), self.patch).all(-1)
            made, able = (
                torch.where(whole.unsqueeze(-1), cut(known.x, self.patch), made),
                able & ~whole,
            )
        noise = torch.randn(made.shape, generator=dice, device=x.device) * decoding.temperature
        rolls = torch.rand(able.shape, generator=dice, device=x.device)
        asked, copies = conditions, 1
        if decoding.guidance != 1:
            asked, copies = conditions.joined(conditions.none()), 2
        valid = self._valid(lengths, x)
        each = self.config.block * math.prod(small[1:]) or made.shape[1]
        state = State()
        for first in range(0, made.shape[1], each):
            part = slice(first, first + each)
            reader = _Reader(
                self, self.positions(x)[part], small, asked, copies, valid[:, part], state
            )
            made[:, part] = self._drawn(
                reader, made[:, part], able[:, part], noise[:, part], rolls[:, part], decoding
            )
            if self.config.block:
                reader.keep(made[:, part])
        return Samples(joined(made, small, self.patch), lengths)

    def _drawn(
        self,
        reader: _Reader,
        made: Tensor,
        hidden: Tensor,
        noise: Tensor,
        rolls: Tensor,
        decoding: Decoding,
    ) -> Tensor:
        """Patches (B, N, channels) of which the hidden ones are drawn, set after set."""
        count, steps = hidden.sum(1), decoding.steps or self.default_steps
        order = rolls.masked_fill(~hidden, torch.inf)
        for step in range(1, steps + 1):
            progress = torch.tensor(step / steps, device=made.device)
            left = (hidden_share(self.config.schedule, progress) * count).floor()
            chosen = hidden & first_ranks(order, count - left)
            if bool(chosen.any()):
                told = reader.told(made, hidden)
                values = self._denoised(noise[chosen], told[:, chosen], decoding.guidance)
                made = made.masked_scatter(chosen.unsqueeze(-1), values)
            hidden = hidden & ~chosen
        return made

    def _denoised(self, noise: Tensor, told: Tensor, guidance: float) -> Tensor:
        """Values (N, channels) from noise; `told` is (1 or 2, N, dim), asked and unasked."""
        process = self.config.process

        def denoise(mixture: Tensor, time: Tensor) -> Tensor:
            read = process.scaled(mixture, time)
            cleans = [process.clean(self.head(read, time, one), mixture, time) for one in told]
            return cleans[0] if len(cleans) == 1 else pushed(cleans[0], cleans[1], guidance)

        steps = ladder(self.config.head.steps, process.shift)
        return walk(process, denoise, process.start(noise), steps)

    def positions(self, x: Tensor) -> Tensor:
        """(N, axes) The corner of each patch."""
        small = tuple(n // p for n, p in zip(x.shape[1:-1], self.patch, strict=True))
        return grid_positions(small, x.device) * torch.tensor(self.patch, device=x.device)

    def _tokens(self, patches: Tensor, hidden: Tensor, positions: Tensor) -> Tensor:
        seen = torch.where(hidden.unsqueeze(-1), self.hidden, self.enter(patches))
        return seen + self.places(positions)

    def _valid(self, lengths: Tensor | None, x: Tensor) -> Tensor:
        """(B, N) True at patches that begin inside of their example."""
        frames = valid_positions(lengths, x.shape[:2], x.device)
        return frames[:, self.positions(x)[:, 0]]


class _Reader:
    """The network at the places of one block, after the finished ones in `state`."""

    def __init__(
        self,
        model: MaskedDiffusion,
        positions: Tensor,
        small: tuple[int, ...],
        asked: Conditions,
        copies: int,
        valid: Tensor,
        state: State,
    ):
        self.model, self.state, self.copies = model, state, copies
        self.positions, self.block = positions, bool(model.config.block)
        self.given = model.conditioner(asked, len(valid) * copies)
        everywhere = self.block or bool(valid.all())
        self.view = View(
            positions,
            () if self.block else small,
            valid=None if everywhere else valid.repeat(copies, 1),
        )

    def told(self, made: Tensor, hidden: Tensor) -> Tensor:
        """(1 or 2, B, N, dim) What the head is told, asked and unasked."""
        return self._pass(made, hidden, State(self.state) if self.block else None)

    def keep(self, made: Tensor) -> None:
        """Add a finished block to the state."""
        self._pass(
            made, torch.zeros(made.shape[:2], dtype=torch.bool, device=made.device), self.state
        )

    def _pass(self, made: Tensor, hidden: Tensor, state: State | None) -> Tensor:
        tokens = self.model._tokens(made, hidden, self.positions).repeat(self.copies, 1, 1)
        read: Tensor = self.model.network(tokens, self.view, self.given, state)
        return read.unflatten(0, (self.copies, -1))


_ASKED = (Condition("label", "class", 4), Condition("text", "words"))


def _tiny(grid: tuple[int, ...], channels: int, **options: Any) -> Config:
    modality = "motion" if len(grid) == 1 else "video"
    return Config(
        Space(modality, grid, channels=channels),
        _ASKED,
        BackboneConfig(48, 2, 2, reader_depth=0),
        HeadConfig(48, 2, 8),
        Process(times="logit-normal", spread=0.7),
        **options,
    )


PRESETS = (
    Preset(
        "motion/masked_diffusion_tiny",
        MaskedDiffusion,
        _tiny((12,), 4),
        "MARDM, arXiv 2411.16575",
    ),
    Preset(
        "video/masked_diffusion_frames_tiny",
        MaskedDiffusion,
        _tiny((3, 2, 2), 4, block=1),
        "NOVA, arXiv 2412.14169",
    ),
    Preset(
        "motion/masked_diffusion_mardm.humanml3d",
        MaskedDiffusion,
        Config(
            Space("motion", (49,), channels=512),
            (Condition("text", "embeddings", 512),),
            BackboneConfig(1024, 1, 16, reads="prefix"),
            HeadConfig(1792, 16, 18),
            Process("flow", "flow"),
        ),
        "MARDM, arXiv 2411.16575",
        "motion/masked_diffusion_tiny",
        serves=("mardm",),
    ),
    Preset(
        "video/masked_diffusion_nova.t2v",
        MaskedDiffusion,
        Config(
            Space("video", (9, 60, 96), channels=4),
            (Condition("text", "embeddings", 2560),),
            BackboneConfig(1024, 48, 16, reads="prefix"),
            HeadConfig(1024, 3, 25),
            Process("linear", "noise"),
            patch=(1, 2, 2),
            block=1,
        ),
        "NOVA, arXiv 2412.14169",
        "video/masked_diffusion_frames_tiny",
        published={"parameters": 0.6e9, "VBench total, 33x768x480": 80.12},
        serves=("nova",),
    ),
)
