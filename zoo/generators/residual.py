"""Residual codes: a masked generator draws the first level, a refiner adds the others one by one.

The first level of a residual quantizer holds most of what there is to say, so it is drawn with the
care of many steps. Each later level corrects what the levels before it left over; the refiner reads
those, at all places, and foretells the next in one step. Its base may be any ids of the first
level: `refine` takes those that another generator drew.

MoMask is this on six levels of motion.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from zoo.errors import UsageError
from zoo.generator import Batch, Condition, Conditions, Decoding, Generator, Known, Samples, Space
from zoo.generators import masked
from zoo.layers.backbone import BackboneConfig
from zoo.layers.codes import choose, guided
from zoo.layers.id_grid import IdGrid, as_levels, surprise
from zoo.layers.schedules import Schedule, Task
from zoo.registry import Preset


@dataclass(frozen=True)
class Config:
    """`backbone`, `schedule`, `tasks` and `noise` are those of the base; `refiner` is the backbone
    of the levels behind the first."""

    space: Space
    conditions: tuple[Condition, ...] = ()
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    refiner: BackboneConfig = field(default_factory=BackboneConfig)
    schedule: Schedule = "cosine"
    tasks: tuple[Task, ...] = ()
    noise: float = 4.5
    drop: float = 0.1

    def base(self) -> masked.Config:
        """Of the generator of the first level."""
        return masked.Config(
            replace(self.space, levels=self.space.levels[:1]),
            self.conditions,
            self.backbone,
            self.schedule,
            self.tasks,
            noise=self.noise,
            drop=self.drop,
        )


class Residual(Generator):
    """A base of one level, and what refines it."""

    config_class = Config
    default_steps = masked.Masked.default_steps
    lesson_steps = 170

    def __init__(self, config: Config):
        super().__init__(config)
        levels = len(config.space.levels)
        if levels < 2:
            raise UsageError("one level has nothing to refine", allowed="a space of several levels")
        self.base = masked.Masked(config.base())
        self.network = IdGrid(config.space, config.conditions, config.refiner, modulated=True)
        self.level = nn.Embedding(levels, config.refiner.dim)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        level = torch.randint(1, len(self.space.levels), (len(batch),), device=batch.x.device)
        nats, counted = self._surprise(batch, level)
        base = self.base.losses(self._base_of(batch))
        return {"base": base["nll"], "refined": (nats * counted).sum() / counted.sum()}

    @torch.no_grad()
    def nll(self, batch: Batch, seed: int = 0) -> Tensor:
        """The bound of the base; each level behind it is exact."""
        nats = [self.base.nll(self._base_of(batch), seed)]
        for level in range(1, len(self.space.levels)):
            which = torch.full((len(batch),), level, device=batch.x.device)
            own, counted = self._surprise(batch, which)
            nats.append((own * counted).sum(1) / counted.sum(1))
        return torch.stack(nats).mean(0)

    def draw(
        self,
        x: Tensor,
        conditions: Conditions,
        decoding: Decoding,
        dice: torch.Generator,
        known: Known | None,
        lengths: Tensor | None,
    ) -> Samples:
        held = None if known is None else Known(known.x[..., 0], known.mask)
        base = self.base.draw(x[..., 0], conditions, decoding, dice, held, lengths)
        return Samples(self._refined(base.x, conditions, decoding, dice, known, lengths), lengths)

    @torch.no_grad()
    def refine(
        self,
        base: Tensor,
        conditions: Conditions | None = None,
        decoding: Decoding | None = None,
        *,
        seed: int = 0,
        lengths: Tensor | None = None,
    ) -> Tensor:
        """All levels (B, *grid, levels) of ids (B, *grid) of the first, which stay as they are."""
        asked = (conditions or Conditions()).to(self.device)
        dice = torch.Generator(self.device).manual_seed(seed)
        base = base.to(self.device)
        return self._refined(base, asked, decoding or Decoding(), dice, None, lengths)

    def _refined(
        self,
        base: Tensor,
        conditions: Conditions,
        decoding: Decoding,
        dice: torch.Generator,
        known: Known | None,
        lengths: Tensor | None,
    ) -> Tensor:
        grid = tuple(base.shape[1:])
        valid = self.network.valid(lengths, len(base), grid)
        ids = self.network.masked(base.device).repeat(len(base), base[0].numel(), 1)
        ids[..., 0] = base.flatten(1)
        for level in range(1, len(self.space.levels)):
            which = torch.full((len(base),), level, device=base.device)
            logits = self._logits(ids, grid, conditions, valid, which)[level]
            if decoding.guidance != 1:
                free = self._logits(ids, grid, conditions.none(), valid, which)[level]
                logits = guided(logits, free, decoding.guidance)
            drawn = choose(logits, decoding, dice)
            if known is not None:
                held = as_levels(known.x, self.space)[..., level]
                drawn = torch.where(known.mask.flatten(1), held, drawn)
            ids[..., level] = drawn
        return ids.view(*base.shape, -1)

    def _surprise(self, batch: Batch, level: Tensor) -> tuple[Tensor, Tensor]:
        """Nats (B, N) of one level of each example, from the levels before; and which count."""
        grid = tuple(batch.x.shape[1 : 1 + len(self.space.grid)])
        ids = as_levels(batch.x, self.space)
        valid = self.network.valid(batch.lengths, len(ids), grid)
        later = torch.arange(ids.shape[-1], device=ids.device) >= level[:, None, None]
        fed = torch.where(later, self.network.masked(ids.device), ids)
        logits = self._logits(fed, grid, batch.conditions, valid, level)
        which = level[:, None, None].expand(-1, ids.shape[1], 1)
        nats = surprise(logits, ids).gather(-1, which).squeeze(-1)
        return nats, torch.ones_like(ids[..., 0], dtype=torch.bool) if valid is None else valid

    def _logits(
        self,
        ids: Tensor,
        grid: tuple[int, ...],
        conditions: Conditions,
        valid: Tensor | None,
        level: Tensor,
    ) -> list[Tensor]:
        given = self.network.given(conditions, len(ids)).plus(self.level(level))
        logits: list[Tensor] = self.network(ids, grid, given, valid)
        return logits

    @staticmethod
    def _base_of(batch: Batch) -> Batch:
        return replace(batch, x=batch.x[..., 0])


_ASKED = (Condition("label", "class", 4), Condition("text", "words"))


_SIZE = BackboneConfig(384, 8, 6)


PRESETS = (
    Preset(
        "motion/residual_tiny",
        Residual,
        Config(
            Space("motion", (6,), (8, 8)),
            _ASKED,
            BackboneConfig(32, 2, 2),
            BackboneConfig(32, 1, 2),
            tasks=("inpaint",),
        ),
        "MoMask, arXiv 2312.00063",
    ),
    Preset(
        "motion/residual_momask.humanml3d",
        Residual,
        Config(
            Space("motion", (49,), (512,) * 6),
            (Condition("text", "embeddings", 512),),
            _SIZE,
            _SIZE,
            tasks=("inpaint",),
        ),
        "MoMask, arXiv 2312.00063",
        "motion/residual_tiny",
        published={"FID, HumanML3D test": 0.045, "R-precision top 1, HumanML3D test": 0.521},
    ),
)
