"""What a reduction gives, and how reductions are found.

reduced = windows.merge_windows(tokens, ratio=0.7)
reduced.tokens        # (B, M, D)
reduced.index         # (B, T * N) where each token went, -1 where it was dropped
reduced.frames()      # (B, M, T) which frames each of them stands for
reduced.cost(dim)     # what a layer costs after it, as a share of what it cost before
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from zoo.errors import InputError, UsageError

__all__ = [
    "REDUCTIONS",
    "Reduced",
    "Reduction",
    "by_segment",
    "counted",
    "flat",
    "frames_of",
    "gather",
    "grid_of",
    "joined",
    "kept_only",
    "merged",
    "reduces",
    "stacked",
]

T = TypeVar("T", bound=Callable[..., object])


@dataclass(frozen=True)
class Reduced:
    """Tokens that are left, and what became of the others.

    Clips of a batch may be left with different counts: shorter ones are filled up with zeros whose
    weight is zero.
    """

    tokens: Tensor
    """(B, M, D)"""
    weights: Tensor
    """(B, M) what each stands for: how many tokens, or the sum of their weights."""
    index: Tensor | None
    """(B, N) for every token, frame by frame, the one that holds it now, -1 where it was dropped;
    None where learned maps mix all of them."""
    grid: tuple[int, int]
    """Frames and places before."""
    kept: Tensor | None = None
    """(B, M) which token each one is, where tokens were chosen; -1 for those that were made."""

    @property
    def mask(self) -> Tensor:
        """(B, M) True where a token is none of the filling."""
        return self.weights > 0

    @property
    def share(self) -> float:
        """Tokens left, as a share of those before."""
        return self.tokens.shape[1] / (self.grid[0] * self.grid[1])

    def cost(self, dim: int) -> float:
        """Multiplications of a transformer layer of `dim` channels, as a share of those before."""
        before, after = self.grid[0] * self.grid[1], self.tokens.shape[1]
        return _layer(after, dim) / _layer(before, dim)

    def frames(self) -> Tensor:
        """(B, M, T) how many tokens of each frame stand behind each token."""
        if self.index is None:
            raise UsageError(
                "learned maps mix the tokens of all frames",
                allowed="reductions that merge or select",
            )
        frames, places = self.grid
        batch, count = self.tokens.shape[:2]
        times = torch.arange(frames, device=self.index.device).repeat_interleave(places)
        inside = self.index >= 0
        cell = self.index.clamp(min=0) * frames + times
        table = self.weights.new_zeros(batch, count * frames)
        return table.scatter_add(1, cell, inside.to(table)).unflatten(1, (count, frames))

    def pooled(self) -> Tensor:
        """(B, D) the mean, each token with its weight, of length one."""
        total = (self.tokens * self.weights.unsqueeze(-1)).sum(1)
        return functional.normalize(total, dim=-1)

    def then(self, later: Reduced) -> Reduced:
        """Two reductions, one of what the other left, as one."""
        index = kept = None
        if self.index is not None and later.index is not None:
            moved = later.index.gather(1, self.index.clamp(min=0))
            index = torch.where(self.index >= 0, moved, -1)
        if self.kept is not None and later.kept is not None:
            first = self.kept.gather(1, later.kept.clamp(min=0))
            kept = torch.where(later.kept >= 0, first, -1)
        return replace(later, index=index, kept=kept, grid=self.grid)

    def save(self, path: str | Path) -> Path:
        """Write everything to a file of safetensors."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        found = {item.name: getattr(self, item.name) for item in fields(self)}
        tensors = {name: t.contiguous() for name, t in found.items() if isinstance(t, Tensor)}
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        save_file(tensors, part, metadata={"grid": "x".join(map(str, self.grid))})
        part.replace(path)
        return path

    @classmethod
    def load(cls, path: str | Path) -> Reduced:
        """What `save` wrote."""
        with safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            frames, places = map(int, file.metadata()["grid"].split("x"))
        return cls(
            tensors["tokens"],
            tensors["weights"],
            tensors.get("index"),
            (frames, places),
            tensors.get("kept"),
        )


def _layer(tokens: int, dim: int) -> int:
    """Multiplications: projections and MLP (12 dim^2 a token), and attention of all to all."""
    return 12 * tokens * dim * dim + 2 * tokens * tokens * dim


@dataclass(frozen=True)
class Reduction:
    """An entry of `REDUCTIONS`."""

    name: str
    """Its file and its function or class, `merge.merge_to`."""
    make: Callable[..., object]
    serves: tuple[str, ...]


REDUCTIONS: dict[str, Reduction] = {}


def reduces(*serves: str) -> Callable[[T], T]:
    """Put a function or module into `REDUCTIONS`, with the published systems that it is."""

    def register(make: T) -> T:
        name = f"{make.__module__.rpartition('.')[2]}.{make.__name__}"
        REDUCTIONS[name] = Reduction(name, make, serves)
        return make

    return register


