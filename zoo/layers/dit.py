"""The network of diffusion on grids: patches in, a backbone that knows the time, patches out.

One time for each example scales and shifts all positions alike; times that differ between frames
or places do it position by position, so that clean and noisy parts stand side by side.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from zoo.errors import UsageError
from zoo.generator import Condition, Conditions, Space
from zoo.layers.attention import grid_positions
from zoo.layers.backbone import Backbone, BackboneConfig, Conditioner, Given, View
from zoo.layers.flow import TimeEmbedding
from zoo.tokenizer import State

__all__ = ["Dit", "Places", "cut", "joined"]


class Places(nn.Module):
    """Where a position is, as a vector: (N, axes) to (N, dim), for any length."""

    def __init__(self, axes: int, dim: int):
        super().__init__()
        self.waves = dim // (2 * axes)
        self.out = nn.Linear(2 * axes * self.waves, dim)

    def forward(self, positions: Tensor) -> Tensor:
        rates = torch.arange(self.waves, device=positions.device) / self.waves
        phase = positions.unsqueeze(-1) * torch.exp(-math.log(1_000.0) * rates)
        waves = torch.cat([phase.cos(), phase.sin()], dim=-1).flatten(1)
        return self.out(waves.to(self.out.weight.dtype))


class Dit(nn.Module):
    """Mixtures `(B, *grid, channels)` and their times to what a process wants, of the same shape.

    `patch` is the size of a patch along each axis; `extra` channels are read but not written.
    """

    def __init__(
        self,
        space: Space,
        conditions: tuple[Condition, ...],
        config: BackboneConfig,
        patch: tuple[int, ...] = (),
        extra: int = 0,
        backbone: type[Backbone] = Backbone,
    ):
        super().__init__()
        self.patch = patch or (1,) * len(space.grid)
        if len(self.patch) != len(space.grid) or any(
            size % part for size, part in zip(space.grid, self.patch, strict=True)
        ):
            raise UsageError(f"patches of {patch} do not cut a grid of {space.grid}")
        dim, area = config.dim, math.prod(self.patch)
        self.conditioner = Conditioner(conditions, config)
        self.time = TimeEmbedding(dim)
        self.places = Places(len(space.grid), dim)
        self.enter = nn.Linear(area * (space.channels + extra), dim)
        self.backbone = backbone(config, context=self.conditioner.has_context, modulated=True)
        self.leave = nn.Linear(dim, area * space.channels)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(
        self,
        x: Tensor,
        time: Tensor,
        conditions: Conditions,
        *,
        lengths: Tensor | None = None,
        mask: Tensor | None = None,
        state: State | None = None,
        first: int = 0,
        added: Tensor | None = None,
    ) -> Tensor:
        """`mask` says who sees whom, `lengths` which frames count; with a `state` the frames
        begin at `first`, those before being in it. `added` is added to all positions."""
        grid = tuple(x.shape[1:-1])
        tokens = self.tokens(x, first)
        positions = self.positions(grid, x.device, first)
        given = self.conditioner(conditions, len(x)).plus(self.vector(time, grid))
        if added is not None:
            given = given.plus(added)
        small = tuple(g // p for g, p in zip(grid, self.patch, strict=True))
        valid = None
        if lengths is not None:
            valid = positions[:, 0] < lengths.to(x.device)[:, None]
        view = View(positions, small, mask=mask, valid=valid)
        made = self.backbone(tokens, view, given, state)
        return joined(self.leave(made), small, self.patch)

    def packed(self, x: Tensor, time: Tensor, conditions: Conditions, lengths: Tensor) -> Tensor:
        """The same for examples of any lengths, laid end to end in one sequence without padding.

        Texts stand before their example's positions, as with `reads="prefix"`.
        """
        grid = tuple(x.shape[1:-1])
        small = tuple(g // p for g, p in zip(grid, self.patch, strict=True))
        positions, tokens = self.positions(grid, x.device), self.tokens(x)
        given = self.conditioner(conditions, len(x)).plus(self.vector(time, grid))
        if given.track is not None:
            tokens = tokens + given.track[:, positions[:, 0].clamp(0, given.track.shape[1] - 1)]
        inside = positions[:, 0] < lengths.to(x.device)[:, None]
        vector = given.vector if given.vector.dim() == 3 else given.vector.unsqueeze(1)
        vector = vector.expand(-1, len(positions), -1)
        kept, places = inside, positions.expand(len(x), -1, -1)
        before = 0
        if given.context is not None:
            before = given.context.shape[1]
            front = positions.new_zeros(before, positions.shape[1])
            front[:, 0] = torch.arange(-before, 0, device=x.device)
            tokens = torch.cat([given.context, tokens], dim=1)
            kept = torch.cat([given.context_mask, inside], dim=1)
            places = torch.cat([front.expand(len(x), -1, -1), places], dim=1)
            vector = torch.cat([vector[:, :1].expand(-1, before, -1), vector], dim=1)
        owner = torch.arange(len(x), device=x.device).unsqueeze(1).expand_as(kept)[kept]
        text = (torch.arange(kept.shape[1], device=x.device) < before).expand_as(kept)[kept]
        mask = (owner[:, None] == owner) & (text | ~text[:, None])
        view = View(places[kept], mask=mask)
        made = self.backbone(tokens[kept].unsqueeze(0), view, Given(vector[kept].unsqueeze(0)))[0]
        spread = made.new_zeros(*inside.shape, made.shape[-1])
        spread[inside] = made[~text]
        return joined(self.leave(spread), small, self.patch)

    def tokens(self, x: Tensor, first: int = 0) -> Tensor:
        """Patches as vectors that know where they are, (B, N, dim)."""
        places = self.places(self.positions(tuple(x.shape[1:-1]), x.device, first))
        return self.enter(cut(x, self.patch)) + places

    def positions(self, grid: tuple[int, ...], device: torch.device, first: int = 0) -> Tensor:
        """(N, axes) The corner of each patch."""
        small = tuple(g // p for g, p in zip(grid, self.patch, strict=True))
        patch = torch.tensor(self.patch, device=device)
        return grid_positions(small, device, first // self.patch[0]) * patch

    def vector(self, time: Tensor, grid: tuple[int, ...]) -> Tensor:
        """Times as vectors: (B, dim), or (B, N, dim) where places differ."""
        if time.dim() == 1:
            return self.time(time)
        whole = time.view(*time.shape, *(1,) * (1 + len(grid) - time.dim()))
        patches = cut(whole.expand(len(time), *grid).unsqueeze(-1), self.patch)
        latest = patches.amax(-1)
        return self.time(latest.flatten()).unflatten(0, latest.shape)


def cut(x: Tensor, patch: tuple[int, ...]) -> Tensor:
    """(B, *grid, channels) to patches in raster order, (B, N, area * channels)."""
    axes = len(patch)
    for axis in range(axes):
        x = x.unflatten(1 + 2 * axis, (-1, patch[axis]))
    outer, inner = range(1, 2 * axes, 2), range(2, 2 * axes + 1, 2)
    return x.permute(0, *outer, *inner, 2 * axes + 1).flatten(1 + axes).flatten(1, axes)


def joined(x: Tensor, small: tuple[int, ...], patch: tuple[int, ...]) -> Tensor:
    """The inverse of `cut`, for a grid of `small` patches."""
    axes = len(patch)
    x = x.unflatten(2, (*patch, -1)).unflatten(1, small)
    order = [index for axis in range(axes) for index in (1 + axis, 1 + axes + axis)]
    x = x.permute(0, *order, 2 * axes + 1)
    for axis in range(axes):
        x = x.flatten(1 + axis, 2 + axis)
    return x
