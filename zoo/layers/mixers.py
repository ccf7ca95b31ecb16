"""How a block mixes positions: attention of all to all, along axes or in windows, or a memory.

Every mixer takes `x (B, N, dim)`, a `View` that says where the N positions are and who may see
whom, and an optional state that carries what came before. A mixer is registered by its name in
`MIXERS`; a configuration names the mixers of its layers:

    full      attention of all positions to all
    time      attention of a place to itself at all times
    space     attention inside of a frame
    window    attention inside of windows of `window` places a side, at all times; windows of time
              where the grid is time alone
    linear    linear attention: cost grows with the length, not with its square
    ssm       a selective state space along the sequence, in both directions unless causal
    ssm_time  the same along the time of each place
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.errors import UsageError
from zoo.layers.attention import Attention, grid_positions, rotary_angles, rotate
from zoo.layers.scan import scan
from zoo.tokenizer import State

__all__ = ["MIXERS", "Size", "View"]

_ALL = 1 << 40


class Size(Protocol):
    """What a mixer reads of a backbone's configuration."""

    dim: int
    heads: int
    shared_heads: int
    window: int


@dataclass(frozen=True)
class View:
    """Where positions are, and who sees whom.

    `positions` (N, axes) are places on the grid, time first, in the order of the sequence; `grid`
    is the grid's size where the sequence is the whole grid (or some of its frames) in raster order,
    which mixers along an axis need. `causal` hides what comes later in the sequence; mixers along
    axes hide later frames. `mask` (N, K) or (B, N, K) is True where a key may be seen, `valid`
    (B, N) where a position is no padding; nothing sees padding.
    """

    positions: Tensor
    grid: tuple[int, ...] = ()
    causal: bool = False
    mask: Tensor | None = None
    valid: Tensor | None = None

    def seen(self, count: int, before: int) -> Tensor:
        """(1 or B, count, before + count) True where seen; keys begin `before` earlier."""
        if self.mask is not None:
            seen = self.mask if self.mask.dim() == 3 else self.mask.unsqueeze(0)
        else:
            seen = torch.ones(count, before + count, dtype=torch.bool, device=self.positions.device)
            seen = (seen.tril(before) if self.causal else seen).unsqueeze(0)
        return seen if self.valid is None else seen & self.valid.unsqueeze(1)


class Full(nn.Module):
    """Attention of all positions to all, or to those that the view lets them see."""

    def __init__(self, size: Size):
        super().__init__()
        self.attention = Attention(size.dim, size.heads, shared=size.shared_heads)
        self.width = size.dim // size.heads

    def forward(self, x: Tensor, view: View, state: State | None) -> Tensor:
        angles = rotary_angles(view.positions, self.width)
        mask, causal = None, view.causal
        before = 0
        if state is not None and self.attention in state:
            before = state[self.attention][0].shape[2]
        if view.mask is not None or view.valid is not None or (causal and before):
            alone = view.mask is view.valid is None and x.shape[1] == 1
            mask, causal = None if alone else view.seen(x.shape[1], before).unsqueeze(1), False
        return self.attention(x, None, angles, mask, state, _ALL, causal)


class Along(nn.Module):
    """Another mixer along one axis of the grid: `time`, or the axes of a frame."""

    def __init__(self, inner: nn.Module, *, time: bool):
        super().__init__()
        self.inner, self.time = inner, time

    def forward(self, x: Tensor, view: View, state: State | None) -> Tensor:
        frames, places = grid_of(view)
        cut, axes = x.unflatten(1, (frames, places)), view.positions.unflatten(0, (frames, places))
        if not self.time:
            # Padding is whole frames, which no other frame sees here.
            return self.inner(cut.flatten(0, 1), View(axes[0, :, 1:]), None).view(x.shape)
        flat = cut.transpose(1, 2).flatten(0, 1)
        valid = view.valid
        if valid is not None:
            valid = valid.unflatten(1, (frames, places)).transpose(1, 2).flatten(0, 1)
        line = View(axes[:, 0, :1], (frames,), view.causal, valid=valid)
        y = self.inner(flat, line, state).view(len(x), places, frames, -1)
        return y.transpose(1, 2).flatten(1, 2)


