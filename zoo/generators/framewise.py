"""Ids frame by frame: a memory of the past that looks back, masks inside of the frame to come.

Clean frames are read into a few tokens each (`tokens`; 0 keeps all places), and a causal
transformer carries what matters from frame to frame, `reach` frames back. A second network draws
the next frame behind masks, in a few steps, with the memory in sight. In training all frames are
drawn at once from clean pasts (complete teacher forcing); in drawing the memory is kept as keys and
values of the last `reach` frames, so a rollout of any length costs the same at each frame.

TECO is this with few tokens a frame and a long reach; MAGI's masks and teacher forcing are this
with all places kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice

import torch
from torch import Tensor, nn

from zoo.errors import UsageError
from zoo.generator import Batch, Condition, Conditions, Decoding, Generator, Known, Samples, Space
from zoo.layers.attention import Attention, grid_positions
from zoo.layers.backbone import Backbone, BackboneConfig, Conditioner, Given, View
from zoo.layers.codes import CodeEmbedding, CodeHead, PlaceEmbedding, guided
from zoo.layers.id_grid import as_levels, surprise
from zoo.layers.schedules import Schedule, hidden_places, hidden_share
from zoo.layers.unmask import keep_surest
from zoo.registry import Preset
from zoo.tokenizer import State

STRATA = 4


@dataclass(frozen=True)
class Config:
    """`memory` reads the past, `backbone` draws a frame. Times behind the grid's last are told as
    the last, so rollouts go on."""

    space: Space
    conditions: tuple[Condition, ...] = ()
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    memory: BackboneConfig = field(default_factory=BackboneConfig)
    tokens: int = 0
    reach: int = 16
    schedule: Schedule = "cosine"
    noise: float = 4.5
    drop: float = 0.1


class Pool(nn.Module):
    """Places (B, N, dim) read into a few tokens."""

    def __init__(self, dim: int, heads: int, tokens: int):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(tokens, dim) * 0.02)
        self.attention = Attention(dim, heads, dim)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.attention(self.queries.expand(len(x), -1, -1), x)
        return made


class Framewise(Generator):
    """A memory of frames, and a masked network for the next."""

    config_class = Config
    default_steps = 8
    lesson_steps = 170

    def __init__(self, config: Config):
        super().__init__(config)
        space, dim = config.space, config.backbone.dim
        if not space.discrete or len(space.grid) < 2:
            raise UsageError("frames of ids are drawn", allowed="a space of codes with places")
        if config.memory.dim != dim or set(config.memory.mixers) != {"full"}:
            raise UsageError(
                "the memory does not fit", allowed=f'dim={dim}, mixers ("full",), as the frames'
            )
        if any(condition.kind == "track" for condition in config.conditions):
            raise UsageError("frames are asked for as a whole", allowed="conditions without time")
        self.places_of_frame = space.positions // space.grid[0]
        self.tokens = config.tokens or self.places_of_frame
        self.conditioner = Conditioner(config.conditions, config.backbone)
        self.embedding = CodeEmbedding(space.levels, dim, extra=1)
        self.places = PlaceEmbedding(space.grid, dim)
        self.pool = Pool(dim, config.memory.heads, config.tokens) if config.tokens else None
        self.memory = Backbone(config.memory)
        self.start = nn.Parameter(torch.randn(self.tokens, dim) * 0.02)
        self.network = Backbone(
            config.backbone, context=True, modulated=self.conditioner.has_vector
        )
        self.head = CodeHead(space.levels, dim)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        ids = self._frames_of(batch.x)
        rows = len(ids) * ids.shape[1]
        share = hidden_share(self.config.schedule, torch.rand(rows, device=ids.device))
        rolls = torch.rand(rows, self.places_of_frame, device=ids.device)
        given = self._given(batch.conditions, len(ids), self._pasts(ids))
        nats, asked = self._surprise(ids, given, share, rolls, batch)
        return {"nll": (nats * asked).sum() / asked.sum()}

    @torch.no_grad()
    def nll(self, batch: Batch, seed: int = 0) -> Tensor:
        """The bound of drawing the places of each frame in any order."""
        ids = self._frames_of(batch.x)
        rows, places = len(ids) * ids.shape[1], self.places_of_frame
        dice = torch.Generator(ids.device).manual_seed(seed)
        given = self._given(batch.conditions, len(ids), self._pasts(ids))
        means = []
        for stratum in range(STRATA):
            roll = torch.rand(rows, generator=dice, device=ids.device)
            share = ((stratum + roll) / STRATA * places).ceil() / places
            rolls = torch.rand(rows, places, generator=dice, device=ids.device)
            nats, asked = self._surprise(ids, given, share, rolls, batch)
            each = (nats * asked).sum((2, 3)) / asked.sum((2, 3)).clamp(min=1)
            counted = batch.valid()
            means.append((each * counted).sum(1) / counted.sum(1))
        return torch.stack(means).mean(0)

    def draw(
        self,
        x: Tensor,
        conditions: Conditions,
        decoding: Decoding,
        dice: torch.Generator,
        known: Known | None,
        lengths: Tensor | None,
    ) -> Samples:
        made = self._rolled(len(x), conditions, decoding, dice, known)
        ids = torch.stack(list(islice(made, x.shape[1])), dim=1)
        return Samples(ids.view(x.shape), lengths)

    @torch.no_grad()
    def roll_out(
        self,
        count: int,
        conditions: Conditions | None = None,
        decoding: Decoding | None = None,
        *,
        seed: int = 0,
        state: State | None = None,
    ) -> Iterator[Tensor]:
        """Frames (B, *grid of a frame[, levels]) without end; `state` holds the memory."""
        self.eval()
        dice = torch.Generator(self.device).manual_seed(seed)
        asked = (conditions or Conditions()).to(self.device)
        shape = self.space.shape(count)
        for ids in self._rolled(count, asked, decoding or Decoding(), dice, None, state):
            yield ids.view(count, *shape[2:])

    def _rolled(
        self,
        count: int,
        conditions: Conditions,
        decoding: Decoding,
        dice: torch.Generator,
        known: Known | None,
        state: State | None = None,
    ) -> Iterator[Tensor]:
        """Ids (B, places, levels) of one frame after the other."""
        state = State() if state is None else state
        memory, time = self.start.expand(count, -1, -1), 0
        held = None if known is None else self._frames_of(known.x)
        while True:
            asked = self._given(conditions, count, memory.unsqueeze(1))
            free = None
            if decoding.guidance != 1:
                free = self._given(conditions.none(), count, memory.unsqueeze(1))
            ids = self._masked(count)
            hidden = torch.ones(count, self.places_of_frame, dtype=torch.bool, device=self.device)
            if known is not None and held is not None and time < held.shape[1]:
                hidden = ~known.mask.view(*held.shape[:3])[:, time]
                ids = torch.where(hidden.unsqueeze(-1), ids, held[:, time])
            ids = self._filled(ids, hidden, time, asked, free, decoding, dice)
            yield ids
            memory = self._remembered(ids.unsqueeze(1), time, state)
            time += 1

    def _filled(
        self,
        ids: Tensor,
        hidden: Tensor,
        time: int,
        asked: Given,
        free: Given | None,
        decoding: Decoding,
        dice: torch.Generator,
    ) -> Tensor:
        """A frame whose hidden places are drawn."""
        count, steps = hidden.sum(1), decoding.steps or self.default_steps
        times = torch.tensor([time], device=ids.device)
        for step in range(1, steps + 1):
            logits = self._logits(ids.unsqueeze(1), times, asked)
            if free is not None:
                unasked = self._logits(ids.unsqueeze(1), times, free)
                logits = [
                    guided(one, other, decoding.guidance)
                    for one, other in zip(logits, unasked, strict=True)
                ]
            progress = torch.tensor(step / steps, device=ids.device)
            left = (hidden_share(self.config.schedule, progress) * count).floor()
            noise = self.config.noise * (1 - progress)
            hidden = keep_surest(ids, hidden, logits, left, decoding, dice, noise=noise)
        return ids

    def _surprise(
        self, ids: Tensor, given: Given, share: Tensor, rolls: Tensor, batch: Batch
    ) -> tuple[Tensor, Tensor]:
        """Nats (B, T, places, levels), and True at those hidden and asked for."""
        hidden = hidden_places(torch.ones_like(rolls, dtype=torch.bool), share, rolls)
        hidden = hidden.view(*ids.shape[:3], 1).expand(ids.shape)
        fed = torch.where(hidden, self._masked(len(ids)).unsqueeze(1), ids)
        logits = self._logits(fed, torch.arange(ids.shape[1], device=ids.device), given)
        nats = surprise(logits, ids.flatten(0, 1)).view(ids.shape)
        return nats, hidden & batch.valid()[:, :, None, None]

    def _logits(self, ids: Tensor, times: Tensor, given: Given) -> list[Tensor]:
        """Logits (B * T, places, codes) of frames (B, T, places, levels) at some times."""
        positions = self._positions(times)
        x = self.embedding(ids) + self.places(positions.view(len(times), -1, positions.shape[1]))
        places = positions[: self.places_of_frame].clone()
        places[:, 0] = 0
        view = View(places, (1, *self.space.grid[1:]))
        logits: list[Tensor] = self.head(self.network(x.flatten(0, 1), view, given))
        return logits

    def _pasts(self, ids: Tensor) -> Tensor:
        """What is remembered before each frame, (B, T, tokens, dim), in one pass."""
        batch, frames = ids.shape[:2]
        made = self._remembered(ids, 0, None).view(batch, frames, self.tokens, -1)
        first = self.start.expand(batch, 1, -1, -1)
        return torch.cat([first, made[:, :-1]], dim=1)

    def _remembered(self, ids: Tensor, start: int, state: State | None) -> Tensor:
        """The memory (B, T * tokens, dim) after frames (B, T, places, levels)."""
        frames = ids.shape[1]
        times = torch.arange(start, start + frames, device=ids.device)
        x = self.embedding(ids) + self.places(self._positions(times).view(frames, -1, self.axes))
        if self.pool is not None:
            x = self.pool(x.flatten(0, 1)).unflatten(0, (-1, frames))
        frame = times.repeat_interleave(self.tokens)
        token = torch.arange(self.tokens, device=ids.device).repeat(frames)
        ago = frame.unsqueeze(1) - frame
        view = View(torch.stack([frame, token], 1), mask=(ago >= 0) & (ago < self.config.reach))
        if state is not None:
            view = replace(view, mask=None)
        made: Tensor = self.memory(x.flatten(1, 2), view, None, state)
        if state is not None:
            self._forget(state)
        return made

    def _forget(self, state: State) -> None:
        """Keep the keys and values that the next frame may see."""
        kept = (self.config.reach - 1) * self.tokens
        for module, (key, value) in state.items():
            start = max(0, key.shape[2] - kept)
            state[module] = key[:, :, start:], value[:, :, start:]

    def _given(self, conditions: Conditions, batch: int, memory: Tensor) -> Given:
        """Conditions of each frame, with its memory (B, T, tokens, dim) in the context."""
        given: Given = self.conditioner(conditions, batch)
        frames = memory.shape[1]
        context, mask = memory.flatten(0, 1), torch.ones(memory.shape[:3], device=memory.device)
        mask = mask.flatten(0, 1).bool()
        if given.context is not None and given.context_mask is not None:
            context = torch.cat([context, given.context.repeat_interleave(frames, 0)], dim=1)
            mask = torch.cat([mask, given.context_mask.repeat_interleave(frames, 0)], dim=1)
        vector = None if given.vector is None else given.vector.repeat_interleave(frames, 0)
        return Given(vector, context, mask)

    @property
    def axes(self) -> int:
        return len(self.space.grid)

    def _positions(self, times: Tensor) -> Tensor:
        """(T * places, axes) places of frames; late times are told as the last."""
        frame = grid_positions((1, *self.space.grid[1:]), times.device)
        positions = frame.repeat(len(times), 1)
        last = self.space.grid[0] - 1
        positions[:, 0] = times.clamp(max=last).repeat_interleave(self.places_of_frame)
        return positions

    def _frames_of(self, x: Tensor) -> Tensor:
        """(B, T, places, levels)"""
        return as_levels(x, self.space).unflatten(1, (x.shape[1], -1))

    def _masked(self, batch: int) -> Tensor:
        codes = torch.tensor(self.space.levels, device=self.device)
        return codes.repeat(batch, self.places_of_frame, 1)


_ASKED = (Condition("label", "class", 4), Condition("text", "words"))
_SMALL = BackboneConfig(48, 1, 2)

PRESETS = (
    Preset(
        "video/framewise_tiny",
        Framewise,
        Config(Space("video", (3, 2, 2), (8,)), _ASKED, _SMALL, _SMALL, tokens=1, reach=2),
        "TECO, arXiv 2210.02396",
    ),
    Preset(
        "video/framewise_whole_tiny",
        Framewise,
        Config(Space("video", (3, 2, 2), (8,)), _ASKED, _SMALL, _SMALL, reach=3),
        "MAGI, arXiv 2501.12389",
    ),
    Preset(
        "video/framewise_teco.minecraft",
        Framewise,
        Config(
            Space("video", (300, 16, 16), (1024,)),
            (),
            BackboneConfig(768, 8, 12),
            BackboneConfig(768, 8, 12),
            tokens=64,
            reach=300,
        ),
        "TECO, arXiv 2210.02396",
        "video/framewise_tiny",
        serves=("teco",),
    ),
    Preset(
        "video/framewise_magi.k600",
        Framewise,
        Config(
            Space("video", (5, 16, 16), (64_000,)),
            (Condition("label", "class", 600),),
            BackboneConfig(1024, 12, 16),
            BackboneConfig(1024, 12, 16),
            reach=5,
        ),
        "MAGI, arXiv 2501.12389",
        "video/framewise_whole_tiny",
        serves=("magi",),
    ),
)
