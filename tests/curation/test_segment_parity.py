"""The ported detectors give scenedetect's cuts on the same small frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scenedetect import FrameTimecode, SceneDetector
from scenedetect.detectors import (
    AdaptiveDetector,
    ContentDetector,
    HashDetector,
    HistogramDetector,
    ThresholdDetector,
)

from catalogs.testing import Dissolve, Fade, Shot, render_video
from curation.media.decode import read_sequential
from curation.segment import run_detector
from curation.signals import VideoMeter, VideoSignals, small_size

Frames = NDArray[np.uint8]
Case = tuple[str, Callable[[], SceneDetector], dict[str, Any]]

WEIGHTS = (1.0, 0.5, 1.0, 0.2)


def cases() -> Iterator[Case]:
    """Detector, scenedetect's own, and our options."""
    for threshold in (27.0, 12.5, 5.0):
        for least in (0, 1, 5, 15, 40):
            yield (
                "content",
                lambda t=threshold, m=least: ContentDetector(t, min_scene_len=m),
                {"threshold": threshold, "min_frames": least},
            )
    yield (
        "content",
        lambda: ContentDetector(20, 3, ContentDetector.Components(*WEIGHTS)),
        {"threshold": 20, "min_frames": 3, "weights": WEIGHTS},
    )
    for threshold in (3.0, 1.4):
        for least in (0, 15):
            for window in (1, 2, 4):
                yield (
                    "adaptive",
                    lambda t=threshold, m=least, w=window: AdaptiveDetector(t, m, w, 8.0),
                    {
                        "threshold": threshold,
                        "min_frames": least,
                        "window": window,
                        "min_content": 8.0,
                    },
                )
    for threshold in (0.35, 0.1):
        for least in (0, 1, 15):
            options = {"threshold": threshold, "min_frames": least}
            yield (
                "hash",
                lambda t=threshold, m=least: HashDetector(t, min_scene_len=m),
                options,
            )
            yield (
                "histogram",
                lambda t=threshold, m=least: HistogramDetector(t, 128, m),
                options,
            )
    for threshold in (12, 60):
        for least, out, bias, final in ((0, 0, 0.0, False), (15, 0, 0.0, True), (1, 5, -1.0, True)):
            yield (
                "threshold",
                lambda t=threshold, m=least, o=out, b=bias, f=final: ThresholdDetector(
                    t, m, b, f, min_out_length=o
                ),
                {
                    "threshold": threshold,
                    "min_frames": least,
                    "min_out_frames": out,
                    "fade_bias": bias,
                    "add_final": final,
                },
            )
    yield (
        "threshold",
        lambda: ThresholdDetector(100, 1, method=ThresholdDetector.Method.CEILING),
        {"threshold": 100, "min_frames": 1, "from_white": True},
    )


def cuts_of_scenedetect(detector: SceneDetector, frames: Frames) -> list[int]:
    found = []
    for index, frame in enumerate(frames):
        bgr = np.ascontiguousarray(frame[..., ::-1])
        found += detector.process_frame(FrameTimecode(index, 25.0), bgr)
    found += detector.post_process(FrameTimecode(len(frames) - 1, 25.0))
    return [at.frame_num for at in found]


def small_frames(path: Path, most: int = 400) -> Frames:
    with read_sequential(path, short_side=144) as reader:
        images = np.concatenate([batch.images for batch in reader])[:most]
    height, width = images.shape[1:3]
    cols, rows = small_size(width, height)
    picked_rows = np.linspace(0, height - 1, rows).astype(int)
    picked_cols = np.linspace(0, width - 1, cols).astype(int)
    return np.ascontiguousarray(images[:, picked_rows][:, :, picked_cols])


def measured(frames: Frames) -> VideoSignals:
    meter = VideoMeter(frames.shape[2], frames.shape[1], Fraction(1, 25), edges=True)
    meter.update(np.arange(len(frames)), frames)
    return meter.finish()


def assert_same_cuts(frames: Frames) -> int:
    """Compare all cases; the number of cuts that were compared."""
    signals, compared = measured(frames), 0
    for name, theirs, options in cases():
        expected = cuts_of_scenedetect(theirs(), frames)
        found = [boundary.frame for boundary in run_detector(name, signals, options)]
        assert found == expected, (name, options)
        compared += len(expected)
    return compared


@pytest.mark.parametrize("seed", [0, 1])
def test_same_cuts_on_rendered_video(tmp_path: Path, seed: int) -> None:
    shots = [
        Shot("shake", 20),
        Shot("fast_motion", 25, seed=1),
        Shot("black", 8),
        Shot("zoom_in", 30, seed=2, transition=Fade(6), ending=Fade(8)),
        Shot("flash", 30, seed=3, transition=Fade(6)),
        Shot("noise", 4, seed=4),
        Shot("pan_left", 24, seed=5, transition=Dissolve(10)),
        Shot("moving_shapes", 12, seed=6, ending=Fade(6)),
    ]
    truth = render_video(tmp_path / "a.mp4", shots, seed=seed)
    assert assert_same_cuts(small_frames(truth.path)) > 200


@pytest.mark.parametrize("name", ["daft_sample_video.mp4", "arm_wrestling.mp4", "psd_fades.mp4"])
def test_same_cuts_on_real_video(shared_data: Path, name: str) -> None:
    assert assert_same_cuts(small_frames(shared_data / "video" / name)) > 10