class Window(nn.Module):
    """Attention inside of windows, all frames of a window together."""

    def __init__(self, size: Size):
        super().__init__()
        if not size.window:
            raise UsageError("windows need a size", allowed="window=4, say")
        self.attention = Attention(size.dim, size.heads, shared=size.shared_heads)
        self.side, self.width = size.window, size.dim // size.heads

    def forward(self, x: Tensor, view: View, state: State | None) -> Tensor:
        grid_of(view)
        if state is not None:
            raise UsageError("windows keep no state", allowed="the whole grid at once")
        grid = view.grid
        sides = (grid[0], *(self.side for _ in grid[1:])) if len(grid) > 1 else (self.side,)
        windows = self._cut(x.unflatten(1, grid), sides)
        there = torch.ones(1, len(view.positions), dtype=torch.bool, device=x.device)
        there = there if view.valid is None else view.valid
        seen = self._cut(there.unflatten(1, grid).unsqueeze(-1), sides).squeeze(-1)
        places = grid_positions(sides, x.device)
        # A window of padding alone sees itself, so that its attention is a number.
        mask = (seen | ~seen.any(-1, keepdim=True)).unsqueeze(-2)
        if view.causal:
            mask = mask & (places[:, :1] >= places[:, 0])
        mask = mask.expand(len(x), *mask.shape[1:-2], len(places), -1).flatten(0, -3).unsqueeze(1)
        angles = rotary_angles(places, self.width)
        y = self.attention(windows.flatten(0, -3), None, angles, mask)
        return self._join(y.view(windows.shape), grid, sides)

    @staticmethod
    def _cut(x: Tensor, sides: tuple[int, ...]) -> Tensor:
        """(B, *grid, dim) as (B, *windows, places, dim), zeros behind the borders."""
        grid = x.shape[1:-1]
        ends = [amount for n, side in zip(grid, sides, strict=True) for amount in (-n % side, 0)]
        x = functional.pad(x, (0, 0, *reversed(ends)))
        for axis in reversed(range(len(sides))):
            x = x.unflatten(1 + axis, (-1, sides[axis]))
        outer = range(1, 1 + 2 * len(sides), 2)
        x = x.permute(0, *outer, *(axis + 1 for axis in outer), -1)
        return x.flatten(1 + len(sides), 2 * len(sides))

    @staticmethod
    def _join(x: Tensor, grid: tuple[int, ...], sides: tuple[int, ...]) -> Tensor:
        """The inverse of `_cut`, with the grid flat again."""
        axes = len(sides)
        x = x.unflatten(1 + axes, sides)
        x = x.permute(0, *(a for i in range(axes) for a in (1 + i, 1 + axes + i)), -1)
        for axis in range(axes):
            x = x.flatten(1 + axis, 2 + axis).narrow(1 + axis, 0, grid[axis])
        return x.flatten(1, axes)


class Linear(nn.Module):
    """Linear attention with rotary positions.

    The positions turn what is read, not the weights' sum by which it is divided, which so stays
    above zero.
    """

    def __init__(self, size: Size):
        super().__init__()
        self.heads, self.width = size.heads, size.dim // size.heads
        self.inputs = nn.Linear(size.dim, 3 * size.dim, bias=False)
        self.out = nn.Linear(size.dim, size.dim)

    def forward(self, x: Tensor, view: View, state: State | None) -> Tensor:
        _unmasked(view)
        parts = self.inputs(x).float().unflatten(-1, (3, self.heads, self.width))
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        query, key = functional.elu(query) + 1, functional.elu(key) + 1
        if view.valid is not None:
            key = key * view.valid[:, None, :, None]
        angles = rotary_angles(view.positions, self.width)
        turned, places = rotate(query, angles), rotate(key, angles)
        memory, weight = (None, None) if state is None or self not in state else state[self]
        if view.causal:
            read, memory = scan(turned, places, value, memory=memory)
            sums = key.cumsum(2) if weight is None else weight + key.cumsum(2)
            weight = sums[:, :, -1:]
        else:
            written, total = places.transpose(2, 3) @ value, key.sum(2, keepdim=True)
            memory = written if memory is None else memory + written
            weight = total if weight is None else weight + total
            read, sums = turned @ memory, weight
        if state is not None:
            state[self] = memory, weight
        y = read / (query * sums).sum(-1, keepdim=True)
        return self.out(y.transpose(1, 2).flatten(2).to(x.dtype))


