"""Detail signals of pictures made to have them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from curation.signals.detail import colourfulness, measure_detail

RANDOM = np.random.default_rng(5)
CLOUDS = cv2.resize(RANDOM.integers(60, 200, (45, 80)).astype(np.uint8), (1280, 720))


def test_blur_lowers_sharpness() -> None:
    soft = cv2.GaussianBlur(CLOUDS, (0, 0), 12)
    assert measure_detail(soft)["sharpness"] < 0.5 * measure_detail(CLOUDS)["sharpness"]


def test_sharpness_hardly_depends_on_resolution() -> None:
    half = cv2.resize(CLOUDS, (640, 360), interpolation=cv2.INTER_AREA)
    ratio = measure_detail(half)["sharpness"] / measure_detail(CLOUDS)["sharpness"]
    assert ratio == pytest.approx(1, abs=0.2)


def test_noise_is_measured_in_luma_steps() -> None:
    for sigma in (2.0, 6.0):
        noisy = CLOUDS + RANDOM.normal(0, sigma, CLOUDS.shape)
        found = measure_detail(np.clip(noisy, 0, 255).astype(np.uint8))["noise"]
        assert found == pytest.approx(sigma, rel=0.15)


def test_coarse_blocks_raise_blockiness() -> None:
    blocks = cv2.resize(CLOUDS, (160, 90), interpolation=cv2.INTER_AREA)
    blocky = cv2.resize(blocks, (1280, 720), interpolation=cv2.INTER_NEAREST)
    grain = RANDOM.integers(100, 140, (720, 1280)).astype(np.uint8)
    assert measure_detail(grain)["blockiness"] == pytest.approx(1, abs=0.05)
    assert measure_detail(blocky)["blockiness"] > 3


def test_letters_are_text_and_edges_are_not() -> None:
    page = np.full((720, 1280), 230, np.uint8)
    bars = page.copy()
    bars[:, 300:600] = 20
    for row in range(80, 700, 70):
        cv2.putText(page, "Many small letters on a page of text", (40, row), 0, 1.5, 20, 4)
    assert measure_detail(page)["text_likeness"] > 0.2
    assert measure_detail(bars)["text_likeness"] < 0.01
    assert measure_detail(CLOUDS)["text_likeness"] < 0.01


def test_bars_are_measured_as_shares() -> None:
    boxed = CLOUDS.copy()
    boxed[:90] = boxed[-90:] = 16
    found = measure_detail(boxed)
    assert found["bar_top"] == pytest.approx(0.125, abs=0.01)
    assert found["bar_bottom"] == pytest.approx(0.125, abs=0.01)
    assert found["bar_left"] == found["bar_right"] == 0


def test_a_black_picture_has_no_bars() -> None:
    found = measure_detail(np.zeros((90, 160), np.uint8))
    assert [found[f"bar_{side}"] for side in ("top", "bottom", "left", "right")] == [0] * 4


def test_the_smallest_picture_can_be_measured() -> None:
    assert all(np.isfinite(list(measure_detail(np.zeros((1, 1), np.uint8)).values())))


def test_grey_has_no_colour_and_primaries_have() -> None:
    assert colourfulness(np.full((8, 8, 3), 90, np.uint8)) == 0
    stripes = np.zeros((9, 9, 3), np.uint8)
    for channel in range(3):
        stripes[channel::3, :, channel] = 255
    assert colourfulness(stripes) > 100
