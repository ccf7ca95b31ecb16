"""Masks apart from what is seen: seen places are read once, hidden ones at each step.

In plain masked drawing every step reads the whole grid. Here a place that is seen looks only at
places that were seen before it or with it, so what was computed for it holds for all later steps
and is kept. Hidden places look at everything, and they alone are read again. Training uses the same
rule: seen places are split into stages at random, and none looks at a later stage.

`sizes` lets drawing begin with the first layers alone and grow: early steps fill in little and need
little. When the size grows, what is kept is read again by the larger model. Training alternates the
sizes.

ENAT is this with one size, MaGNeTS with several.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.errors import UsageError
from zoo.generator import Condition, Space
from zoo.generators import masked
from zoo.generators.masked import Masked, Reader
from zoo.layers.attention import grid_positions
from zoo.layers.backbone import BackboneConfig, Given, View
from zoo.registry import Preset
from zoo.tokenizer import State

STAGES = 4
"""Most stages that seen places are split into in training."""


@dataclass(frozen=True)
class Config(masked.Config):
    """`sizes` are numbers of layers, growing to all of them; none is all layers at each step."""

    sizes: tuple[int, ...] = ()


class Apart(Masked):
    """A masked generator whose seen places never look at hidden ones."""

    config_class = Config
    lesson_steps = 160

    def __init__(self, config: Config):
        super().__init__(config)
        depth = config.backbone.depth
        self.sizes = config.sizes or (depth,)
        if self.sizes[-1] != depth or list(self.sizes) != sorted(set(self.sizes)):
            raise UsageError(
                f"sizes of {self.sizes} layers", allowed=f"growing numbers that end with {depth}"
            )
        if set(config.backbone.mixers) != {"full"} or config.backbone.reads != "cross":
            raise UsageError("who sees whom is a mask", allowed='mixers ("full",), reads="cross"')

    def _logits(
        self, ids: Tensor, grid: tuple[int, ...], given: Given, valid: Tensor | None
    ) -> list[Tensor]:
        """All places in one pass, as training needs it."""
        hidden = self._hidden(ids)
        stages = int(torch.randint(1, STAGES + 1, ())) if self.training else 1
        stage = torch.randint(stages, hidden.shape, device=ids.device)
        stage = torch.where(hidden, stages, stage)
        size = self.sizes[int(torch.randint(len(self.sizes), ()))] if self.training else None
        return self.in_one_pass(ids, grid, given, valid, stage, size)

    def in_one_pass(
        self,
        ids: Tensor,
        grid: tuple[int, ...],
        given: Given,
        valid: Tensor | None,
        stage: Tensor,
        size: int | None = None,
    ) -> list[Tensor]:
        """Logits where places (B, N) of each stage see that stage and the ones before it."""
        mask = stage.unsqueeze(1) <= stage.unsqueeze(2)
        mask = mask if valid is None else mask & valid.unsqueeze(1)
        mask = mask | torch.eye(ids.shape[1], dtype=torch.bool, device=ids.device)
        every = torch.arange(ids.shape[1], device=ids.device).expand(ids.shape[:2])
        x = self._embedded(ids, every, grid, valid)
        logits: list[Tensor] = self.network.head(self._mixed(x, mask, given, None, size))
        return logits

    def _reader(
        self, grid: tuple[int, ...], given: Given, valid: Tensor | None, calls: int
    ) -> Reader:
        return _Keeping(self, grid, given, valid, calls)

    def _embedded(
        self, ids: Tensor, order: Tensor, grid: tuple[int, ...], valid: Tensor | None
    ) -> Tensor:
        """The inputs of some places (B, n) of a grid."""
        if valid is not None:
            ids = torch.where(valid.unsqueeze(-1), ids, self.network.masked(ids.device) + 1)
        chosen = ids.gather(1, order.unsqueeze(-1).expand(-1, -1, ids.shape[-1]))
        x: Tensor = self.network.embedding(chosen)
        return x + self.network.places(grid_positions(grid, ids.device)[order])

    def _mixed(
        self, x: Tensor, mask: Tensor, given: Given, state: State | None, size: int | None
    ) -> Tensor:
        # Rows hold different places in one order, so places are told by what is learned of them.
        nowhere = torch.zeros(x.shape[1], 1, dtype=torch.long, device=x.device)
        view = View(nowhere, mask=mask)
        for block in self.network.backbone.blocks[:size]:
            x = block(x, view, given, state)
        made: Tensor = self.network.backbone.norm(x)
        return made

    def _hidden(self, ids: Tensor) -> Tensor:
        return (ids == self.network.masked(ids.device)).any(-1)


class _Keeping:
    """Reads ids step by step and keeps what was computed for seen places."""

    def __init__(
        self, model: Apart, grid: tuple[int, ...], given: Given, valid: Tensor | None, calls: int
    ):
        self.model, self.grid, self.given, self.valid = model, grid, given, valid
        self.calls, self.call, self.size = calls, 0, 0
        self.read: Tensor | None = None
        self.state, self.kept = State(), torch.zeros(0)

    def __call__(self, ids: Tensor) -> list[Tensor]:
        hidden = self.model._hidden(ids)
        sizes = self.model.sizes
        size = sizes[self.call * len(sizes) // self.calls]
        self.call += 1
        if self.read is None or size != self.size:
            self.size, self.state = size, State()
            self.read = torch.zeros_like(hidden)
            self.kept = hidden.new_zeros(len(ids), 0)
        there = ~hidden if self.valid is None else ~hidden & self.valid
        new = there & ~self.read
        if bool(new.any()):
            _, _, real = self._pass(ids, new, self.state)
            self.kept = torch.cat([self.kept, real], dim=1)
            self.read = self.read | new
        if not bool(hidden.any()):
            hidden = torch.ones_like(hidden)
        features, order, _ = self._pass(ids, hidden, State(self.state))
        every = features.new_zeros(*hidden.shape, features.shape[-1])
        every.scatter_(1, order.unsqueeze(-1).expand_as(features), features)
        logits: list[Tensor] = self.model.network.head(every)
        return logits

    def _pass(self, ids: Tensor, which: Tensor, state: State) -> tuple[Tensor, Tensor, Tensor]:
        """Features (B, n, dim) of the places in `which`, where they are, and which are no filling.

        Rows with fewer places than others are filled up with places that none sees.
        """
        count = int(which.sum(1).max())
        order = which.long().argsort(dim=1, descending=True, stable=True)[:, :count]
        real = which.gather(1, order)
        own = real.unsqueeze(1) | torch.eye(count, dtype=torch.bool, device=ids.device)
        mask = torch.cat([self.kept.unsqueeze(1).expand(-1, count, -1), own], dim=2)
        x = self.model._embedded(ids, order, self.grid, self.valid)
        return self.model._mixed(x, mask, self.given, state, self.size), order, real


def _tiny(sizes: tuple[int, ...] = ()) -> Config:
    return Config(
        Space("image", (4, 3), (8,)),
        (Condition("label", "class", 4), Condition("text", "words")),
        BackboneConfig(48, 2, 2),
        sizes=sizes,
    )


def _imagenet(dim: int, depth: int, heads: int, sizes: tuple[int, ...] = ()) -> Config:
    return Config(
        Space("image", (16, 16), (1024,)),
        (Condition("label", "class", 1000),),
        BackboneConfig(dim, depth, heads),
        sizes=sizes,
    )


PRESETS = (
    Preset("image/masked_apart_tiny", Apart, _tiny(), "ENAT, arXiv 2411.06959"),
    Preset("image/masked_apart_growing_tiny", Apart, _tiny((1, 2)), "MaGNeTS, arXiv 2502.00382"),
    Preset(
        "image/masked_apart_enat.imagenet256",
        Apart,
        _imagenet(768, 24, 12),
        "ENAT-L, arXiv 2411.06959",
        "image/masked_apart_tiny",
        serves=("enat",),
    ),
    Preset(
        "image/masked_apart_magnets.imagenet256",
        Apart,
        _imagenet(1024, 24, 16, (6, 12, 18, 24)),
        "MaGNeTS, arXiv 2502.00382",
        "image/masked_apart_growing_tiny",
        serves=("magnets",),
    ),
)