class StateSpace(nn.Module):
    """A selective state space: what is written, read and forgotten depends on the input.

    Two halves of the channels run one after the other through the same code; unless the view is
    causal, the second half runs from the end to the beginning.
    """

    states = 16
    taps = 4

    def __init__(self, size: Size):
        super().__init__()
        half, self.heads = size.dim // 2, size.heads
        if half % size.heads:
            raise UsageError(
                f"{size.dim} channels do not make two halves of {size.heads} heads",
                allowed=f"a multiple of {2 * size.heads}",
            )
        self.sizes = [half, self.states, self.states]
        mixed = 2 * sum(self.sizes)
        self.inputs = nn.Linear(size.dim, mixed + 2 * size.heads + size.dim)
        self.near = nn.Conv1d(mixed, mixed, self.taps, groups=mixed)
        self.rates = nn.Parameter(torch.linspace(1, 8, size.heads).log().repeat(2, 1))
        # Steps between a thousandth and a tenth at first, as softplus gives them.
        steps = torch.linspace(math.log(1e-3), math.log(1e-1), size.heads).exp()
        self.steps = nn.Parameter(steps.expm1().log().repeat(2, 1))
        self.through = nn.Parameter(torch.ones(2, size.heads, 1))
        self.norm, self.out = nn.RMSNorm(size.dim), nn.Linear(size.dim, size.dim)

    def forward(self, x: Tensor, view: View, state: State | None) -> Tensor:
        _unmasked(view)
        if state is not None and not view.causal:
            raise UsageError("a state runs in one direction", allowed="a causal view")
        split = [2 * sum(self.sizes), 2 * self.heads, x.shape[-1]]
        mixed, pace, gate = self.inputs(x).split(split, dim=-1)
        if view.valid is not None:
            mixed = mixed * view.valid.unsqueeze(-1)
        mixed = self._turned(mixed, view)
        pace = self._turned(pace, view).unflatten(-1, (2, self.heads))
        mixed = functional.silu(self._nearby(mixed, state)).unflatten(-1, (2, -1)).float()
        value, key, query = mixed.split(self.sizes, dim=-1)
        value = value.unflatten(-1, (self.heads, -1)).permute(0, 2, 3, 1, 4)
        key, query = (part.transpose(1, 2).unsqueeze(2) for part in (key, query))
        step = functional.softplus(pace.float() + self.steps).permute(0, 2, 3, 1)
        if view.valid is not None:
            step = step * self._turned(_doubled(view.valid), view).permute(0, 2, 1).unsqueeze(2)
        many = (-1, -1, self.heads, -1, -1)
        memory = None if state is None or self not in state else state[self]
        y, memory = scan(
            query.expand(many),
            key.expand(many),
            value * step.unsqueeze(-1),
            -step * self.rates.exp().unsqueeze(-1),
            memory,
        )
        if state is not None:
            state[self] = memory
        y = y + value * self.through.unsqueeze(-1)
        y = self._turned(y.permute(0, 3, 1, 2, 4).flatten(2), view).to(x.dtype)
        return self.out(self.norm(y * functional.silu(gate)))

    @staticmethod
    def _turned(x: Tensor, view: View) -> Tensor:
        """The second half of the channels from the end to the beginning, and back again."""
        if view.causal:
            return x
        ahead, back = x.chunk(2, dim=-1)
        return torch.cat([ahead, back.flip(1)], dim=-1)

    def _nearby(self, x: Tensor, state: State | None) -> Tensor:
        """Each channel mixed with its last few positions."""
        before = x.new_zeros(len(x), self.taps - 1, x.shape[-1])
        if state is not None:
            before = state.get(self.near, before)
        x = torch.cat([before, x], dim=1)
        if state is not None:
            state[self.near] = x[:, 1 - self.taps :]
        return self.near(x.transpose(1, 2)).transpose(1, 2)


def _doubled(valid: Tensor) -> Tensor:
    return valid.unsqueeze(-1).expand(-1, -1, 2).float()


def _unmasked(view: View) -> None:
    if view.mask is not None:
        raise UsageError(
            "a memory cannot hide single positions from each other",
            allowed='causal and valid; mixers "full" for masks',
        )


def grid_of(view: View) -> tuple[int, int]:
    """Frames, and positions of a frame, of a view of a whole grid."""
    if not view.grid:
        raise UsageError(
            "layers along one axis need the whole grid at once",
            allowed='mixers "full", "linear" or "ssm" for sequences that are not a grid',
        )
    frames = view.grid[0]
    return frames, len(view.positions) // frames


MIXERS: dict[str, Callable[[Any], nn.Module]] = {
    "full": Full,
    "time": lambda size: Along(Full(size), time=True),
    "space": lambda size: Along(Full(size), time=False),
    "window": Window,
    "linear": Linear,
    "ssm": StateSpace,
    "ssm_time": lambda size: Along(StateSpace(size), time=True),
}
