"""Discrete diffusion: ids fade into masks, into ids at random, or both, and are brought back.

At time 0 ids are whole, at time 1 nothing of them is left. Noise is of two kinds: an id is masked
and stays masked, or it becomes any id of the codebook. `masked` is the share of the first kind; 1
is absorbing diffusion, 0 is uniform diffusion, VQ-Diffusion has 0.9. The network reads what is left
and tells the ids at time 0; that and the laws of the noise give the distribution of the ids a step
earlier, from which drawing goes back to time 0, where no mask is left by construction.

Places can have a `priority`: those of more importance fade later and so are recovered first. It is
a track of the conditions, one number for each position in time (M2DM). MotionAura and VQ-Diffusion
are this with other spaces and conditions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from zoo.generator import Batch, Condition, Conditions, Decoding, Generator, Known, Samples, Space
from zoo.layers.backbone import BackboneConfig, Given
from zoo.layers.codes import choose, guided, warped
from zoo.layers.fading import Fading, divergence
from zoo.layers.flow import TimeEmbedding
from zoo.layers.id_grid import IdGrid, as_levels, surprise
from zoo.registry import Preset

PRIORITY = "priority"
"""The condition that holds the importance of positions."""
STRATA = 16
"""Times at which the bound of the likelihood is measured."""


@dataclass(frozen=True)
class Config:
    """`moments` are the steps of the full process, of which drawing takes some."""

    space: Space
    conditions: tuple[Condition, ...] = ()
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    masked: float = 1.0
    moments: int = 100
    drop: float = 0.1


class DiscreteDiffusion(Generator):
    """A network that tells what ids were before they faded."""

    config_class = Config
    default_steps = 20
    lesson_steps = 180
    loss_weights: ClassVar[dict[str, float]] = {"bound": 0.1}

    def __init__(self, config: Config):
        super().__init__(config)
        self.network = IdGrid(config.space, config.conditions, config.backbone, modulated=True)
        self.time = TimeEmbedding(config.backbone.dim)
        self.fading = Fading(config.masked)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        ids, grid, valid = self._taken(batch)
        given = self.network.given(batch.conditions, len(ids))
        # Spread over the batch, times differ less from one batch to the next.
        spread = torch.arange(len(ids), device=ids.device) / len(ids)
        time = (torch.rand(1, device=ids.device) + spread).remainder(1)
        bound, nats = self._measured(ids, grid, given, valid, batch.conditions, time, None)
        return {"bound": bound.mean(), "ids": nats.mean()}

    @torch.no_grad()
    def nll(self, batch: Batch, seed: int = 0) -> Tensor:
        """The bound of the reverse process, at times spread by `seed`."""
        ids, grid, valid = self._taken(batch)
        given = self.network.given(batch.conditions, len(ids))
        dice = torch.Generator(ids.device).manual_seed(seed)
        bounds = []
        for stratum in range(STRATA):
            rolls = torch.rand(len(ids), generator=dice, device=ids.device)
            time = (stratum + rolls) / STRATA
            parts = self._measured(ids, grid, given, valid, batch.conditions, time, dice)
            bounds.append(parts[0])
        return torch.stack(bounds).mean(0)

    def _measured(
        self,
        ids: Tensor,
        grid: tuple[int, ...],
        given: Given,
        valid: Tensor | None,
        conditions: Conditions,
        time: Tensor,
        dice: torch.Generator | None,
    ) -> tuple[Tensor, Tensor]:
        """For each id of each example, (B,): the bound of its nats, and the nats of guessing it."""
        moments = self.config.moments
        after = (time * moments).floor().clamp(max=moments - 1)
        lost, before = (self._lost(t / moments, conditions, grid) for t in (after + 1, after))
        faded = self._faded(ids, lost, dice)
        logits = self._guesses(faded, grid, given, valid, (after + 1) / moments, lost)
        bounds = []
        for level, part in enumerate(logits):
            seen = faded[..., level]
            wanted = functional.one_hot(ids[..., level], part.shape[-1]).float()
            shares = part.float().softmax(-1)
            earlier = [self.fading.earlier(p, seen, lost, before) for p in (wanted, shares)]
            bounds.append(moments * divergence(*earlier))
        counted = (
            torch.ones_like(ids, dtype=torch.bool)
            if valid is None
            else valid.unsqueeze(-1).expand_as(ids)
        )
        total = counted.sum((1, 2))
        nats = surprise(logits, ids)
        return tuple(
            (part * counted).sum((1, 2)) / total for part in (torch.stack(bounds, -1), nats)
        )

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
        ids = as_levels(x, self.space)
        valid = self.network.valid(lengths, len(x), grid)
        given = self.network.given(conditions, len(x))
        free = None
        if decoding.guidance != 1:
            free = self.network.given(conditions.none(), len(x))
        nothing = torch.ones(ids.shape[:2], device=x.device)
        ids = self._faded(ids, nothing, dice)
        steps = decoding.steps or self.default_steps
        for step in range(steps, 0, -1):
            if known is not None:
                held = as_levels(known.x, self.space)
                ids = torch.where(known.mask.flatten(1).unsqueeze(-1), held, ids)
            now, then = (
                torch.full((len(x),), s / steps, device=x.device) for s in (step, step - 1)
            )
            lost, before = (self._lost(time, conditions, grid) for time in (now, then))
            logits = self._guesses(ids, grid, given, valid, now, lost)
            if free is not None:
                unasked = self._guesses(ids, grid, free, valid, now, lost)
                logits = [
                    guided(one, other, decoding.guidance)
                    for one, other in zip(logits, unasked, strict=True)
                ]
            drawn = []
            for level, part in enumerate(logits):
                shares = warped(part.float(), decoding).softmax(-1)
                earlier = self.fading.earlier(shares, ids[..., level], lost, before)
                drawn.append(choose(earlier.log(), Decoding(), dice))
            ids = torch.stack(drawn, -1)
        return Samples(ids.view(x.shape), lengths)

    def _guesses(
        self,
        ids: Tensor,
        grid: tuple[int, ...],
        given: Given,
        valid: Tensor | None,
        time: Tensor,
        lost: Tensor,
    ) -> list[Tensor]:
        """Logits of the whole ids: what the others say of each, and what it still says itself."""
        said = self.network(ids, grid, given.plus(self.time(time)), valid)
        return [
            logits + self.fading.evidence(ids[..., level], lost, logits.shape[-1])
            for level, logits in enumerate(said)
        ]

    def _faded(self, ids: Tensor, lost: Tensor, dice: torch.Generator | None) -> Tensor:
        levels = enumerate(self.space.levels)
        return torch.stack(
            [self.fading.faded(ids[..., level], lost, codes, dice) for level, codes in levels], -1
        )

    def _lost(self, time: Tensor, conditions: Conditions, grid: tuple[int, ...]) -> Tensor:
        """(B, N) The share that is lost at a time (B,): less where priority is higher."""
        places = 1
        for extent in grid[1:]:
            places *= extent
        lost = time.unsqueeze(1).expand(-1, grid[0])
        priority = conditions.values.get(PRIORITY)
        if priority is not None:
            lost = lost ** priority[:, : grid[0], 0].to(lost).exp()
        return lost.repeat_interleave(places, dim=1)

    def _taken(self, batch: Batch) -> tuple[Tensor, tuple[int, ...], Tensor | None]:
        grid = tuple(batch.x.shape[1 : 1 + len(self.space.grid)])
        valid = self.network.valid(batch.lengths, len(batch), grid)
        return as_levels(batch.x, self.space), grid, valid


_ASKED = (Condition("label", "class", 4), Condition("text", "words"))


def _tiny(modality: str, grid: tuple[int, ...], levels: tuple[int, ...], **options: Any) -> Config:
    options.setdefault("backbone", BackboneConfig(dim=48, depth=2, heads=2))
    more = options.pop("conditions", ())
    return Config(Space(modality, grid, levels), (*_ASKED, *more), **options)


PRESETS = (
    Preset(
        "motion/discrete_diffusion_tiny",
        DiscreteDiffusion,
        _tiny("motion", (8,), (8,), conditions=(Condition(PRIORITY, "track", 1),)),
        "M2DM, arXiv 2308.14480",
    ),
    Preset(
        "video/discrete_diffusion_tiny",
        DiscreteDiffusion,
        _tiny("video", (3, 2, 2), (8,), masked=0.9),
        "MotionAura, arXiv 2410.07659; VQ-Diffusion, arXiv 2111.14822",
    ),
    Preset(
        "video/discrete_diffusion_uniform_tiny",
        DiscreteDiffusion,
        _tiny("video", (2, 2, 2), (8, 8), masked=0.0),
        "D3PM, arXiv 2107.03006",
    ),
    Preset(
        "motion/discrete_diffusion_m2dm.humanml3d",
        DiscreteDiffusion,
        Config(
            Space("motion", (49,), (8192,)),
            (Condition("text", "embeddings", 512), Condition(PRIORITY, "track", 1)),
            BackboneConfig(512, 12, 8),
        ),
        "M2DM, arXiv 2308.14480",
        "motion/discrete_diffusion_tiny",
        serves=("m2dm",),
    ),
    Preset(
        "video/discrete_diffusion_motionaura.t2v",
        DiscreteDiffusion,
        Config(
            Space("video", (5, 16, 16), (16_384,)),
            (Condition("text", "embeddings", 768),),
            BackboneConfig(1024, 24, 16),
            masked=0.9,
        ),
        "MotionAura, arXiv 2410.07659",
        "video/discrete_diffusion_tiny",
        serves=("motionaura",),
    ),
)
