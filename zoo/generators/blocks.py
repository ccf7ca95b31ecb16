"""Ids block by block: all ids of a block at once, the blocks one after the other.

A block is a run of places in the order of the grid: a row, some rows, a frame. Inside of a block
everything sees everything, between blocks only what came before is seen. Each place of a block is
told the id of the same place of the block before, and foretells its own. So a grid of N places
takes N / block calls of the network, and what was computed for earlier blocks is kept.

Next Block Prediction is this; a block of one place is the ordinary autoregressive generator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from zoo.errors import UsageError
from zoo.generator import Batch, Condition, Conditions, Decoding, Generator, Known, Samples, Space
from zoo.layers.attention import grid_positions
from zoo.layers.backbone import Backbone, BackboneConfig, Conditioner, Given, View
from zoo.layers.codes import CodeEmbedding, CodeHead, PlaceEmbedding, choose, guided
from zoo.layers.id_grid import as_levels, surprise
from zoo.registry import Preset
from zoo.tokenizer import State


@dataclass(frozen=True)
class Config:
    """`block` is the number of places that are drawn at once; it divides those of a frame."""

    space: Space
    conditions: tuple[Condition, ...] = ()
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    block: int = 16
    drop: float = 0.1


class Blocks(Generator):
    """A backbone that sees its own block and those before it."""

    config_class = Config
    exact_nll = True
    lesson_steps = 130

    def __init__(self, config: Config):
        super().__init__(config)
        space, size = config.space, config.backbone
        if not space.discrete:
            raise UsageError("this generator draws ids", allowed="a space with code levels")
        frame = space.positions // space.grid[0]
        if frame % config.block and config.block % frame:
            raise UsageError(
                f"blocks of {config.block} do not divide frames of {frame} places",
                allowed="a divisor, or whole frames",
            )
        if set(size.mixers) != {"full"} or size.reads != "cross":
            raise UsageError("blocks need the mask of full attention", allowed='mixers ("full",)')
        self.conditioner = Conditioner(config.conditions, size)
        self.backbone = Backbone(
            size,
            context=self.conditioner.has_context,
            modulated=self.conditioner.has_vector,
        )
        self.embedding = CodeEmbedding(space.levels, size.dim, extra=1)
        self.places = PlaceEmbedding(space.grid, size.dim)
        self.head = CodeHead(space.levels, size.dim)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        nats, counted = self._surprise(batch)
        return {"nll": (nats * counted).sum() / counted.sum()}

    @torch.no_grad()
    def nll(self, batch: Batch, seed: int = 0) -> Tensor:
        """Exact for what is drawn: the ids of a block are independent once the past is known."""
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
        grid = tuple(x.shape[1 : 1 + len(self.space.grid)])
        positions = grid_positions(grid, x.device)
        twice = decoding.guidance != 1
        copies = 2 if twice else 1
        both = conditions.joined(conditions.none()) if twice else conditions
        given, state = self.conditioner(both, len(x) * copies), State()
        ids, before = as_levels(x, self.space).clone(), self._nothing(x)
        for start in range(0, len(positions), self.config.block):
            here = slice(start, start + self.config.block)
            fed = before[:, : len(positions[here])].repeat(copies, 1, 1)
            logits = self._logits(fed, View(positions[here]), given, state)
            if twice:
                halves = [part.chunk(2) for part in logits]
                logits = [guided(asked, free, decoding.guidance) for asked, free in halves]
            drawn = torch.stack([choose(part, decoding, dice) for part in logits], -1)
            if known is not None:
                mask = known.mask.flatten(1)[:, here].unsqueeze(-1)
                drawn = torch.where(mask, as_levels(known.x, self.space)[:, here], drawn)
            ids[:, here] = before = drawn
        return Samples(ids.view(x.shape), lengths)

    def _surprise(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Nats (B, N, levels), and which of them count."""
        grid = tuple(batch.x.shape[1 : 1 + len(self.space.grid)])
        ids, positions = as_levels(batch.x, self.space), grid_positions(grid, batch.x.device)
        count, block = len(positions), self.config.block
        before = torch.cat([self._nothing(ids), ids], dim=1)[:, :count]
        number = torch.arange(count, device=ids.device) // block
        view = View(positions, mask=number.unsqueeze(1) >= number)
        given = self.conditioner(batch.conditions, len(ids))
        logits = self._logits(before, view, given, None)
        counted = batch.valid().repeat_interleave(count // grid[0], dim=1)
        return surprise(logits, ids), counted.unsqueeze(-1).expand_as(ids)

    def _logits(
        self, before: Tensor, view: View, given: Given, state: State | None
    ) -> list[Tensor]:
        x = self.embedding(before) + self.places(view.positions)
        logits: list[Tensor] = self.head(self.backbone(x, view, given, state))
        return logits

    def _nothing(self, like: Tensor) -> Tensor:
        """(B, block, levels) What stands before the first block."""
        levels: Sequence[int] = self.space.levels
        ids = torch.tensor(levels, device=like.device)
        return ids.expand(len(like), self.config.block, len(levels))


_ASKED = (Condition("label", "class", 4), Condition("text", "words"))


def _tiny(grid: tuple[int, ...], levels: tuple[int, ...], block: int, modality: str) -> Config:
    return Config(Space(modality, grid, levels), _ASKED, BackboneConfig(48, 2, 2), block)


def _ucf(dim: int, depth: int, heads: int) -> dict[str, Any]:
    return {
        "space": Space("video", (5, 16, 16), (64_000,)),
        "conditions": (Condition("label", "class", 101),),
        "backbone": BackboneConfig(dim, depth, heads),
    }


PRESETS = (
    Preset(
        "video/blocks_tiny", Blocks, _tiny((3, 2, 2), (8,), 2, "video"), "NBP, arXiv 2502.07737"
    ),
    Preset(
        "motion/blocks_tiny",
        Blocks,
        _tiny((6,), (8, 8), 3, "motion"),
        "NBP, arXiv 2502.07737",
    ),
    Preset(
        "video/blocks_nbp.ucf",
        Blocks,
        Config(**_ucf(1024, 30, 16), block=16),
        "NBP, arXiv 2502.07737",
        "video/blocks_tiny",
        published={"FVD, UCF-101 17x128x128, 700M": 103.3},
        serves=("nbp",),
    ),
)
