"""Multi-scale residual codes: a coarse grid of ids first, then finer and finer corrections.

VAR, ImageFolder, I2-World's intra tokenizer, VAT (one-dimensional grids). At every scale the
residual is averaged down to that grid, quantized with the one shared codebook, brought back up
and taken off; a small convolution may smooth what was brought up.

Ids of different scales have different grids. They are returned as one flat sequence, coarse to
fine, `(B, *lead, positions)`: it is what a next-scale generator reads, it stores like any row of
ids, and every prefix of it decodes (what is missing counts as no correction). `scales` has the
grids and `split` gives the ids scale by scale. Axes of the latents before those of the grids
(time, for grids of two axes) are kept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.errors import UsageError
from zoo.layers.quantizers._codebook import (
    Codebook,
    CodebookConfig,
    codebook_losses,
    mean_losses,
)
from zoo.layers.quantizers.base import (
    Quantizer,
    RawQuantized,
    projection,
    setting,
    straight_through,
)

__all__ = ["MultiScale", "MultiScaleQuantizer"]

_UPWARD = {1: "linear", 2: "bilinear", 3: "trilinear"}


@dataclass(frozen=True, kw_only=True)
class MultiScale(CodebookConfig, kind="multiscale"):
    scales: tuple[tuple[int, ...], ...] = ((1, 1), (2, 2), (4, 4))
    """Grids from coarse to fine, all of one, two or three axes; the last is that of the latents."""
    upward: str = "linear"
    """How a coarse grid is brought up: linear or nearest."""
    smoothing: float = setting(0.5, least=0.0, most=1.0)
    """Part that passes through a learned convolution after it was brought up; 0: none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        axes = {len(grid) for grid in self.scales}
        if len(axes) != 1 or not axes <= set(_UPWARD) or min(map(min, self.scales)) < 1:
            raise UsageError(
                f"multiscale.scales is {self.scales}",
                allowed="grids of the same one to three axes, each at least 1",
            )
        if self.upward not in ("linear", "nearest"):
            raise UsageError(
                f"multiscale.upward is {self.upward!r}", allowed="'linear' or 'nearest'"
            )


