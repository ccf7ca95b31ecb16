"""Attention over sequences and over grids of video, whole or in pieces of a stream.

Pre-norm layers with normalised queries and keys, rotary positions for any number of axes, and a
gated MLP. `Reach` says who sees whom in time. Without a state a mask applies it to a whole clip;
with a state the keys and values of earlier pieces are kept as far as the reach goes, so that a
stream of any length is answered in constant memory.

    stack = GridTransformer(256, heads=4, layers=("space", "time"), reach=Reach(past=16))
    stack(x)                   # (B, T, H, W, 256), every frame sees 16 frames back
    stack(next_piece, state)   # the same, piece by piece
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.errors import UsageError
from zoo.tokenizer import State

__all__ = [
    "Attention",
    "GridTransformer",
    "Pattern",
    "Reach",
    "SwiGLU",
    "TransformerLayer",
    "grid_positions",
    "rotary_angles",
    "rotate",
]

Pattern = Literal["space", "window", "time", "joint"]
"""Who attends to whom on a grid: all of a frame, a window of a frame, one place over time, or every
place at every time within reach."""

ROTARY_BASE = 10_000.0


@dataclass(frozen=True)
class Reach:
    """Which positions in time a position sees: those of its block, and `past` before the block.

    `block` 1 is causal attention; a larger block sees itself in both directions. With `apart`, the
    first position is a block of its own, as the first frame of 1+4k frames is.
    """

    past: int
    block: int = 1
    apart: bool = False

    def mask(self, start: int, count: int, kept: int, device: torch.device) -> Tensor | None:
        """(count, kept + count), True where seen; None where everything is.

        The queries are at `start` and on, the keys begin `kept` positions earlier.
        """
        queries = torch.arange(start, start + count, device=device).unsqueeze(1)
        keys = torch.arange(start - kept, start + count, device=device).unsqueeze(0)
        first = self._block_start(queries)
        seen = (keys < first + self.block) & (keys >= first - self.past)
        return None if bool(seen.all()) else seen

    def _block_start(self, positions: Tensor) -> Tensor:
        shift = self.block - 1 if self.apart else 0
        return (positions + shift) // self.block * self.block - shift


class SwiGLU(nn.Module):
    """A gated MLP of about the cost of a plain one that is four times as wide inside."""

    def __init__(self, dim: int):
        super().__init__()
        hidden = -(-dim * 8 // 24) * 8
        self.rise, self.fall = nn.Linear(dim, 2 * hidden), nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.rise(x).chunk(2, dim=-1)
        return self.fall(functional.silu(gate) * value)


class Attention(nn.Module):
    """Multi-head attention of `x (B, N, dim)` to itself, or to a `context (B, M, width)`.

    With `shared`, that many heads of keys and values serve groups of the queries' heads.
    """

    def __init__(self, dim: int, heads: int, context: int = 0, shared: int = 0):
        super().__init__()
        if dim % (2 * heads):
            raise UsageError(
                f"{dim} channels do not make {heads} heads of pairs",
                allowed=f"a multiple of {2 * heads}",
            )
        if shared and heads % shared:
            raise UsageError(
                f"{heads} heads cannot share {shared} heads of keys", allowed=f"divisors of {heads}"
            )
        self.width, self.grouped = dim // heads, shared not in (0, heads)
        self.query = nn.Linear(dim, dim, bias=False)
        self.key_value = nn.Linear(context or dim, 2 * self.width * (shared or heads), bias=False)
        self.query_norm, self.key_norm = nn.RMSNorm(self.width), nn.RMSNorm(self.width)
        self.out = nn.Linear(dim, dim)

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        angles: Tensor | None = None,
        mask: Tensor | None = None,
        state: State | None = None,
        keep: int = 0,
        causal: bool = False,
    ) -> Tensor:
        """`angles` are those of `x`; with a `state`, the last `keep` tokens are kept in it.

        `causal` is the mask that lets nothing see what comes after it, and faster than that.
        """
        query = self.query_norm(self._split(self.query(x)))
        key, value = self.key_value(x if context is None else context).chunk(2, dim=-1)
        key, value = self.key_norm(self._split(key)), self._split(value)
        if angles is not None:
            query, key = rotate(query, angles), rotate(key, angles)
        if state is not None:
            key, value = self._continued(key, value, state, keep)
        y = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=causal, enable_gqa=self.grouped
        )
        return self.out(y.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.width)).transpose(1, 2)

    def _continued(
        self, key: Tensor, value: Tensor, state: State, keep: int
    ) -> tuple[Tensor, Tensor]:
        if self in state:
            key = torch.cat([state[self][0], key], dim=2)
            value = torch.cat([state[self][1], value], dim=2)
        start = max(0, key.shape[2] - keep)
        state[self] = key[:, :, start:], value[:, :, start:]
        return key, value


class TransformerLayer(nn.Module):
    """Attention, then attention to a context where there is one, then the MLP.

    With `condition` channels, a vector for each sequence scales, shifts and gates each half.
    """

    def __init__(self, dim: int, heads: int, context: int = 0, condition: int = 0):
        super().__init__()
        self.norm1, self.attention = nn.RMSNorm(dim), Attention(dim, heads)
        self.norm2, self.mlp = nn.RMSNorm(dim), SwiGLU(dim)
        self.norm3 = nn.RMSNorm(dim) if context else None
        self.cross = Attention(dim, heads, context) if context else None
        self.modulation = nn.Linear(condition, 6 * dim) if condition else None
        if self.modulation is not None:
            nn.init.zeros_(self.modulation.weight)
            nn.init.zeros_(self.modulation.bias)

    def forward(
        self,
        x: Tensor,
        *,
        context: Tensor | None = None,
        condition: Tensor | None = None,
        angles: Tensor | None = None,
        mask: Tensor | None = None,
        state: State | None = None,
        keep: int = 0,
    ) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self._modulated(condition)
        y = self.norm1(x) * (1 + scale1) + shift1
        x = x + (1 + gate1) * self.attention(y, None, angles, mask, state, keep)
        if self.cross is not None and self.norm3 is not None:
            x = x + self.cross(self.norm3(x), context)
        y = self.norm2(x) * (1 + scale2) + shift2
        return x + (1 + gate2) * self.mlp(y)

    def _modulated(self, condition: Tensor | None) -> tuple[Tensor | float, ...]:
        if self.modulation is None or condition is None:
            return (0.0,) * 6
        return self.modulation(functional.silu(condition)).unsqueeze(1).chunk(6, dim=-1)


class GridTransformer(nn.Module):
    """Layers on grids (B, T, H, W, dim), each with its own `Pattern`.

    Without `reach`, layers that look along time see the whole clip.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        layers: tuple[Pattern, ...],
        reach: Reach | None = None,
        window: int = 0,
    ):
        super().__init__()
        if "window" in layers and not window:
            raise UsageError("layers with windows need their size", allowed="window=8, say")
        self.patterns, self.reach, self.window = layers, reach, window
        self.width = dim // heads
        self.layers = nn.ModuleList(TransformerLayer(dim, heads) for _ in layers)
        self.norm = nn.RMSNorm(dim)

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        start = 0
        if state is not None:
            start = state.get(self, 0)
            state[self] = start + x.shape[1]
        views = {pattern: self._view(pattern, x, start) for pattern in set(self.patterns)}
        for pattern, layer in zip(self.patterns, self.layers, strict=True):
            angles, mask = views[pattern]
            if pattern == "space":
                flat = x.flatten(2, 3).flatten(0, 1)
                x = layer(flat, angles=angles).view(x.shape)
            elif pattern == "window":
                x = self._in_windows(x, layer, angles)
            else:
                x = self._over_time(x, pattern, layer, angles, mask, state)
        return self.norm(x)

    def _view(self, pattern: Pattern, x: Tensor, start: int) -> tuple[Tensor, Tensor | None]:
        """The angles and the mask that all layers of a pattern share."""
        _, frames, rows, columns, _ = x.shape
        size = {
            "space": (rows, columns),
            "window": (self.window, self.window),
            "time": (frames,),
            "joint": (frames, rows, columns),
        }[pattern]
        if pattern in ("space", "window"):
            return rotary_angles(grid_positions(size, x.device), self.width), None
        angles = rotary_angles(grid_positions(size, x.device, start), self.width)
        if self.reach is None:
            return angles, None
        mask = self.reach.mask(start, frames, min(start, self.reach.past), x.device)
        if mask is not None and pattern == "joint":
            mask = mask.repeat_interleave(rows * columns, 0).repeat_interleave(rows * columns, 1)
        return angles, mask

    def _in_windows(self, x: Tensor, layer: nn.Module, angles: Tensor) -> Tensor:
        side = self.window
        cut = x.unflatten(3, (-1, side)).unflatten(2, (-1, side)).transpose(3, 4)
        y = layer(cut.flatten(4, 5).flatten(0, 3), angles=angles)
        return y.view(cut.shape).transpose(3, 4).reshape(x.shape)

    def _over_time(
        self,
        x: Tensor,
        pattern: Pattern,
        layer: nn.Module,
        angles: Tensor,
        mask: Tensor | None,
        state: State | None,
    ) -> Tensor:
        batch, frames, rows, columns, _ = x.shape
        keep = self.reach.past if self.reach else 0
        state = state if self.reach else None
        if pattern == "time":
            flat = x.permute(0, 2, 3, 1, 4).flatten(0, 2)
            y = layer(flat, angles=angles, mask=mask, state=state, keep=keep)
            return y.view(batch, rows, columns, frames, -1).permute(0, 3, 1, 2, 4)
        keep *= rows * columns
        y = layer(x.flatten(1, 3), angles=angles, mask=mask, state=state, keep=keep)
        return y.view(x.shape)


def grid_positions(size: tuple[int, ...], device: torch.device, start: int = 0) -> Tensor:
    """Coordinates of every place of a grid in its flat order, (N, axes); the first axis begins at
    `start`."""
    first = torch.arange(start, start + size[0], device=device)
    axes = [first, *(torch.arange(n, device=device) for n in size[1:])]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, -2)


def rotary_angles(positions: Tensor, width: int) -> Tensor:
    """Angles (N, width // 2) of positions (N, axes); the axes share the pairs of channels."""
    axes = positions.shape[1]
    angles = []
    for axis in range(axes):
        pairs = width // 2 // axes + (axis < width // 2 % axes)
        rates = ROTARY_BASE ** (-torch.arange(pairs, device=positions.device) / max(1, pairs))
        # In float64: positions of long streams times a rate lose the angle in float32.
        angles.append(positions[:, axis, None].double() * rates.double())
    return torch.cat(angles, dim=-1)


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Turn the pairs of channels of `x (B, heads, N, width)`."""
    cosine, sine = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    one, other = x.chunk(2, dim=-1)
    return torch.cat([one * cosine - other * sine, one * sine + other * cosine], dim=-1)
