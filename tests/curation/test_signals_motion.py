"""Camera motion of frames that are moved by known amounts."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from curation.signals.motion import motion_columns, whole_shifts

HEIGHT, WIDTH = 28, 48


def moved(dx: float, dy: float, zoom: float = 1.0, turn_deg: float = 0.0) -> NDArray[np.float32]:
    """A textured frame and the same after the picture travels, grows and turns."""
    random = np.random.default_rng(3)
    texture = np.full((HEIGHT * 3, WIDTH * 3), 128, np.float32)
    for blur in (1, 2, 4, 8):
        noise = random.normal(0, 1, texture.shape).astype(np.float32)
        octave = cv2.GaussianBlur(noise, (0, 0), blur)
        texture += octave * (10 * blur / octave.std())
    center = (WIDTH * 1.5 - 0.5, HEIGHT * 1.5 - 0.5)
    warp = cv2.getRotationMatrix2D(center, -turn_deg, zoom)
    warp[:, 2] += (dx, dy)
    after = cv2.warpAffine(texture, warp, texture.shape[::-1], flags=cv2.INTER_CUBIC)
    crop = (slice(HEIGHT, 2 * HEIGHT), slice(WIDTH, 2 * WIDTH))
    return np.stack([texture[crop], after[crop]])


def measured(frames: NDArray[np.float32]) -> dict[str, float]:
    columns = motion_columns(frames, whole_shifts(frames))
    return {name: float(values[0]) for name, values in columns.items()}


@pytest.mark.parametrize(("dx", "dy"), [(0.4, 0), (0, -0.6), (1.7, 0.8), (-5, 0), (6.3, 3.2)])
def test_travel_is_found_to_a_fifth_of_a_percent(dx: float, dy: float) -> None:
    found = measured(moved(dx, dy))
    assert found["pan"] == pytest.approx(-100 * dx / WIDTH, abs=0.2 + abs(dx) * 0.1)
    assert found["tilt"] == pytest.approx(-100 * dy / WIDTH, abs=0.2 + abs(dy) * 0.1)
    assert found["motion"] == pytest.approx(100 * np.hypot(dx, dy) / WIDTH, rel=0.2, abs=0.2)


@pytest.mark.parametrize("zoom", [1.02, 0.985])
def test_zoom_is_found(zoom: float) -> None:
    assert measured(moved(0, 0, zoom=zoom))["zoom"] == pytest.approx(100 * (zoom - 1), abs=0.5)


@pytest.mark.parametrize("turn_deg", [1.0, -2.0])
def test_the_camera_rolls_against_the_picture(turn_deg: float) -> None:
    assert measured(moved(0, 0, turn_deg=turn_deg))["roll"] == pytest.approx(-turn_deg, abs=0.4)


def test_a_still_picture_does_not_move() -> None:
    assert set(np.round(list(measured(moved(0, 0)).values()), 3)) == {0}


def test_a_subject_is_not_the_camera() -> None:
    frames = moved(0, 0)
    subject = (slice(8, 20), slice(16, 32))
    frames[1][subject] = np.roll(frames[0][subject], 1, axis=1)
    found = measured(frames)
    assert abs(found["pan"]) < 0.15
    assert found["residual_motion"] > 0.1