class MultiScaleQuantizer(Quantizer):
    """See the module. `levels` in `decode` counts scales."""

    nested = True

    def __init__(self, config: MultiScale) -> None:
        super().__init__(config)
        self.levels = (config.size,)
        self.scales = config.scales
        self.axes = len(config.scales[0])
        self.upward = _UPWARD[self.axes] if config.upward == "linear" else "nearest"
        self.into = projection(config.dim, config.width)
        self.codebook = Codebook(config)
        self.learned = config.learned or config.smoothing > 0
        smooth = _Smoothing(config.width, self.axes, config.smoothing)
        self.smooth = smooth if config.smoothing else nn.Identity()
        self.out = projection(config.width, config.dim)

    @property
    def positions(self) -> list[int]:
        """Ids at every scale."""
        return [math.prod(grid) for grid in self.scales]

    def split(self, ids: Tensor) -> list[Tensor]:
        """Flat ids, or a prefix of them that ends with a scale, as one grid per scale."""
        lengths = self._lengths(ids.shape[-1])
        if sum(lengths) != sum(self.positions[: len(lengths)]):
            raise UsageError(
                f"{ids.shape[-1]} ids end in the middle of a scale",
                allowed=f"scales of {', '.join(map(str, self.positions))} ids",
            )
        parts = zip(ids.split(lengths, -1), self.scales, strict=False)
        return [part.reshape(*ids.shape[:-1], *grid) for part, grid in parts]

    def _quantize(self, z: Tensor) -> RawQuantized:
        latents = self._folded(self.into(z))
        self.codebook.start(_rows(latents))
        residual, total = latents.detach(), torch.zeros_like(latents)
        rows: list[Tensor] = []
        ids: list[Tensor] = []
        losses: list[dict[str, Tensor]] = []
        for grid in self.scales:
            rows.append(_rows(_down(residual, grid)))
            ids.append(self.codebook.nearest(rows[-1]))
            step = self._up(self.codebook.lookup(ids[-1]), grid)
            total = total + step
            residual = residual - step.detach()
            losses.append(codebook_losses(latents, total, learned=self.learned))
        self.codebook.learn(torch.cat(rows, 1), torch.cat(ids, 1))
        values = self.out(self._unfolded(straight_through(latents, total), z))
        return values, self._flat(ids, z), mean_losses(losses)

    def _encode(self, z: Tensor) -> Tensor:
        residual = self._folded(self.into(z))
        ids = []
        for grid in self.scales:
            ids.append(self.codebook.nearest(_rows(_down(residual, grid))))
            residual = residual - self._up(self.codebook.lookup(ids[-1]), grid)
        return self._flat(ids, z)

    def _decode(self, columns: Tensor) -> Tensor:
        flat = columns.reshape(-1, columns.shape[-1])
        total = torch.zeros((), device=columns.device)
        lengths = self._lengths(flat.shape[-1])
        for ids, grid in zip(flat.split(lengths, -1), self.scales, strict=False):
            missing = math.prod(grid) - ids.shape[-1]
            total = total + self._up(
                functional.pad(self.codebook.lookup(ids), (0, 0, 0, missing)), grid
            )
        values = total.movedim(1, -1)
        return self.out(values.reshape(*columns.shape[:-1], *values.shape[1:]))

    def _up(self, codes: Tensor, grid: tuple[int, ...]) -> Tensor:
        """Codes `(N, positions, width)` of a scale on the finest grid, channels first."""
        coarse = codes.mT.reshape(codes.shape[0], -1, *grid)
        corners = None if self.upward == "nearest" else False
        fine = functional.interpolate(
            coarse, size=self.scales[-1], mode=self.upward, align_corners=corners
        )
        return self.smooth(fine)

    def _folded(self, z: Tensor) -> Tensor:
        """Channels first, with the axes before the grid in the batch."""
        return z.reshape(-1, *z.shape[-1 - self.axes :]).movedim(-1, 1)

    def _unfolded(self, z: Tensor, like: Tensor) -> Tensor:
        return z.movedim(1, -1).reshape(*like.shape[:-1], -1)

    def _flat(self, ids: list[Tensor], like: Tensor) -> Tensor:
        return torch.cat(ids, 1).reshape(*like.shape[: -1 - self.axes], -1)

    def _check_latents(self, z: Tensor) -> None:
        super()._check_latents(z)
        if z.shape[-1 - self.axes : -1] != self.scales[-1] or z.ndim < self.axes + 2:
            raise UsageError(
                f"latents of shape {tuple(z.shape)} for scales that end in {self.scales[-1]}",
                allowed=f"(B, *lead, {', '.join(map(str, self.scales[-1]))}, {self.dim})",
            )

    def _public(self, columns: Tensor) -> Tensor:
        return columns

    def _columns(self, ids: Tensor, levels: int | None) -> Tensor:
        self._check_integer(ids)
        if levels is not None and not 1 <= levels <= len(self.scales):
            raise UsageError(f"{levels} scales", allowed=f"1 to {len(self.scales)}")
        wanted = ids.shape[-1] if levels is None else sum(self.positions[:levels])
        if not 1 <= wanted <= ids.shape[-1] or ids.shape[-1] > sum(self.positions):
            raise UsageError(
                f"{wanted} of {ids.shape[-1]} ids", allowed=f"1 to {sum(self.positions)} ids"
            )
        ids = ids[..., :wanted]
        self._check_range([ids])
        return ids.long()

    def _lengths(self, count: int) -> list[int]:
        """How many of `count` flat ids every scale that has any gets."""
        lengths: list[int] = []
        for positions in self.positions:
            lengths.append(min(positions, count - sum(lengths)))
        return [length for length in lengths if length > 0]


class _Smoothing(nn.Module):
    """A blend of a grid with its convolution over 3 positions an axis, in float32."""

    def __init__(self, width: int, axes: int, part: float) -> None:
        super().__init__()
        self.axes, self.part = axes, part
        self.weight = nn.Parameter(torch.empty(width, width, *[3] * axes))
        self.bias = nn.Parameter(torch.zeros(width))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        convolve = (functional.conv1d, functional.conv2d, functional.conv3d)[self.axes - 1]
        smooth = convolve(x, self.weight.float(), self.bias.float(), padding=1)
        return torch.lerp(x, smooth, self.part)


def _down(x: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Means over the cells of a coarser grid."""
    return x if x.shape[2:] == grid else functional.interpolate(x, size=grid, mode="area")


def _rows(x: Tensor) -> Tensor:
    """`(N, width, *grid)` as `(N, positions, width)`."""
    return x.flatten(2).mT
