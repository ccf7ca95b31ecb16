"""Ids in both directions: drawn one after the other to find the length, then corrected by masks.

One network has two modes. Forwards, each place is told the id before it and sees only the past; an
id of its own ends the clip, so the model decides how long it is. In both directions, places are
told their own ids or a mask and see everything. Drawing makes a draft forwards, hides what was
least sure in it and fills that again with sight of both sides. An edit hides all that is not known,
so known ids stay and the rest fits them.

BAMM is this on the first level of motion; `residual` refines it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

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
from zoo.layers.backbone import Backbone, BackboneConfig, Conditioner, Given, View
from zoo.layers.codes import CodeEmbedding, PlaceEmbedding, choose, guided
from zoo.layers.schedules import Schedule, first_ranks, hidden_places, hidden_share
from zoo.layers.unmask import keep_surest
from zoo.registry import Preset
from zoo.tokenizer import State


@dataclass(frozen=True)
class Config:
    """`redo` is the share of a draft that is hidden and filled again."""

    space: Space
    conditions: tuple[Condition, ...] = ()
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    schedule: Schedule = "cosine"
    redo: float = 0.5
    drop: float = 0.1


class Bidirectional(Generator):
    """A backbone that looks back, or to both sides."""

    config_class = Config
    exact_nll = True
    default_steps = 10
    lesson_steps = 120

    def __init__(self, config: Config):
        super().__init__(config)
        space, size = config.space, config.backbone
        if len(space.levels) != 1:
            raise UsageError(
                f"{len(space.levels)} levels of codes",
                allowed="one; a residual generator adds the others",
            )
        if set(size.mixers) != {"full"}:
            raise UsageError("padding is hidden by full attention", allowed='mixers ("full",)')
        self.codes = space.levels[0]
        self.per_frame = space.positions // space.grid[0]
        self.conditioner = Conditioner(config.conditions, size)
        self.backbone = Backbone(
            size,
            context=self.conditioner.has_context,
            modulated=self.conditioner.has_vector,
        )
        self.before = CodeEmbedding(space.levels, size.dim, extra=1)
        self.here = CodeEmbedding(space.levels, size.dim, extra=1)
        self.places = PlaceEmbedding(space.grid, size.dim)
        self.head = torch.nn.Linear(size.dim, self.codes + 1)
        torch.nn.init.zeros_(self.head.weight)
        torch.nn.init.zeros_(self.head.bias)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        ids, valid = batch.x.flatten(1), self._valid(batch.lengths, batch.x)
        given = self.conditioner(batch.conditions, len(ids))
        ahead, counted = self._surprise(batch, given)
        share = hidden_share(self.config.schedule, torch.rand(len(ids), device=ids.device))
        hidden = hidden_places(valid, share, torch.rand(ids.shape, device=ids.device))
        logits = self._between(ids.masked_fill(hidden, self.codes), batch.x, given, valid)
        between = functional.cross_entropy(logits[hidden], ids[hidden])
        return {"ahead": (ahead * counted).sum() / counted.sum(), "between": between}

    @torch.no_grad()
    def nll(self, batch: Batch, seed: int = 0) -> Tensor:
        """Exact, forwards, the end included."""
        given = self.conditioner(batch.conditions, len(batch))
        nats, counted = self._surprise(batch, given)
        return (nats * counted).sum(1) / counted.sum(1)

    def draw(
        self,
        x: Tensor,
        conditions: Conditions,
        decoding: Decoding,
        dice: torch.Generator,
        known: Known | None,
        lengths: Tensor | None,
    ) -> Samples:
        held = torch.zeros(len(x), x[0].numel(), dtype=torch.bool, device=x.device)
        held = held if known is None else known.mask.flatten(1)
        ids, sure, lengths = self._draft(x, conditions, decoding, dice, known, lengths)
        valid = self._valid(lengths, x)
        able = valid & ~held
        redone = able.sum(1) if known is not None else (able.sum(1) * self.config.redo).round()
        hidden = able & first_ranks(sure.masked_fill(~able, torch.inf), redone)
        ids, given = ids.unsqueeze(-1), self._both(conditions, decoding, len(x))
        count, steps = hidden.sum(1), decoding.steps or self.default_steps
        for step in range(1, steps + 1):
            progress = torch.tensor(step / steps, device=x.device)
            fed = ids[..., 0].masked_fill(hidden, self.codes)
            logits = self._guided(self._between(fed, x, given, valid, decoding), decoding)
            left = (hidden_share(self.config.schedule, progress) * count).floor()
            hidden = keep_surest(ids, hidden, [logits], left, decoding, dice, noise=1 - progress)
        made = ids[..., 0].masked_fill(~valid, 0).view(x.shape)
        return Samples(made, lengths)

    def _draft(
        self,
        x: Tensor,
        conditions: Conditions,
        decoding: Decoding,
        dice: torch.Generator,
        known: Known | None,
        lengths: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Ids drawn forwards, how sure each one was, and the lengths (B,), drawn unless given."""
        grid = tuple(x.shape[1:])
        positions = grid_positions(grid, x.device)
        ids, sure = x.flatten(1).clone(), torch.zeros(x.flatten(1).shape, device=x.device)
        free = lengths is None
        ended = torch.full((len(x),), grid[0], device=x.device) if lengths is None else lengths
        given, state = self._both(conditions, decoding, len(x)), State()
        before = torch.full_like(ids[:, :1], self.codes)
        last_known = self._last_known(known, x)
        for place in range(ids.shape[1]):
            here = View(positions[place : place + 1], causal=True)
            fed = before.repeat(self._copies(decoding), 1)
            logits = self._ahead(fed, here, given, state)
            logits = self._guided(logits, decoding)[:, 0]
            frame, starts = place // self.per_frame, place % self.per_frame == 0
            can_end = free and starts and frame > 0
            stays = (last_known >= frame) if can_end else torch.ones_like(ended).bool()
            end = torch.arange(self.codes + 1, device=x.device) == self.codes
            logits = logits.masked_fill(stays.unsqueeze(1) & end, -torch.inf)
            drawn = choose(logits, decoding, dice)
            ended = torch.where((drawn == self.codes) & (ended > frame), frame, ended)
            if bool((ended <= frame).all()):
                break
            drawn = drawn.clamp(max=self.codes - 1)
            sure[:, place] = logits.log_softmax(-1).gather(1, drawn.unsqueeze(1))[:, 0]
            if known is not None:
                drawn = torch.where(
                    known.mask.flatten(1)[:, place], known.x.flatten(1)[:, place], drawn
                )
            ids[:, place] = drawn
            before = drawn.unsqueeze(1)
        return ids, sure, ended

    def _last_known(self, known: Known | None, x: Tensor) -> Tensor:
        """(B,) The last frame that holds something known, before which nothing ends."""
        if known is None:
            return torch.full((len(x),), -1, device=x.device)
        frames = known.mask.view(*x.shape[:2], -1).any(2)
        number = torch.arange(x.shape[1], device=x.device)
        return torch.where(frames, number, -1).amax(1)

    def _surprise(self, batch: Batch, given: Given) -> tuple[Tensor, Tensor]:
        """Nats (B, N) forwards, and which of them count."""
        ids, valid = batch.x.flatten(1), self._valid(batch.lengths, batch.x)
        if batch.lengths is not None:
            # The first place behind the last frame holds the end.
            behind = batch.lengths.to(ids.device) * self.per_frame
            rows = torch.arange(len(ids), device=ids.device)[behind < ids.shape[1]]
            ids, valid = ids.clone(), valid.clone()
            ids[rows, behind[rows]] = self.codes
            valid[rows, behind[rows]] = True
        before = torch.cat([torch.full_like(ids[:, :1], self.codes), ids[:, :-1]], dim=1)
        positions = grid_positions(tuple(batch.x.shape[1:]), ids.device)
        logits = self._ahead(before, View(positions, causal=True), given, None)
        place = torch.arange(ids.shape[1], device=ids.device)
        begins = (place % self.per_frame == 0) & (place > 0)
        end = torch.arange(self.codes + 1, device=ids.device) == self.codes
        logits = logits.masked_fill(~begins.unsqueeze(1) & end, -torch.inf)
        nats = functional.cross_entropy(logits.transpose(1, 2).float(), ids, reduction="none")
        return torch.where(valid, nats, 0.0), valid

    def _ahead(self, before: Tensor, view: View, given: Given, state: State | None) -> Tensor:
        """Logits of ids and of the end, by the id before each place."""
        mask = torch.full_like(before, self.codes)
        return self._seen(before, mask, view, given, state)

    def _between(
        self,
        ids: Tensor,
        x: Tensor,
        given: Given,
        valid: Tensor,
        decoding: Decoding | None = None,
    ) -> Tensor:
        """Logits of ids alone, by what is around each place."""
        if decoding is not None:
            ids, valid = (part.repeat(self._copies(decoding), 1) for part in (ids, valid))
        positions = grid_positions(tuple(x.shape[1:]), ids.device)
        before = torch.full_like(ids, self.codes)
        logits = self._seen(before, ids, View(positions, valid=valid), given, None)
        return logits[..., : self.codes]

    def _seen(
        self, before: Tensor, here: Tensor, view: View, given: Given, state: State | None
    ) -> Tensor:
        x = self.before(before.unsqueeze(-1)) + self.here(here.unsqueeze(-1))
        x = self.backbone(x + self.places(view.positions), view, given, state)
        logits: Tensor = self.head(x)
        return logits

    def _valid(self, lengths: Tensor | None, x: Tensor) -> Tensor:
        frames = valid_positions(lengths, x.shape[:2], x.device)
        return frames.repeat_interleave(self.per_frame, dim=1)

    def _both(self, conditions: Conditions, decoding: Decoding, count: int) -> Given:
        copies = self._copies(decoding)
        asked = conditions.joined(conditions.none()) if copies == 2 else conditions
        given: Given = self.conditioner(asked, count * copies)
        return given

    @staticmethod
    def _copies(decoding: Decoding) -> int:
        return 1 if decoding.guidance == 1 else 2

    def _guided(self, logits: Tensor, decoding: Decoding) -> Tensor:
        if self._copies(decoding) == 1:
            return logits
        asked, free = logits.chunk(2)
        return guided(asked, free, decoding.guidance)


PRESETS = (
    Preset(
        "motion/bamm_tiny",
        Bidirectional,
        Config(
            Space("motion", (8,), (8,)),
            (Condition("label", "class", 4), Condition("text", "words")),
            BackboneConfig(48, 2, 2),
        ),
        "BAMM, arXiv 2403.19435",
    ),
    Preset(
        "motion/bamm_rvq.humanml3d",
        Bidirectional,
        Config(
            Space("motion", (49,), (512,)),
            (Condition("text", "embeddings", 512),),
            BackboneConfig(384, 8, 6),
        ),
        "BAMM, arXiv 2403.19435",
        "motion/bamm_tiny",
        published={"FID, HumanML3D test": 0.055, "R-precision top 1, HumanML3D test": 0.525},
        serves=("bamm",),
    ),
)
