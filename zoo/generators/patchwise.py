"""Patch by patch, and inside of a patch id by id: grids of any length and size.

A grid is cut into patches, drawn by rows. The ids of a patch follow one after the other; what they
see of the rest is a pool of patches nearby that were drawn before, at most `near` patches away.
Nothing further counts, so what a patch costs does not depend on the size of the whole, and a grid
may be longer and larger than any in training.

NUWA-Infinity is this: autoregression over autoregression.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.errors import UsageError
from zoo.generator import Batch, Condition, Conditions, Decoding, Generator, Known, Samples, Space
from zoo.layers.attention import grid_positions
from zoo.layers.backbone import Backbone, BackboneConfig, Conditioner, Given, View
from zoo.layers.codes import PlaceEmbedding, choose, guided
from zoo.registry import Preset
from zoo.tokenizer import State


@dataclass(frozen=True)
class Config:
    """`patch` is its size along each axis. Places behind the grid's last patch are told as the
    last."""

    space: Space
    conditions: tuple[Condition, ...] = ()
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    patch: tuple[int, ...] = (1, 4, 4)
    near: int = 1
    drop: float = 0.1


class Patchwise(Generator):
    """A backbone that sees a pool of patches nearby, and the past of its own."""

    config_class = Config
    lesson_steps = 150

    def __init__(self, config: Config):
        super().__init__(config)
        space, size = config.space, config.backbone
        if len(space.levels) != 1 or len(config.patch) != len(space.grid):
            raise UsageError(
                f"patches of {config.patch} on {space}", allowed="one level, a side for each axis"
            )
        if set(size.mixers) != {"full"} or size.reads != "cross":
            raise UsageError("who sees whom is a mask", allowed='mixers ("full",), reads="cross"')
        if any(condition.kind == "track" for condition in config.conditions):
            raise UsageError("patches are asked for as a whole", allowed="conditions without time")
        self._patches_of(space.grid)
        self.codes, self.ids = space.levels[0], math.prod(config.patch)
        reach = range(-config.near, config.near + 1)
        nowhere = (0,) * len(config.patch)
        offsets = [o for o in itertools.product(reach, repeat=len(nowhere)) if o < nowhere]
        self.register_buffer("offsets", torch.tensor(offsets), False)
        self.conditioner = Conditioner(config.conditions, size)
        self.backbone = Backbone(
            size,
            context=self.conditioner.has_context,
            modulated=self.conditioner.has_vector,
        )
        # Behind the codes: what stands before the first id, or in a patch that is not there.
        self.embedding = nn.Embedding(self.codes + 1, size.dim)
        self.inside = PlaceEmbedding(config.patch, size.dim)
        self.pool = nn.Embedding(len(offsets) + 1, size.dim)
        self.where = PlaceEmbedding(self._patches_of(space.grid), size.dim)
        self.head = nn.Linear(size.dim, self.codes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    offsets: Tensor

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        nats, counted = self._surprise(batch)
        return {"nll": (nats * counted).sum() / counted.sum()}

    @torch.no_grad()
    def nll(self, batch: Batch, seed: int = 0) -> Tensor:
        """Exact, in the order of drawing."""
        nats, counted = self._surprise(batch)
        return (nats * counted).sum((1, 2)) / counted.sum((1, 2))

    def draw(
        self,
        x: Tensor,
        conditions: Conditions,
        decoding: Decoding,
        dice: torch.Generator,
        known: Known | None,
        lengths: Tensor | None,
    ) -> Samples:
        size = tuple(x.shape[1:])
        held = None
        if known is not None:
            held = self._cut(torch.where(known.mask, known.x, self.codes))
        return Samples(self._drawn(len(x), size, conditions, decoding, dice, held), lengths)

    @torch.no_grad()
    def sample_size(
        self,
        count: int,
        size: tuple[int, ...],
        conditions: Conditions | None = None,
        decoding: Decoding | None = None,
        *,
        seed: int = 0,
    ) -> Tensor:
        """Ids (B, *size) of any length and size that whole patches make."""
        self.eval()
        dice = torch.Generator(self.device).manual_seed(seed)
        asked = (conditions or Conditions()).to(self.device)
        return self._drawn(count, size, asked, decoding or Decoding(), dice, None)

    def _drawn(
        self,
        count: int,
        size: tuple[int, ...],
        conditions: Conditions,
        decoding: Decoding,
        dice: torch.Generator,
        held: Tensor | None,
    ) -> Tensor:
        patches = self._patches_of(size)
        near, where = self._near(patches), grid_positions(patches, self.device)
        twice = decoding.guidance != 1
        both = conditions.joined(conditions.none()) if twice else conditions
        copies = 2 if twice else 1
        given = self.conditioner(both, count * copies)
        made = torch.full((count, len(where) + 1, self.ids), self.codes, device=self.device)
        for patch in range(len(where)):
            pool, state = made[:, near[patch]].repeat(copies, 1, 1), State()
            seen = (pool != self.codes).flatten(1)
            self._pooled(pool, given, state)
            before = torch.full((count, 1), self.codes, device=self.device)
            for place in range(self.ids):
                fed = before.repeat(copies, 1)
                own = torch.ones(len(fed), place + 1, dtype=torch.bool, device=self.device)
                mask = torch.cat([seen, own], dim=1).unsqueeze(1)
                logits = self._logits(fed, where[patch], place, mask, given, state)[:, 0]
                if twice:
                    asked, free = logits.chunk(2)
                    logits = guided(asked, free, decoding.guidance)
                drawn = choose(logits, decoding, dice)
                if held is not None:
                    fixed = held[:, patch, place]
                    drawn = torch.where(fixed == self.codes, drawn, fixed)
                made[:, patch, place] = drawn
                before = drawn.unsqueeze(1)
        return self._joined(made[:, :-1], patches)

    def _surprise(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Nats (B, patches, ids), and which of them count."""
        ids = self._cut(batch.x)
        patches = self._patches_of(tuple(batch.x.shape[1:]))
        near, where = self._near(patches), grid_positions(patches, ids.device)
        rows = len(ids) * len(where)
        nothing = torch.full_like(ids[:, :1], self.codes)
        pool = torch.cat([ids, nothing], dim=1)[:, near].flatten(0, 1)
        state = State()
        given = self._repeated(self.conditioner(batch.conditions, len(ids)), len(where))
        self._pooled(pool, given, state)
        seen = (pool != self.codes).flatten(1).unsqueeze(1).expand(-1, self.ids, -1)
        own = torch.ones(self.ids, self.ids, dtype=torch.bool, device=ids.device).tril()
        mask = torch.cat([seen, own.expand(rows, -1, -1)], dim=2)
        before = torch.cat([torch.full_like(ids[..., :1], self.codes), ids[..., :-1]], dim=-1)
        places = where.repeat(len(ids), 1).unsqueeze(1)
        logits = self._logits(before.flatten(0, 1), places, 0, mask, given, state)
        nats = functional.cross_entropy(
            logits.transpose(1, 2).float(), ids.flatten(0, 1), reduction="none"
        )
        valid = batch.valid().view(len(ids), -1, *[1] * (batch.x.dim() - 2)).expand(batch.x.shape)
        return nats.view(ids.shape), self._cut(valid)

    def _pooled(self, pool: Tensor, given: Given, state: State) -> None:
        """Read the patches nearby, (B, offsets, ids), into the state."""
        offsets = len(self.offsets)
        inside = grid_positions(self.config.patch, pool.device)
        x = self.embedding(pool) + self.inside(inside)
        x = x + self.pool.weight[:offsets].unsqueeze(1)
        places = self.offsets.unsqueeze(1) * torch.tensor(self.config.patch, device=pool.device)
        seen = (pool != self.codes).flatten(1).unsqueeze(1)
        # What is not there sees itself alone, and is seen by nothing.
        mask = seen | torch.eye(seen.shape[-1], dtype=torch.bool, device=pool.device)
        self.backbone(
            x.flatten(1, 2), View((places + inside).flatten(0, 1), mask=mask), given, state
        )

    def _logits(
        self,
        before: Tensor,
        where: Tensor,
        start: int,
        mask: Tensor,
        given: Given,
        state: State,
    ) -> Tensor:
        """Logits of the ids from `start` on, by the ids before them."""
        inside = grid_positions(self.config.patch, before.device)[start : start + before.shape[1]]
        last = torch.tensor(self._patches_of(self.space.grid), device=before.device) - 1
        x = self.embedding(before) + self.inside(inside) + self.pool.weight[-1]
        x = x + self.where(torch.minimum(where, last))
        logits: Tensor = self.head(self.backbone(x, View(inside, mask=mask), given, state))
        return logits

    def _near(self, patches: tuple[int, ...]) -> Tensor:
        """(patches, offsets) The patches nearby, one behind the last where there is none."""
        where = grid_positions(patches, self.device)
        near = where.unsqueeze(1) + self.offsets
        size = torch.tensor(patches, device=self.device)
        there = ((near >= 0) & (near < size)).all(-1)
        strides = torch.tensor([math.prod(patches[i + 1 :]) for i in range(len(patches))])
        flat = (near * strides.to(self.device)).sum(-1)
        return torch.where(there, flat, len(where))

    def _patches_of(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """How many patches make a size."""
        if any(extent % side for extent, side in zip(size, self.config.patch, strict=True)):
            raise UsageError(
                f"patches of {self.config.patch} do not make {size}", allowed="whole patches"
            )
        return tuple(n // side for n, side in zip(size, self.config.patch, strict=True))

    def _cut(self, x: Tensor) -> Tensor:
        """(B, *grid) as (B, patches, ids)."""
        axes = len(self.config.patch)
        for axis in reversed(range(axes)):
            x = x.unflatten(1 + axis, (-1, self.config.patch[axis]))
        outer = range(1, 1 + 2 * axes, 2)
        x = x.permute(0, *outer, *(axis + 1 for axis in outer))
        return x.flatten(1 + axes).flatten(1, axes)

    def _joined(self, ids: Tensor, patches: tuple[int, ...]) -> Tensor:
        """The inverse of `_cut`."""
        axes = len(patches)
        x = ids.unflatten(1, patches).unflatten(1 + axes, self.config.patch)
        x = x.permute(0, *(a for i in range(axes) for a in (1 + i, 1 + axes + i)))
        for axis in range(axes):
            x = x.flatten(1 + axis, 2 + axis)
        return x

    @staticmethod
    def _repeated(given: Given, times: int) -> Given:
        parts = (given.vector, given.context, given.context_mask)
        return Given(*(None if p is None else p.repeat_interleave(times, 0) for p in parts))


PRESETS = (
    Preset(
        "video/patchwise_tiny",
        Patchwise,
        Config(
            Space("video", (3, 4), (8,)),
            (Condition("label", "class", 4), Condition("text", "words")),
            BackboneConfig(48, 2, 2),
            patch=(1, 2),
        ),
        "NUWA-Infinity, arXiv 2207.09814",
    ),
    Preset(
        "video/patchwise_nuwa_infinity.landscape",
        Patchwise,
        Config(
            Space("video", (5, 16, 16), (16_384,)),
            (Condition("text", "embeddings", 768),),
            BackboneConfig(1280, 24, 20),
            patch=(1, 16, 16),
        ),
        "NUWA-Infinity, arXiv 2207.09814",
        "video/patchwise_tiny",
        serves=("nuwa-infinity",),
    ),
)
