"""The layers of video U-Nets: those of a picture, and those along time that are put between them.

Everything of a picture sees frames as a batch, `(B * T, C, H, W)`. What looks along time is a
`TemporalLayer`; its last step starts at zero, so a network to which such layers were just added
makes of every frame what the picture network makes of it alone. Names tell what may be trained by
itself: a parameter belongs to the group "temporal", "extension" or "adapter" when a part of its
name begins so, and to "spatial" otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.errors import UsageError
from zoo.layers.attention import Attention, SwiGLU, grid_positions, rotary_angles
from zoo.layers.dit import Places
from zoo.layers.mixers import MIXERS, View

__all__ = ["Group", "PictureLayer", "Scene", "TemporalLayer", "group_of"]

Group = Literal["spatial", "temporal", "extension", "adapter"]

SHARED = ("temporal", "extension", "adapter")


def group_of(name: str) -> Group:
    """The group of a parameter, told by its name; the last part that names one counts."""
    for part in reversed(name.split(".")):
        for group in SHARED:
            if part.startswith(group):
                return group  # type: ignore[return-value]
    return "spatial"


@dataclass(frozen=True)
class Scene:
    """What layers know besides the features.

    `vector (B * T, width)` holds time and conditions, `context` the words that a frame reads,
    `picture` the places of a given picture; `valid (B, T)` is False at padding.
    """

    frames: int
    vector: Tensor
    valid: Tensor
    context: Tensor | None = None
    context_mask: Tensor | None = None
    picture: Tensor | None = None
    picture_mask: Tensor | None = None
    picture_scale: float = 1.0

    def halved(self) -> Scene:
        """The same for every second frame."""

        def every_second(x: Tensor | None) -> Tensor | None:
            return None if x is None else x.unflatten(0, (-1, self.frames))[:, ::2].flatten(0, 1)

        return replace(
            self,
            frames=self.frames // 2,
            vector=self.vector.unflatten(0, (-1, self.frames))[:, ::2].flatten(0, 1),
            valid=self.valid[:, ::2],
            context=every_second(self.context),
            context_mask=every_second(self.context_mask),
            picture=every_second(self.picture),
            picture_mask=every_second(self.picture_mask),
        )


class PictureLayer(nn.Module):
    """What an image U-Net does at one place of its path: convolve, look around, read."""

    def __init__(
        self,
        channels: int,
        out: int,
        width: int,
        heads: int,
        *,
        attend: bool,
        context: bool,
        picture: bool,
        adapter: bool,
    ):
        super().__init__()
        self.norm1, self.conv1 = _norm(channels), nn.Conv2d(channels, out, 3, padding=1)
        self.modulation = nn.Linear(width, 2 * out)
        self.norm2, self.conv2 = _norm(out), nn.Conv2d(out, out, 3, padding=1)
        self.skip = nn.Conv2d(channels, out, 1) if channels != out else nn.Identity()
        self.look = (
            Look(out, width, heads, context=context, picture=picture, adapter=adapter)
            if attend
            else None
        )

    def forward(self, x: Tensor, scene: Scene) -> Tensor:
        y = self.conv1(functional.silu(self.norm1(x)))
        scale, shift = self.modulation(functional.silu(scene.vector))[..., None, None].chunk(
            2, dim=1
        )
        y = self.skip(x) + self.conv2(functional.silu(self.norm2(y) * (1 + scale) + shift))
        return y if self.look is None else self.look(y, scene)


class Look(nn.Module):
    """Attention inside of a frame, then to words, to a picture and to the first frame."""

    def __init__(
        self, dim: int, width: int, heads: int, *, context: bool, picture: bool, adapter: bool
    ):
        super().__init__()
        self.head = dim // heads
        self.norm, self.attention = nn.RMSNorm(dim), Attention(dim, heads)
        self.norm_context = nn.RMSNorm(dim) if context or picture else None
        self.context = Attention(dim, heads, width) if context else None
        self.picture = Attention(dim, heads, width) if picture else None
        self.adapter = FirstFrame(dim, heads) if adapter else None
        self.norm_mlp, self.mlp = nn.RMSNorm(dim), SwiGLU(dim)

    def forward(self, x: Tensor, scene: Scene) -> Tensor:
        size = x.shape[2:]
        x = x.flatten(2).transpose(1, 2)
        angles = rotary_angles(grid_positions(tuple(size), x.device), self.head)
        y = self.norm(x)
        x = x + self.attention(y, angles=angles)
        if self.adapter is not None:
            x = x + self.adapter(y, scene)
        if self.norm_context is not None:
            x = x + self._read(self.norm_context(x), scene)
        x = x + self.mlp(self.norm_mlp(x))
        return x.transpose(1, 2).unflatten(2, size)

    def _read(self, y: Tensor, scene: Scene) -> Tensor:
        """Words and picture are read apart, so that each has a weight of its own."""
        made = torch.zeros_like(y)
        if self.context is not None:
            made = made + self.context(y, scene.context, mask=_keys(scene.context_mask))
        if self.picture is not None:
            seen = self.picture(y, scene.picture, mask=_keys(scene.picture_mask))
            made = made + scene.picture_scale * seen
        return made


class FirstFrame(nn.Module):
    """Every frame looks at the first one; nothing changes at the start."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.attention = Attention(dim, heads)
        _silent(self.attention.out)

    def forward(self, x: Tensor, scene: Scene) -> Tensor:
        first = x.unflatten(0, (-1, scene.frames))[:, :1].expand(-1, scene.frames, -1, -1)
        return self.attention(x, first.flatten(0, 1))


