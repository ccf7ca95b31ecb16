"""Where training clips come from: endless, the same for a seed, and resumable at any clip.

A `Feed` is what the loop reads: clips in the tokenizer's layout without the batch axis. `Clips`
makes one of any sequence of arrays: the clip at position p is a function of (seed, p) alone, so its
state is a number, several workers share one order, and a resumed run reads what it would have read.

    Clips(arrays, Window(17, size=64), seed=1)                  # from memory
    Clips(FolderArrays("features"), Window(64))                 # .npy and .npz files
    Clips(ReadFiles(paths, read_video), Window(17, size=128))   # any files, by the caller's reader

Footage is uint8 (T, H, W, 3) and comes out as floats (3, T, H, W) in -1..1. Motion is float
(T, D) or (T, J, C) and comes out cut in time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from zoo.errors import InputError, NotFoundError

__all__ = ["Clips", "Feed", "FolderArrays", "ReadFiles", "Window", "shuffled"]

Array = npt.NDArray[Any]


class Feed(Protocol):
    """Endless clips that know where they are."""

    def __iter__(self) -> Iterator[Tensor]:
        """Clips from the current position on."""

    def state_dict(self) -> dict[str, Any]:
        """JSON values from which `load_state_dict` continues after the clip yielded last."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken, also when it was taken with more or fewer workers."""

    def shard(self, rank: int, world: int) -> Feed:
        """The feed of one of several workers: of every `world` clips, the one at `rank`."""


@dataclass(frozen=True)
class Window:
    """What is cut out of an array, at a random place."""

    frames: int
    size: int | None = None
    """Rows and columns of a square crop of footage; None keeps whole frames."""
    stride: int = 1
    """Take every n-th frame."""
    flip: bool = False
    """Mirror half of the footage left to right."""

    def cut(self, array: Array, rng: np.random.Generator) -> Tensor:
        """One clip of `array` as the tokenizer takes it."""
        reach = (self.frames - 1) * self.stride + 1
        if len(array) < reach:
            raise InputError(
                f"a window of {reach} frames does not fit into {len(array)}",
                hint="leave short clips out, or choose fewer frames or a smaller stride",
            )
        start = int(rng.integers(len(array) - reach + 1))
        clip = array[start : start + reach : self.stride]
        return self._footage(clip, rng) if clip.ndim == 4 else torch.tensor(clip).float()

    def _footage(self, clip: Array, rng: np.random.Generator) -> Tensor:
        if clip.dtype != np.uint8:
            raise InputError(f"footage is {clip.dtype}", allowed="uint8 of shape (T, H, W, 3)")
        if self.size:
            clip = _crop(clip, self.size, rng)
        if self.flip and rng.random() < 0.5:
            clip = clip[:, :, ::-1]
        pixels = torch.from_numpy(np.ascontiguousarray(clip.transpose(3, 0, 1, 2)))
        return pixels.float() / 127.5 - 1


class Clips:
    """Random windows of arrays, in an order that a seed decides."""

    def __init__(
        self,
        arrays: Sequence[Array],
        window: Window,
        *,
        seed: int = 0,
        weights: Sequence[float] | None = None,
    ):
        if not len(arrays):
            raise NotFoundError("there is nothing to train on", allowed="one array or more")
        self.arrays, self.window, self.seed = arrays, window, seed
        self.weights = None if weights is None else np.cumsum(weights) / np.sum(weights)
        self.seen, self.rank, self.world = 0, 0, 1

    def __iter__(self) -> Iterator[Tensor]:
        while True:
            position = self.seen + self.rank
            self.seen += self.world
            yield self.clip(position)

    def clip(self, position: int) -> Tensor:
        """The clip at a position of the endless order."""
        rng = np.random.default_rng((self.seed, position))
        return self.window.cut(self.arrays[self._choice(position, rng)], rng)

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen, "seed": self.seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seen, self.seed = state["seen"], state["seed"]

    def shard(self, rank: int, world: int) -> Self:
        feed = type(self)(self.arrays, self.window, seed=self.seed)
        feed.weights = self.weights
        feed.seen, feed.rank, feed.world = self.seen, rank, world
        return feed

    def _choice(self, position: int, rng: np.random.Generator) -> int:
        """Each array once an epoch; with weights, drawn at random."""
        if self.weights is not None:
            return int(np.searchsorted(self.weights, rng.random(), side="right"))
        epoch, place = divmod(position, len(self.arrays))
        return int(shuffled(len(self.arrays), self.seed, epoch)[place])


class FolderArrays(Sequence[Array]):
    """The arrays of a folder's .npy files (memory-mapped) and .npz files (`key`), by name."""

    def __init__(self, folder: str | Path, key: str = "clip"):
        paths = Path(folder).rglob("*.np[yz]")
        self.paths = sorted(path for path in paths if path.is_file())
        self.key = key
        if not self.paths:
            raise NotFoundError(f"{folder} holds no arrays", allowed=".npy or .npz files")

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Any) -> Any:
        path = self.paths[index]
        if path.suffix == ".npy":
            return np.load(path, mmap_mode="r", allow_pickle=False)
        with np.load(path, allow_pickle=False) as arrays:
            if self.key not in arrays:
                raise NotFoundError(f"{path} has no {self.key!r}", allowed=", ".join(arrays))
            return arrays[self.key]


class ReadFiles(Sequence[Array]):
    """Files as arrays, by a function of the caller; the last `cached` ones stay in memory."""

    def __init__(self, paths: Sequence[Path], read: Callable[[Path], Array], *, cached: int = 8):
        self.paths = list(paths)
        self._read = lru_cache(maxsize=cached)(read)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Any) -> Any:
        return self._read(self.paths[index])


@lru_cache(maxsize=4)
def shuffled(count: int, seed: int, epoch: int) -> Array:
    """The order of an epoch."""
    return np.random.default_rng((seed, epoch, count)).permutation(count)


def _crop(clip: Array, size: int, rng: np.random.Generator) -> Array:
    rows, columns = clip.shape[1:3]
    if min(rows, columns) < size:
        raise InputError(f"a crop of {size} does not fit into frames of {rows}x{columns}")
    top, left = int(rng.integers(rows - size + 1)), int(rng.integers(columns - size + 1))
    return clip[:, top : top + size, left : left + size]
