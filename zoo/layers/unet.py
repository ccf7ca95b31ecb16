"""U-Nets for clips: an image U-Net over all frames, with layers along time between its own.

The way down halves the size of pictures, and the length where asked; the way up brings both back
and meets what the way down left. Without temporal layers this is an image model. A `Control` is a
second way down over a guiding clip; what it leaves is added to what the first one left.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.errors import UsageError
from zoo.layers.unet_blocks import PictureLayer, Scene, TemporalLayer

__all__ = ["Control", "Unet", "UnetConfig"]


@dataclass(frozen=True)
class UnetConfig:
    """Widths of the levels as multiples of `dim`; levels in `attend` look around and read.

    `temporal` are the layers along time after each layer of a picture; none makes an image model.
    `halve_time` are the levels after which the length is halved too. `adapter` lets every frame
    look at the first one.
    """

    dim: int = 64
    widths: tuple[int, ...] = (1, 2)
    blocks: int = 1
    heads: int = 2
    attend: tuple[int, ...] = (1,)
    temporal: tuple[str, ...] = ()
    directed: bool = False
    extended: bool = False
    adapter: bool = False
    halve_time: tuple[int, ...] = ()

    @property
    def width(self) -> int:
        """Of the vector that all layers are told the time by."""
        return 2 * self.dim

    @property
    def levels(self) -> list[int]:
        return [self.dim * width for width in self.widths]

    def check(self, grid: tuple[int, ...]) -> None:
        """Refuse pictures that cannot be halved so often."""
        part = 2 ** (len(self.widths) - 1)
        if len(grid) != 3 or grid[1] % part or grid[2] % part:
            raise UsageError(
                f"a grid of {grid} cannot be halved {len(self.widths) - 1} times",
                allowed=f"(frames, rows, columns), rows and columns multiples of {part}",
            )
        if self.directed and self.halve_time:
            raise UsageError(
                "frames that are merged see what comes later", allowed="directed or halve_time"
            )


@dataclass(frozen=True)
class Reads:
    """What the layers of a U-Net can read besides the vector."""

    context: bool = False
    picture: bool = False


class Unit(nn.Module):
    """A layer of a picture, and the layers along time that follow."""

    def __init__(self, channels: int, out: int, level: int, config: UnetConfig, reads: Reads):
        super().__init__()
        self.picture = PictureLayer(
            channels,
            out,
            config.width,
            config.heads,
            attend=level in config.attend,
            context=reads.context,
            picture=reads.picture,
            adapter=config.adapter,
        )
        self.temporal = nn.ModuleList(
            TemporalLayer(
                kind,
                out,
                config.heads,
                directed=config.directed,
                turned=bool(level % 2),
                extended=config.extended and index == 0,
            )
            for index, kind in enumerate(config.temporal)
        )

    def forward(self, x: Tensor, scene: Scene) -> Tensor:
        before = x = self.picture(x, scene)
        for layer in self.temporal:
            before, x = x, layer(x, before, scene)
        return x


class Down(nn.Module):
    """The way down: what it leaves at every step, and the scene at the bottom."""

    def __init__(self, channels: int, config: UnetConfig, reads: Reads):
        super().__init__()
        self.halve_time = config.halve_time
        self.enter = nn.Conv2d(channels, config.dim, 3, padding=1)
        self.levels, self.halves = nn.ModuleList(), nn.ModuleList()
        now = config.dim
        for level, width in enumerate(config.levels):
            units = [
                Unit(now if i == 0 else width, width, level, config, reads)
                for i in range(config.blocks)
            ]
            self.levels.append(nn.ModuleList(units))
            if level + 1 < len(config.levels):
                self.halves.append(nn.Conv2d(width, width, 3, 2, 1))
            now = width

    @staticmethod
    def left(config: UnetConfig) -> list[int]:
        """Channels of what is left at every step."""
        made = [config.dim]
        for level, width in enumerate(config.levels):
            made += [width] * (config.blocks + (level + 1 < len(config.levels)))
        return made

    def forward(self, x: Tensor, scene: Scene) -> tuple[list[Tensor], list[Scene]]:
        x = self.enter(x)
        left, scenes = [x], [scene]
        for level, units in enumerate(self.levels):
            for unit in units:
                x = unit(x, scenes[-1])
                left.append(x)
            if level < len(self.halves):
                x = self.halves[level](x)
                scene = scenes[-1]
                if level in self.halve_time:
                    x = x.unflatten(0, (-1, scene.frames // 2, 2)).mean(2).flatten(0, 1)
                    scene = scene.halved()
                left.append(x)
                scenes.append(scene)
        return left, scenes


class Unet(nn.Module):
    """Clips `(B * T, channels, H, W)` to clips of `out` channels."""

    def __init__(self, channels: int, out: int, config: UnetConfig, reads: Reads):
        super().__init__()
        self.config = config
        self.down = Down(channels, config, reads)
        now = config.levels[-1]
        self.middle = Unit(now, now, len(config.levels) - 1, config, reads)
        self.levels, self.doubles = nn.ModuleList(), nn.ModuleList()
        left = Down.left(config)
        for level in reversed(range(len(config.levels))):
            width, units = config.levels[level], []
            for _ in range(config.blocks + 1):
                units.append(Unit(now + left.pop(), width, level, config, reads))
                now = width
            self.levels.append(nn.ModuleList(units))
            if level:
                self.doubles.append(nn.Conv2d(width, width, 3, padding=1))
        self.norm = nn.GroupNorm(1, now)
        self.leave = nn.Conv2d(now, out, 3, padding=1)

    def forward(self, x: Tensor, scene: Scene, control: list[Tensor] | None = None) -> Tensor:
        """`control` has a residual for everything that the way down leaves."""
        left, scenes = self.down(x, scene)
        if control is not None:
            left = [own + added for own, added in zip(left, control, strict=True)]
        x = self.middle(left[-1], scenes[-1])
        for step, units in enumerate(self.levels):
            level = len(self.levels) - 1 - step
            for unit in units:
                x = unit(torch.cat([x, left.pop()], dim=1), scenes[level])
            if level:
                if level - 1 in self.config.halve_time:
                    frames = scenes[level].frames
                    x = x.unflatten(0, (-1, frames)).repeat_interleave(2, 1).flatten(0, 1)
                x = self.doubles[step](functional.interpolate(x, scale_factor=2.0))
        return self.leave(functional.silu(self.norm(x)))


class Control(nn.Module):
    """A guiding clip to residuals for all that a U-Net's way down leaves; zeros at the start."""

    def __init__(self, channels: int, config: UnetConfig, reads: Reads):
        super().__init__()
        self.down = Down(channels, config, reads)
        self.leave = nn.ModuleList(nn.Conv2d(c, c, 1) for c in Down.left(config))
        for layer in self.leave:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, scene: Scene) -> list[Tensor]:
        left, _ = self.down(x, scene)
        return [leave(part) for leave, part in zip(self.leave, left, strict=True)]
