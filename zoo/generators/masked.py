"""Ids behind masks: all hidden ones are guessed at once, the surest are kept, and so on.

In training a share of the places is hidden, drawn along a schedule, and what is around them tells
what they were. Drawing begins with everything hidden that is not known; each step guesses all that
is left and keeps the guesses of which the model is surest, with noise that fades. The number of
steps is the budget, whatever the size of the grid.

Examples train for several tasks at once: creation, prediction of later frames, interpolation, in-
and outpainting. A token of the task tells the model which one it is; in drawing the task follows
from what is known.

Codes of several levels are guessed together, or level by level, the coarsest first (`nested`).

MAGVIT, Phenaki, MaskViT and MaskINT in video, MMM and the base of MoMask in motion are this with
other sizes, mixers, conditions and tasks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from zoo.generator import Batch, Condition, Conditions, Decoding, Generator, Known, Samples, Space
from zoo.layers.backbone import BackboneConfig, Given
from zoo.layers.codes import guided
from zoo.layers.id_grid import IdGrid, as_levels, surprise
from zoo.layers.schedules import (
    Schedule,
    Task,
    hidden_places,
    hidden_share,
    known_places,
)
from zoo.layers.unmask import keep_surest
from zoo.registry import Preset

Reader = Callable[[Tensor], list[Tensor]]

STRATA = 8
"""Shares of hidden places at which the bound of the likelihood is measured."""


@dataclass(frozen=True)
class Config:
    """`tasks` are trained besides creation. `noise` is the temperature of the noise that is added
    to how sure a guess is; `nested` draws the levels one after the other."""

    space: Space
    conditions: tuple[Condition, ...] = ()
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    schedule: Schedule = "cosine"
    tasks: tuple[Task, ...] = ()
    nested: bool = False
    noise: float = 4.5
    drop: float = 0.1


class Masked(Generator):
    """A network that sees both sides of what it guesses."""

    config_class = Config
    default_steps = 12
    lesson_steps = 200

    def __init__(self, config: Config):
        super().__init__(config)
        self.tasks: tuple[Task, ...] = ("create", *config.tasks)
        several = len(self.tasks) > 1
        self.network = IdGrid(config.space, config.conditions, config.backbone, modulated=several)
        self.task = nn.Embedding(len(self.tasks), config.backbone.dim) if several else None
        self.levels = len(config.space.levels)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        ids, grid, valid = self._taken(batch)
        device = ids.device
        task = torch.randint(len(self.tasks), (len(ids),), device=device)
        drawn = [known_places(name, len(ids), grid, device).flatten(1) for name in self.tasks]
        known = torch.stack(drawn)[task, torch.arange(len(ids), device=device)]
        share = hidden_share(self.config.schedule, torch.rand(len(ids), device=device))
        rolls = torch.rand(known.shape, device=device)
        hidden = hidden_places(self._open(known, valid), share, rolls)
        level = torch.randint(self.levels, (len(ids),), device=device)
        given = self._given(batch.conditions, task)
        nats, asked = self._surprise(ids, grid, given, valid, hidden, ~known, level)
        return {"nll": (nats * asked).sum() / asked.sum().clamp(min=1)}

    @torch.no_grad()
    def nll(self, batch: Batch, seed: int = 0) -> Tensor:
        """The bound of drawing the places in any order, at hidden shares spread by `seed`."""
        ids, grid, valid = self._taken(batch)
        dice = torch.Generator(ids.device).manual_seed(seed)
        given = self._given(batch.conditions, ids.new_zeros(len(ids)))
        nothing = torch.zeros(ids.shape[:2], dtype=torch.bool, device=ids.device)
        able = self._open(nothing, valid)
        means = []
        for stratum in range(STRATA):
            rolls = torch.rand(ids.shape[:2], generator=dice, device=ids.device)
            roll = torch.rand(len(ids), generator=dice, device=ids.device)
            share = (stratum + roll) / STRATA
            # The bound weighs every number of hidden places, from one to all, the same.
            share = (share * able.sum(1)).ceil() / able.sum(1)
            hidden = hidden_places(able, share, rolls)
            for level in range(self.levels if self.config.nested else 1):
                which = ids.new_full((len(ids),), level)
                nats, asked = self._surprise(ids, grid, given, valid, hidden, able, which)
                means.append((nats * asked).sum((1, 2)) / asked.sum((1, 2)))
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
        grid = tuple(x.shape[1 : 1 + len(self.space.grid)])
        ids = self.network.masked(x.device).expand_as(as_levels(x, self.space)).clone()
        held = torch.zeros(ids.shape[:2], dtype=torch.bool, device=x.device)
        if known is not None:
            held = known.mask.flatten(1)
            ids = torch.where(held.unsqueeze(-1), as_levels(known.x, self.space), ids)
        valid = self.network.valid(lengths, len(x), grid)
        task = self._task_of(held.view(len(x), *grid))
        steps = decoding.steps or self.default_steps
        passes = self._passes()
        read = self._reader(grid, self._given(conditions, task), valid, steps * len(passes))
        free = None
        if decoding.guidance != 1:
            none = self._given(conditions.none(), task)
            free = self._reader(grid, none, valid, steps * len(passes))
        able = self._open(held, valid)
        for levels in passes:
            hidden = able
            for step in range(1, steps + 1):
                progress = torch.tensor(step / steps, device=x.device)
                logits = read(ids)
                if free is not None:
                    pairs = zip(logits, free(ids), strict=True)
                    logits = [guided(one, other, decoding.guidance) for one, other in pairs]
                left = (hidden_share(self.config.schedule, progress) * able.sum(1)).floor()
                noise = self.config.noise * (1 - progress)
                hidden = keep_surest(
                    ids, hidden, logits, left, decoding, dice, noise=noise, levels=levels
                )
        ids = torch.minimum(ids, self.network.masked(x.device) - 1)
        return Samples(ids.view(x.shape), lengths)

    def _passes(self) -> list[tuple[int, ...]]:
        """The levels that are drawn together, one pass after the other."""
        every = tuple(range(self.levels))
        return [(level,) for level in every] if self.config.nested else [every]

    def _reader(
        self, grid: tuple[int, ...], given: Given, valid: Tensor | None, calls: int
    ) -> Reader:
        """What turns ids, masks among them, into logits at each of the calls of one drawing."""
        return lambda ids: self._logits(ids, grid, given, valid)

    def _logits(
        self, ids: Tensor, grid: tuple[int, ...], given: Given, valid: Tensor | None
    ) -> list[Tensor]:
        logits: list[Tensor] = self.network(ids, grid, given, valid)
        return logits

    def _surprise(
        self,
        ids: Tensor,
        grid: tuple[int, ...],
        given: Given,
        valid: Tensor | None,
        hidden: Tensor,
        unknown: Tensor,
        level: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Nats (B, N, levels), and True at those that were hidden and are asked for.

        Nested levels see what is coarser everywhere, and what is finer where it is known.
        """
        hides = hidden.unsqueeze(-1).expand(ids.shape)
        asked = hides
        if self.config.nested:
            own = torch.arange(self.levels, device=ids.device) == level[:, None, None]
            finer = torch.arange(self.levels, device=ids.device) > level[:, None, None]
            asked = hides & own
            hides = asked | (finer & unknown.unsqueeze(-1))
        fed = torch.where(hides, self.network.masked(ids.device), ids)
        return surprise(self._logits(fed, grid, given, valid), ids), asked

    def _taken(self, batch: Batch) -> tuple[Tensor, tuple[int, ...], Tensor | None]:
        """Ids (B, N, levels), their grid, and where they are no padding."""
        grid = tuple(batch.x.shape[1 : 1 + len(self.space.grid)])
        valid = self.network.valid(batch.lengths, len(batch), grid)
        return as_levels(batch.x, self.space), grid, valid

    @staticmethod
    def _open(known: Tensor, valid: Tensor | None) -> Tensor:
        return ~known if valid is None else valid & ~known

    def _given(self, conditions: Conditions, task: Tensor) -> Given:
        given = self.network.given(conditions, len(task))
        return given if self.task is None else given.plus(self.task(task))

    def _task_of(self, known: Tensor) -> Tensor:
        """(B,) The task that knows the places of `known`; creation where none was trained."""
        places = known.view(*known.shape[:2], -1)
        frames, some = places.all(2), known.flatten(1).any(1)
        whole = (frames == places.any(2)).all(1)
        first = frames.int().cumprod(1).bool().eq(frames).all(1)
        both = frames[:, 0] & frames[:, -1]
        hints: dict[Task, Tensor] = {
            "predict": some & whole & first,
            "interpolate": some & whole & both,
            "inpaint": some,
            "outpaint": some & (known.flatten(1).float().mean(1) < 0.5),
        }
        task = torch.zeros(len(known), dtype=torch.long, device=known.device)
        for name in ("inpaint", "outpaint", "interpolate", "predict"):
            if name in self.tasks:
                task = torch.where(hints[name], self.tasks.index(name), task)
        return task