class TemporalLayer(nn.Module):
    """One look along time: a convolution, a mixer of `zoo.layers.mixers`, or a swap.

    `swap` lets the features after time look at those before, or the other way round (`turned`),
    inside of each frame. With `directed` nothing sees what comes later. `extended` layers have more
    weights for longer clips: a convolution and places of their own.
    """

    def __init__(
        self, kind: str, dim: int, heads: int, *, directed: bool, turned: bool, extended: bool
    ):
        super().__init__()
        if kind not in ("conv", "swap", *MIXERS):
            raise UsageError(
                f"no temporal layer is called {kind!r}",
                allowed=", ".join(("conv", "swap", *MIXERS)),
            )
        self.kind, self.directed, self.turned = kind, directed, turned
        self.norm = nn.RMSNorm(dim)
        self.places = Places(1, dim)
        if kind == "conv":
            self.inner: nn.Module = nn.Conv1d(dim, dim, 3)
        elif kind == "swap":
            self.inner = Attention(dim, heads, dim)
        else:
            sizes = SimpleNamespace(dim=dim, heads=heads, shared_heads=0, window=8)
            self.inner = MIXERS[kind](sizes)
        self.leave = nn.Linear(dim, dim)
        _silent(self.leave)
        self.extension = Extension(dim) if extended else None

    def forward(self, x: Tensor, before: Tensor, scene: Scene) -> Tensor:
        """Features `(B * T, C, H, W)` after what `before` was before the last layer along time."""
        if self.kind == "swap":
            asks, answers = (before, x) if self.turned else (x, before)
            y = self.inner(self.norm(_pixels(asks)), self.norm(_pixels(answers)))
            return x + self.leave(y).transpose(1, 2).view_as(x)
        lines, valid = _lines(x, scene)
        if self.extension is not None:
            lines = lines + self.extension(lines, valid)
        y = self.leave(self._along(lines, valid))
        return _unlined(lines + y * valid.unsqueeze(-1), x, scene)

    def _along(self, lines: Tensor, valid: Tensor) -> Tensor:
        positions = torch.arange(lines.shape[1], device=lines.device).unsqueeze(1)
        y = self.norm(lines) + self.places(positions)
        if self.kind == "conv":
            return _convolved(self.inner, y, valid, 2 if self.directed else 1)
        some = None if bool(valid.all()) else valid
        view = View(positions, (lines.shape[1],), self.directed, valid=some)
        return self.inner(y, view, None)


class Extension(nn.Module):
    """What longer clips need besides the layers of short ones; silent at the start."""

    def __init__(self, dim: int):
        super().__init__()
        self.norm, self.places = nn.RMSNorm(dim), Places(1, dim)
        self.conv = nn.Conv1d(dim, dim, 3)
        _silent(self.conv)

    def forward(self, lines: Tensor, valid: Tensor) -> Tensor:
        positions = torch.arange(lines.shape[1], device=lines.device).unsqueeze(1)
        return _convolved(self.conv, self.norm(lines) + self.places(positions), valid, 1)


def _convolved(conv: nn.Module, y: Tensor, valid: Tensor, front: int) -> Tensor:
    y = (y * valid.unsqueeze(-1)).transpose(1, 2)
    return conv(functional.pad(y, (front, 2 - front))).transpose(1, 2)


def _lines(x: Tensor, scene: Scene) -> tuple[Tensor, Tensor]:
    """Features as one sequence in time for each place, (B * H * W, T, C), and what is valid."""
    by_place = x.unflatten(0, (-1, scene.frames)).permute(0, 3, 4, 1, 2)
    places = by_place.shape[1] * by_place.shape[2]
    return by_place.flatten(0, 2), scene.valid.repeat_interleave(places, 0)


def _unlined(lines: Tensor, like: Tensor, scene: Scene) -> Tensor:
    size = (len(like) // scene.frames, *like.shape[2:])
    return lines.unflatten(0, size).permute(0, 3, 4, 1, 2).flatten(0, 1)


def _pixels(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


def _keys(mask: Tensor | None) -> Tensor | None:
    return None if mask is None else mask[:, None, None, :]


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(max(1, min(32, channels // 8)), channels)


def _silent(layer: nn.Linear | nn.Conv1d) -> None:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
