"""What a worker does with a unit: read, encode, decode a sample again. Knows nothing of Ray.

Frames are decoded in a guarded child process while the model encodes the windows before them, a
few windows ahead and no more. Windows are encoded one by one: ids depend on nothing but the window.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from catalogs.catalog import Catalog
from catalogs.query import Session
from catalogs.storage import local_copy
from curation.jobs.outcome import Problem
from curation.jobs.settings import Limits
from curation.media.guard import GuardedWorker
from tokenize_jobs.plan import Unit
from tokenize_jobs.read import read_windows
from tokenize_jobs.shards import Window
from tokenize_jobs.takes import FEATURES, take_windows
from tokenize_jobs.transform import Transform

if TYPE_CHECKING:
    from torch import Tensor

    from zoo.tokenizer import Tokenizer

__all__ = ["Encoded", "TokenWorker", "as_input", "round_trip_error"]

AHEAD = 4
"""Windows that wait for the model."""

SAMPLED_EVERY = 16
"""The windows of one clip of so many, and the first of a unit, are decoded again, so that shards
tell what they are worth."""

Item = tuple[Window, NDArray[Any]]


@dataclass(slots=True)
class Encoded:
    """What came of a unit."""

    rows: list[tuple[Window, dict[str, NDArray[Any]]]] = field(default_factory=list)
    quality: list[float] = field(default_factory=list)
    """Of the sampled windows: PSNR in dB of pictures, MPJPE in mm of motion."""
    problems: list[Problem] = field(default_factory=list)
    frames: int = 0
    seconds: dict[str, float] = field(default_factory=dict)


class TokenWorker:
    """Encodes units with one tokenizer. `catalog` is where the motion of takes is read."""

    def __init__(self, model: str, transform: Transform, catalog: str, limits: Limits):
        self._model_name = model
        self._transform = transform
        self._catalog = catalog
        self._limits = limits

    def ready(self) -> str:
        """Load the model; its spec hash tells that all workers have the same."""
        return self._model.spec.hash

    def work(self, unit: Unit) -> Encoded:
        """Encode the windows of a unit; what cannot be read is a problem, the rest is kept."""
        done = Encoded(seconds={"waiting": 0.0, "encoding": 0.0, "checking": 0.0})
        try:
            with self._items(unit) as items:
                for window, values in _timed(items, done.seconds, "waiting"):
                    self._encode(window, values, done)
        except Exception as error:  # the file's fault or ours: the others go on
            done.problems.append(
                Problem.of(
                    error,
                    unit.source.uri,
                    stage="tokenize",
                    source_id=unit.source.source_id,
                    size=unit.source.bytes,
                )
            )
        return done

    def _encode(self, window: Window, values: NDArray[Any], done: Encoded) -> None:
        began = time.perf_counter()
        x = as_input(values)
        tokens = self._model.encode(x)
        arrays = {name: value[0].cpu().numpy() for name, value in tokens.streams.items()}
        encoded = time.perf_counter()
        done.seconds["encoding"] += encoded - began
        done.rows.append((window, arrays))
        done.frames += window.frames
        if not done.quality or int(window.clip_id[:8], 16) % SAMPLED_EVERY == 0:
            back = self._model.decode(tokens).float().cpu()
            done.quality.append(round_trip_error(x, back, self._transform))
            done.seconds["checking"] += time.perf_counter() - encoded

    @contextmanager
    def _items(self, unit: Unit) -> Iterator[Iterator[Item]]:
        if unit.clips:
            yield self._take_items(unit)
            return
        with local_copy(unit.source.uri) as path, _ahead(self._frames(unit, str(path))) as items:
            yield items

    def _take_items(self, unit: Unit) -> Iterator[Item]:
        with Session(Catalog.open(self._catalog), cutting="-") as session:
            for clip in unit.clips:
                present = unit.done.get(clip.clip_id, set())
                for item in take_windows(session, clip, self._transform):
                    if item.window.index not in present:
                        yield item.window, item.values

    def _frames(self, unit: Unit, path: str) -> Iterator[Item]:
        source = unit.source
        wanted = [pts for _, pts in unit.windows]
        for number, frames in self._guard.stream(
            read_windows,
            path,
            wanted,
            self._transform,
            source.size,
            source.frame_ticks(),
            wall_s=self._limits.wall_s,
        ):
            yield unit.windows[number][0], frames

    @cached_property
    def _guard(self) -> GuardedWorker:
        return GuardedWorker(memory_mb=self._limits.memory_mb)

    @cached_property
    def _model(self) -> Tokenizer:
        import torch

        from zoo.hub import load

        if torch.cuda.is_available():
            return load(self._model_name).to("cuda")
        torch.set_num_threads(1)  # there is a worker for each CPU
        return load(self._model_name)


def as_input(values: NDArray[Any]) -> Tensor:
    """A window as a batch of one: pictures to -1..1 as BCTHW, features as they are."""
    import torch

    if values.dtype == np.uint8:
        pictures = torch.from_numpy(values).permute(3, 0, 1, 2)
        return pictures[None].float() / 127.5 - 1
    return torch.from_numpy(values)[None]


def round_trip_error(x: Tensor, back: Tensor, transform: Transform) -> float:
    """PSNR in dB of pictures; MPJPE in mm of takes."""
    import torch

    from zoo.metrics import MPJPE, psnr

    if not transform.features:
        return float(psnr(x, back)[0])
    joints = FEATURES[transform.features].joints
    pair = [
        torch.from_numpy(np.ascontiguousarray(joints(value[0].double().numpy())))[None]
        for value in (x, back)
    ]
    metric = MPJPE()
    metric.update(*pair)
    return metric.compute().value


def _timed(items: Iterator[Item], seconds: dict[str, float], stage: str) -> Iterator[Item]:
    while True:
        began = time.perf_counter()
        item = next(items, None)
        seconds[stage] += time.perf_counter() - began
        if item is None:
            return
        yield item


@contextmanager
def _ahead(items: Iterator[Item]) -> Iterator[Iterator[Item]]:
    """The same items, fetched by a thread while the ones before them are worked on."""
    waiting: queue.Queue[Item | BaseException | None] = queue.Queue(AHEAD)
    stopped = threading.Event()

    def put(item: Item | BaseException | None) -> bool:
        while not stopped.is_set():
            try:
                waiting.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def fetch() -> None:
        try:
            for item in items:
                if not put(item):
                    return
            put(None)
        except BaseException as error:  # handed to the consumer, whatever it is
            put(error)

    def given() -> Iterator[Item]:
        while (item := waiting.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    thread = threading.Thread(target=fetch, daemon=True)
    thread.start()
    try:
        yield given()
    finally:
        stopped.set()
        thread.join()
