"""A grid of ids in, logits of every id out: the network of generators that see the whole grid.

Places may hold a mask instead of an id, or padding. Who sees whom is the backbone's matter, and may
be narrowed by a mask of attention.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.errors import UsageError
from zoo.generator import Condition, Conditions, Space, valid_positions
from zoo.layers.attention import grid_positions
from zoo.layers.backbone import Backbone, BackboneConfig, Conditioner, Given, View
from zoo.layers.codes import CodeEmbedding, CodeHead, PlaceEmbedding

__all__ = ["IdGrid", "as_levels", "surprise"]


class IdGrid(nn.Module):
    """Ids (B, N, levels) of a space, masks and padding among them, to logits of every level."""

    def __init__(
        self,
        space: Space,
        conditions: tuple[Condition, ...],
        config: BackboneConfig,
        *,
        modulated: bool = False,
    ):
        super().__init__()
        if not space.discrete:
            raise UsageError("this generator draws ids", allowed="a space with code levels")
        self.space = space
        self.conditioner = Conditioner(conditions, config)
        self.backbone = Backbone(
            config,
            context=self.conditioner.has_context,
            modulated=modulated or self.conditioner.has_vector,
        )
        self.embedding = CodeEmbedding(space.levels, config.dim, extra=2)
        self.places = PlaceEmbedding(space.grid, config.dim)
        self.head = CodeHead(space.levels, config.dim)

    def given(self, conditions: Conditions, batch: int) -> Given:
        given: Given = self.conditioner(conditions, batch)
        return given

    def forward(
        self,
        ids: Tensor,
        grid: tuple[int, ...],
        given: Given,
        valid: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> list[Tensor]:
        """`valid` (B, N) is True where a place is no padding."""
        positions = grid_positions(grid, ids.device)
        if valid is not None:
            ids = torch.where(valid.unsqueeze(-1), ids, self.masked(ids.device) + 1)
        x = self.embedding(ids) + self.places(positions)
        x = self.backbone(x, View(positions, grid, mask=mask, valid=valid), given)
        logits: list[Tensor] = self.head(x)
        return logits

    def masked(self, device: torch.device) -> Tensor:
        """(levels,) The id that stands for an unknown one at each level; padding follows it."""
        return torch.tensor(self.space.levels, device=device)

    def valid(self, lengths: Tensor | None, batch: int, grid: Sequence[int]) -> Tensor | None:
        """(B, N) of lengths in time; None where nothing is padding."""
        if lengths is None:
            return None
        device = self.places.axes[0].weight.device
        frames = valid_positions(lengths, (batch, grid[0]), device)
        return frames.repeat_interleave(_places(grid), dim=1)


def as_levels(x: Tensor, space: Space) -> Tensor:
    """Ids in the shape of a space, (B, *grid[, levels]), as (B, N, levels)."""
    return x.reshape(len(x), -1, len(space.levels))


def surprise(logits: Sequence[Tensor], ids: Tensor) -> Tensor:
    """(B, N, levels) nats of ids under the logits of their levels."""
    parts = [
        functional.cross_entropy(part.transpose(1, 2).float(), ids[..., level], reduction="none")
        for level, part in enumerate(logits)
    ]
    return torch.stack(parts, dim=-1)


def _places(grid: Sequence[int]) -> int:
    places = 1
    for extent in grid[1:]:
        places *= extent
    return places
