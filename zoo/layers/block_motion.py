"""Motion vectors of blocks from pixels, as a video codec finds them, and frames moved by vectors.

vectors = block_motion(x, block=16, reach=7)      # (B, T-1, H/16, W/16, 2): rows, columns
following = warp(x[:, :, 0], vectors[:, 0])       # frame 1, as far as blocks of frame 0 make it
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["block_motion", "warp"]


@torch.no_grad()
def block_motion(x: Tensor, block: int, reach: int) -> Tensor:
    """For each block of each frame but the first: where in the frame before it looks most alike.

    Offsets of up to `reach` pixels, (rows, columns), found by exhaustive search; of equal ones the
    shortest, so that still and flat blocks have none. Beyond the border the frame goes on as there.
    """
    now, before = x[:, :, 1:].transpose(1, 2), x[:, :, :-1].transpose(1, 2)
    batch, frames, _, rows, columns = now.shape
    now, before = now.flatten(0, 1), before.flatten(0, 1)
    wide = functional.pad(before, (reach,) * 4, mode="replicate")
    offsets = _offsets(reach)
    best: Tensor | None = None
    chosen = torch.zeros((), dtype=torch.long)
    for number, (down, right) in enumerate(offsets):
        moved = wide[..., reach + down :, reach + right :][..., :rows, :columns]
        cost = functional.avg_pool2d((now - moved).abs().mean(dim=1, keepdim=True), block)
        if best is None:
            best, chosen = cost, torch.zeros_like(cost, dtype=torch.long)
            continue
        better = cost < best
        best = torch.where(better, cost, best)
        chosen = torch.where(better, number, chosen)
    vectors = torch.tensor(offsets, dtype=x.dtype, device=x.device)[chosen.squeeze(1)]
    return vectors.unflatten(0, (batch, frames))


def warp(frame: Tensor, vectors: Tensor) -> Tensor:
    """`frame (B, C, H, W)` with every block taken from where `vectors (B, h, w, 2)` point."""
    rows, columns = frame.shape[-2:]
    flow = vectors.movedim(-1, 1)
    flow = functional.interpolate(flow, size=(rows, columns), mode="nearest").movedim(1, -1)
    y = torch.arange(rows, device=frame.device)[:, None] + flow[..., 0]
    x = torch.arange(columns, device=frame.device) + flow[..., 1]
    grid = torch.stack([(2 * x + 1) / columns - 1, (2 * y + 1) / rows - 1], dim=-1)
    return functional.grid_sample(
        frame, grid.to(frame.dtype), padding_mode="border", align_corners=False
    )


def _offsets(reach: int) -> list[tuple[int, int]]:
    """All offsets, the shortest first."""
    steps = range(-reach, reach + 1)
    every = [(down, right) for down in steps for right in steps]
    return sorted(every, key=lambda offset: (offset[0] ** 2 + offset[1] ** 2, offset))
