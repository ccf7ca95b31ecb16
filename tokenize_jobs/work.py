"""What a worker does with a unit: read, encode, decode a sample again. Knows nothing of Ray.

Frames are decoded in a guarded child process while the model encodes the windows before them, a
few windows ahead and no more, from one source into the next. Windows are encoded one by one: ids
depend on nothing but the window. There is one decoder and no second try with another: its frames
might be others, and so might the ids.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from catalogs.catalog import Catalog
from catalogs.errors import ClipmillError
from catalogs.query import Session
from catalogs.storage import local_copy
from curation.jobs.meanwhile import meanwhile
from curation.jobs.outcome import Problem
from curation.jobs.settings import Limits
from curation.jobs.work import MOST_KILLS, KilledError
from curation.media.errors import MediaError
from curation.media.guard import GuardedWorker
from tokenize_jobs.ahead import ahead
from tokenize_jobs.clips import ChosenSource
from tokenize_jobs.plan import Unit
from tokenize_jobs.read import read_windows, warm_up
from tokenize_jobs.shards import Window
from tokenize_jobs.takes import FEATURES, take_windows
from tokenize_jobs.transform import Transform

if TYPE_CHECKING:
    from torch import Tensor

    from zoo.tokenizer import Tokenizer

__all__ = [
    "STAGE",
    "Encoded",
    "TokenWorker",
    "as_input",
    "as_shown",
    "problem_of",
    "round_trip_error",
]

AHEAD = 4
"""Windows that wait for the model."""

SAMPLED_EVERY = 128
"""One window of so many, and a worker's first, is decoded again, so that shards tell what they are
worth."""

STAGE = "tokenize"

Item = tuple[Window, NDArray[Any]]


@dataclass(slots=True)
class Encoded:
    """What came of a unit."""

    rows: list[tuple[Window, dict[str, NDArray[Any]]]] = field(default_factory=list)
    quality: list[float] = field(default_factory=list)
    """Of the sampled windows: PSNR in dB of pictures, MPJPE in mm of motion."""
    problems: list[Problem] = field(default_factory=list)
    frames: int = 0
    seconds: dict[str, float] = field(
        default_factory=lambda: {"waiting": 0.0, "encoding": 0.0, "checking": 0.0}
    )


class ChangedError(ClipmillError):
    """A file is not the one that the catalog knows."""


class TokenWorker:
    """Encodes units with one tokenizer. `catalog` is where the motion of takes is read."""

    def __init__(self, model: str, transform: Transform, catalog: str, limits: Limits):
        self._model_name = model
        self._transform = transform
        self._catalog = catalog
        self._limits = limits
        self._sampled = False

    def ready(self) -> str:
        """Load the model, and start the reader, which would otherwise be waited for later."""
        with meanwhile(self._start_reader):
            return self._model.spec.hash

    def _start_reader(self) -> None:
        with suppress(MediaError):  # the first read starts another one, and tells
            self._guard.call(warm_up)

    def work(self, units: Sequence[Unit]) -> list[Encoded]:
        """Encode the windows of each unit; what cannot be read is a problem, the rest goes on."""
        done = [Encoded() for _ in units]
        with ahead(self._items(units), AHEAD) as items:
            began = time.perf_counter()
            for number, item in items:
                waited = time.perf_counter() - began
                done[number].seconds["waiting"] += waited
                self._take(item, units[number], done[number])
                began = time.perf_counter()
        for unit, encoded in zip(units, done, strict=True):
            if encoded.problems and unit.windows:
                encoded.rows.clear()  # a decoder that failed may have gone wrong before
                encoded.frames = 0
        return done

    def _take(self, item: Item | Exception, unit: Unit, done: Encoded) -> None:
        error: Exception | None = None
        if isinstance(item, Exception):
            error = item
        else:
            try:
                self._encode(*item, done)
            except Exception as raised:  # the file's fault or ours: the others go on
                error = raised
        if error is not None and not done.problems:
            done.problems.append(problem_of(error, unit.source))

    def _encode(self, window: Window, values: NDArray[Any], done: Encoded) -> None:
        began = time.perf_counter()
        x = as_input(values)
        tokens = self._model.encode(x)
        arrays = {name: value[0].cpu().numpy() for name, value in tokens.streams.items()}
        encoded = time.perf_counter()
        done.seconds["encoding"] += encoded - began
        done.rows.append((window, arrays))
        done.frames += window.frames
        if not self._sampled or (int(window.clip_id[:8], 16) + window.index) % SAMPLED_EVERY == 0:
            self._sampled = True
            back = self._model.decode(tokens).float().cpu()
            done.quality.append(round_trip_error(x, back, self._transform))
            done.seconds["checking"] += time.perf_counter() - encoded

    def _items(self, units: Sequence[Unit]) -> Iterator[tuple[int, Item | Exception]]:
        """(number of the unit, window) of all units in turn; an error stands for what is lost."""
        takes = any(unit.clips for unit in units)
        stored = Session(Catalog.open(self._catalog), cutting="-") if takes else nullcontext()
        with stored as session:
            for number, unit in enumerate(units):
                try:
                    for item in self._take_items(session, unit) if session else self._frames(unit):
                        yield number, item
                except Exception as error:  # as above
                    yield number, error

    def _take_items(self, session: Session, unit: Unit) -> Iterator[Item | Exception]:
        for clip in unit.clips:
            present = unit.done.get(clip.clip_id, set())
            try:
                windows = take_windows(session, clip, self._transform)
            except Exception as error:  # one clip of a take may lack joints
                yield error
                continue
            for item in windows:
                if item.window.index not in present:
                    yield item.window, item.values

    def _frames(self, unit: Unit) -> Iterator[Item]:
        """Windows as they are decoded. A child that was killed gets a successor for the rest."""
        source, left = unit.source, list(unit.windows)
        with local_copy(source.uri) as path:
            _check_unchanged(path, source)
            for _ in range(MOST_KILLS):
                given: set[int] = set()
                try:
                    for number, frames in self._guard.stream(
                        read_windows,
                        str(path),
                        [pts for _, pts in left],
                        self._transform,
                        source.size,
                        source.frame_ticks(),
                        wall_s=self._limits.wall_s,
                    ):
                        given.add(number)
                        yield left[number][0], frames
                except MediaError as error:
                    if error.signal != "SIGKILL":
                        raise
                    left = [item for number, item in enumerate(left) if number not in given]
                else:
                    return
        raise KilledError(
            f"the decoding process was killed {MOST_KILLS} times",
            hint="look whether the machine runs out of memory, then run again",
        )

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


def as_shown(back: Tensor, values: NDArray[Any]) -> NDArray[Any]:
    """What was decoded of a batch of one, in the form of the window that was encoded."""
    if values.dtype == np.uint8:
        pictures = (back[0].permute(1, 2, 3, 0) + 1) * 127.5
        return np.asarray(pictures.round().clamp(0, 255).cpu().numpy(), np.uint8)
    return np.asarray(back[0].cpu().numpy())


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


def problem_of(error: BaseException, source: ChosenSource) -> Problem:
    """The quarantine row of a source that could not be encoded.

    Its stage is always `tokenize`, so that the rows of curation stay as they are and a later run
    finds its own; where in the work it happened begins the detail.
    """
    found = Problem.of(
        error, source.uri, stage=STAGE, source_id=source.source_id, size=source.bytes
    )
    if found.stage == STAGE:
        return found
    return replace(found, stage=STAGE, detail=f"{found.stage}: {found.detail}")


def _check_unchanged(path: Path, source: ChosenSource) -> None:
    """Refuse a file that is not the one that was measured, as far as its size tells."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise MediaError("open", "missing", error.strerror or str(error)) from error
    if source.bytes and size != source.bytes:
        raise ChangedError(
            f"the file has {size:,} bytes, and had {source.bytes:,} when it was measured",
            hint="bring the old file back, or curate the new one",
        )