ALL_TASKS: tuple[Task, ...] = ("predict", "interpolate", "inpaint", "outpaint")
_ASKED = (Condition("label", "class", 4), Condition("text", "words"))
_WORDS = (Condition("text", "embeddings", 512),)


def _tiny(modality: str, grid: tuple[int, ...], levels: tuple[int, ...], **options: Any) -> Config:
    options.setdefault("backbone", BackboneConfig(dim=48, depth=2, heads=2))
    more = options.pop("conditions", ())
    return Config(Space(modality, grid, levels), (*_ASKED, *more), **options)


PRESETS = (
    Preset(
        "video/masked_tiny",
        Masked,
        _tiny("video", (3, 2, 2), (8,), tasks=ALL_TASKS),
        "MAGVIT, arXiv 2212.05199",
    ),
    Preset(
        "video/masked_window_tiny",
        Masked,
        _tiny(
            "video",
            (3, 2, 2),
            (8,),
            backbone=BackboneConfig(48, 2, 2, mixers=("space", "window"), window=1),
            tasks=("predict",),
            conditions=(Condition("action", "track", 3),),
        ),
        "MaskViT, arXiv 2206.11894",
    ),
    Preset(
        "motion/masked_tiny",
        Masked,
        _tiny("motion", (8,), (8,), tasks=("inpaint",)),
        "MMM, arXiv 2312.03596",
    ),
    Preset(
        "motion/masked_nested_tiny",
        Masked,
        _tiny("motion", (6,), (8, 8), nested=True),
        "SoundStorm's order of levels, arXiv 2305.09636",
    ),
    Preset(
        "video/masked_factors_tiny",
        Masked,
        _tiny("video", (2, 2, 2), (8, 8)),
        "MAGVIT-v2, arXiv 2310.05737",
    ),
    Preset(
        "video/masked_between_tiny",
        Masked,
        _tiny(
            "video",
            (4, 2, 1),
            (8,),
            tasks=("interpolate",),
            conditions=(Condition("structure", "track", 2),),
        ),
        "MaskINT, arXiv 2312.12468",
    ),
    Preset(
        "video/masked_magvit.ucf",
        Masked,
        Config(
            Space("video", (4, 16, 16), (1024,)),
            (Condition("label", "class", 101),),
            BackboneConfig(1024, 24, 16),
            tasks=ALL_TASKS,
        ),
        "MAGVIT-L, arXiv 2212.05199",
        "video/masked_tiny",
        published={"FVD, UCF-101 16x128x128, 12 steps": 76},
        serves=("magvit",),
    ),
    Preset(
        "video/masked_phenaki.t2v",
        Masked,
        Config(
            Space("video", (6, 16, 16), (8192,)),
            (Condition("text", "embeddings", 768),),
            BackboneConfig(1536, 24, 24),
            tasks=("predict",),
        ),
        "Phenaki, arXiv 2210.02399",
        "video/masked_tiny",
        serves=("phenaki",),
    ),
    Preset(
        "video/masked_maskvit.bair",
        Masked,
        Config(
            Space("video", (16, 16, 16), (1024,)),
            (Condition("action", "track", 4),),
            BackboneConfig(768, 12, 12, mixers=("space", "window"), window=4),
            tasks=("predict",),
        ),
        "MaskViT, arXiv 2206.11894",
        "video/masked_window_tiny",
        serves=("maskvit",),
    ),
    Preset(
        "video/masked_maskint.edit",
        Masked,
        Config(
            Space("video", (16, 32, 32), (1024,)),
            (Condition("structure", "track", 1024),),
            BackboneConfig(512, 16, 8, mixers=("space", "window"), window=8),
            tasks=("interpolate",),
        ),
        "MaskINT, arXiv 2312.12468",
        "video/masked_between_tiny",
        serves=("maskint",),
    ),
    Preset(
        "video/masked_magvit2.k600",
        Masked,
        Config(
            Space("video", (5, 16, 16), (512, 512)),
            (Condition("label", "class", 600),),
            BackboneConfig(1024, 24, 16),
            tasks=("predict",),
        ),
        "MAGVIT-v2, arXiv 2310.05737",
        "video/masked_factors_tiny",
        serves=("magvit-v2",),
    ),
    Preset(
        "motion/masked_mmm.humanml3d",
        Masked,
        Config(
            Space("motion", (49,), (8192,)),
            _WORDS,
            BackboneConfig(1024, 18, 16),
            tasks=("inpaint", "predict"),
        ),
        "MMM, arXiv 2312.03596",
        "motion/masked_tiny",
        published={"FID, HumanML3D test": 0.080, "R-precision top 1, HumanML3D test": 0.504},
        serves=("mmm",),
    ),
    Preset(
        "motion/masked_soundstorm.humanml3d",
        Masked,
        Config(Space("motion", (49,), (512,) * 6), _WORDS, BackboneConfig(384, 8, 6), nested=True),
        "SoundStorm's order of levels, arXiv 2305.09636",
        "motion/masked_nested_tiny",
    ),
)