def grid_of(tokens: Tensor) -> tuple[int, int]:
    """Frames and places of (B, T, N, D), or of (B, N, D) as one frame."""
    if tokens.dim() not in (3, 4) or not tokens.numel():
        raise InputError(
            f"tokens of shape {tuple(tokens.shape)}",
            allowed="(B, T, N, D) or (B, N, D), at least one of each",
        )
    return (tokens.shape[1], tokens.shape[2]) if tokens.dim() == 4 else (1, tokens.shape[1])


def frames_of(tokens: Tensor) -> Tensor:
    """(B, T, N, D), with one frame where there were none."""
    return tokens.unflatten(1, grid_of(tokens)) if tokens.dim() == 3 else tokens


def flat(tokens: Tensor) -> Tensor:
    """(B, T * N, D)."""
    grid_of(tokens)
    return tokens.flatten(1, 2) if tokens.dim() == 4 else tokens


def counted(count: int, most: int, what: str = "tokens") -> int:
    """`count`, refused outside of 1 to `most`."""
    if not 1 <= count <= most:
        raise UsageError(f"{count} of {most} {what}", allowed=f"1 to {most}")
    return count


def gather(x: Tensor, index: Tensor) -> Tensor:
    """Rows `index` (B, M) of x (B, N, D)."""
    return x.gather(1, index.unsqueeze(-1).expand(-1, -1, x.shape[-1]))


def merged(
    tokens: Tensor, index: Tensor, count: int, weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Weighted means (B, count, D) of the tokens (B, N, D) that `index` sends together.

    Also the sums of weights (B, count). Tokens at -1 are left out.
    """
    weights = tokens.new_ones(tokens.shape[:2]) if weights is None else weights
    weights = weights * (index >= 0)
    to = index.clamp(min=0)
    total = tokens.new_zeros(len(tokens), count).scatter_add(1, to, weights)
    wide = to.unsqueeze(-1).expand_as(tokens)
    sums = tokens.new_zeros(len(tokens), count, tokens.shape[-1])
    sums = sums.scatter_add(1, wide, tokens * weights.unsqueeze(-1))
    return sums / total.clamp(min=1e-12).unsqueeze(-1), total


def kept_only(tokens: Tensor, kept: Tensor) -> Reduced:
    """The tokens `kept` (B, M) and no others."""
    line = flat(tokens)
    index = kept.new_full(line.shape[:2], -1)
    index = index.scatter(1, kept, torch.arange(kept.shape[1], device=kept.device).expand_as(kept))
    return Reduced(gather(line, kept), line.new_ones(kept.shape), index, grid_of(tokens), kept=kept)


def joined(parts: Sequence[Reduced]) -> Reduced:
    """Stretches of a clip that were reduced one by one, in order of time, as one."""
    index, start = [], 0
    for part in parts:
        if part.index is None:
            raise UsageError("learned maps cannot be joined", allowed="merged or selected tokens")
        index.append(torch.where(part.index >= 0, part.index + start, -1))
        start += part.tokens.shape[1]
    return Reduced(
        torch.cat([part.tokens for part in parts], dim=1),
        torch.cat([part.weights for part in parts], dim=1),
        torch.cat(index, dim=1),
        (sum(part.grid[0] for part in parts), parts[0].grid[1]),
    )


def stacked(parts: Sequence[Reduced]) -> Reduced:
    """Clips that were reduced one by one (B 1 each) as one batch, filled up to the longest."""
    most = max(part.tokens.shape[1] for part in parts)

    def filled(x: Tensor, value: int = 0) -> Tensor:
        ends = [0, 0] * (x.dim() - 2) + [0, most - x.shape[1]]
        return functional.pad(x, ends, value=value)

    kept = [part.kept for part in parts if part.kept is not None]
    index = [part.index for part in parts if part.index is not None]
    return Reduced(
        torch.cat([filled(part.tokens) for part in parts]),
        torch.cat([filled(part.weights) for part in parts]),
        torch.cat(index) if len(index) == len(parts) else None,
        parts[0].grid,
        torch.cat([filled(x, -1) for x in kept]) if len(kept) == len(parts) else None,
    )


def by_segment(
    tokens: Tensor,
    frames: int,
    reduce: Callable[[Tensor], Reduced],
    folder: str | Path,
    *,
    key: str,
) -> Iterable[Reduced]:
    """Reduce a clip (B, T, N, D) segment by segment; segments that `folder` holds are read.

    Args:
        frames: of a segment; the last one may be shorter.
        key: names the reduction and its settings: another key is another file.
    """
    for segment in frames_of(tokens).split(frames, dim=1):
        digest = hashlib.sha256(f"{key} {tuple(segment.shape)} {segment.dtype}".encode())
        digest.update(segment.detach().cpu().contiguous().view(torch.uint8).numpy())
        path = Path(folder) / f"{digest.hexdigest()[:32]}.safetensors"
        if not path.exists():
            reduce(segment).save(path)
        yield Reduced.load(path)
