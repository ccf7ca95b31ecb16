"""What a run shows: a line on the terminal, `log.jsonl`, TensorBoard, pictures.

`log.jsonl` is always written, one JSON object a line. A run that continues from a checkpoint drops
the lines after it, so every step is there once. TensorBoard is used when its package is there (the
extra `tensorboard`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["Monitor"]

_SHOWN = ("reconstruction", "usage", "steps_per_second", "samples_per_second")


class Monitor:
    """Shows a run while it goes on; only the leading process has one."""

    def __init__(self, folder: Path, step: int, steps: int, *, progress: bool = True):
        self.folder = folder
        self._log = _continued(folder / "log.jsonl", step)
        self._board = _tensorboard(folder / "tensorboard", step)
        self._bar = _bar() if progress else None
        if self._bar:
            self._task = self._bar.add_task("", total=steps, completed=step, shown="")
        self._since = (time.perf_counter(), step)

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()
        if self._board:
            self._board.close()
        self._log.close()

    def log(self, step: int, values: Mapping[str, float], batch: int) -> None:
        """Show and keep the values of the steps since the last call."""
        line = {"step": step, **values, **self._speed(step, batch)}
        self._log.write(json.dumps(line) + "\n")
        if self._board:
            for name, value in line.items():
                self._board.add_scalar(name, value, step)
        if self._bar:
            shown = " ".join(f"{name} {line[name]:.4g}" for name in _SHOWN if name in line)
            self._bar.update(self._task, completed=step, shown=shown)

    def picture(self, step: int, image: Image.Image) -> Path:
        """Keep a picture of originals and reconstructions."""
        path = self.folder / "samples" / f"step-{step:08d}.png"
        path.parent.mkdir(exist_ok=True)
        image.save(path)
        if self._board:
            import numpy as np

            self._board.add_image("samples", np.asarray(image), step, dataformats="HWC")
        return path

    def _speed(self, step: int, batch: int) -> dict[str, float]:
        now = time.perf_counter()
        before, first = self._since
        self._since = (now, step)
        rate = (step - first) / max(now - before, 1e-9)
        return {"steps_per_second": rate, "samples_per_second": rate * batch}


def _bar() -> Progress:
    return Progress(
        TextColumn("training"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[shown]}"),
        console=Console(stderr=True),
    )


def _continued(path: Path, step: int) -> TextIO:
    """The log with its whole lines up to `step`, open for more."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    whole = [line for line in lines if line.endswith("\n")]
    path.write_text("".join(line for line in whole if json.loads(line)["step"] <= step))
    return path.open("a", buffering=1)


def _tensorboard(folder: Path, step: int) -> Any:
    if find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=step + 1)
