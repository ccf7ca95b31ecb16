"""PSNR, SSIM and MS-SSIM against closed forms, scikit-image and a direct computation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from zoo.errors import InputError, UsageError
from zoo.metrics import MSSSIM, PSNR, SSIM, ms_ssim, psnr, ssim

UNIT = (0.0, 1.0)


def clips(*shape: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Smooth pictures in 0..1 and the same with noise."""
    rng = torch.Generator().manual_seed(seed)
    batch, channels, frames, height, width = shape
    coarse = torch.rand(batch * channels, frames, height // 8, width // 8, generator=rng)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    reference = smooth.view(shape)
    noise = 0.05 * torch.randn(shape, generator=rng)
    return reference, (reference + noise).clamp(0, 1)


def test_psnr_of_a_known_error() -> None:
    black = torch.zeros(2, 3, 4, 8, 8)
    assert psnr(black, black + 0.1, value_range=UNIT, round_to_8_bits=False).tolist() == (
        pytest.approx([20.0, 20.0])
    )


def test_psnr_of_known_noise() -> None:
    grey = torch.full((1, 3, 4, 64, 64), 0.5)
    noisy = grey + 0.02 * torch.randn(grey.shape, generator=torch.Generator().manual_seed(1))
    value = psnr(grey, noisy, value_range=UNIT, round_to_8_bits=False)
    assert value.item() == pytest.approx(-20 * math.log10(0.02), abs=0.05)


@pytest.mark.parametrize("value_range", [(-1.0, 1.0), (0.0, 255.0)])
def test_the_stated_range_sets_the_peak(value_range: tuple[float, float]) -> None:
    reference, noisy = clips(1, 3, 2, 32, 32)
    low, high = value_range
    moved = [x * (high - low) + low for x in (reference, noisy)]
    expected = psnr(reference, noisy, value_range=UNIT)
    assert psnr(*moved, value_range=value_range).item() == pytest.approx(expected.item(), abs=1e-3)


def test_bytes_are_measured_as_bytes() -> None:
    reference, noisy = ((255 * x).round().to(torch.uint8) for x in clips(1, 3, 1, 32, 32))
    expected = peak_signal_noise_ratio(reference.numpy(), noisy.numpy(), data_range=255)
    value = psnr(reference, noisy, value_range=(0, 255))
    assert value.item() == pytest.approx(expected, abs=1e-4)


def test_the_mean_over_frames_is_not_the_value_of_the_clip() -> None:
    black = torch.zeros(1, 1, 2, 4, 4)
    other = black.clone()
    other[:, :, 0] += 0.1
    other[:, :, 1] += 0.01
    options = {"value_range": UNIT, "round_to_8_bits": False}
    assert psnr(black, other, pool="frame", **options).item() == pytest.approx(30)
    in_all = -10 * math.log10((0.1**2 + 0.01**2) / 2)
    assert psnr(black, other, pool="clip", **options).item() == pytest.approx(in_all, abs=1e-4)


def test_rounding_forgives_less_than_half_a_level() -> None:
    grey = torch.full((1, 1, 1, 4, 4), 100 / 255)
    assert psnr(grey, grey + 0.4 / 255, value_range=UNIT).item() == 100
    unrounded = psnr(grey, grey + 0.4 / 255, value_range=UNIT, round_to_8_bits=False)
    assert unrounded.item() == pytest.approx(20 * math.log10(255 / 0.4), abs=1e-3)


def test_options_stand_in_the_protocol() -> None:
    infos = {
        PSNR(pool=pool, round_to_8_bits=rounded).info
        for pool in ("frame", "clip")
        for rounded in (True, False)
    }
    assert len(infos) == 4
    assert MSSSIM(scales=3).info != MSSSIM().info


def test_ssim_equals_scikit_image() -> None:
    reference, noisy = clips(2, 3, 3, 40, 56)
    expected = [
        np.mean(
            [
                structural_similarity(
                    reference[clip, :, frame].numpy(),
                    noisy[clip, :, frame].numpy(),
                    channel_axis=0,
                    data_range=1.0,
                    gaussian_weights=True,
                    sigma=1.5,
                    use_sample_covariance=False,
                )
                for frame in range(3)
            ]
        )
        for clip in range(2)
    ]
    assert ssim(reference, noisy, value_range=UNIT).tolist() == pytest.approx(expected, abs=2e-6)


def direct_ms_ssim(x: np.ndarray, y: np.ndarray, scales: int) -> float:
    """One frame (C, H, W) in float64, straight from the definition."""
    offsets = np.arange(-5, 6)
    kernel = np.exp(-(offsets**2) / (2 * 1.5**2))
    kernel /= kernel.sum()

    def blur(z: np.ndarray) -> np.ndarray:
        return correlate1d(correlate1d(z, kernel, axis=1), kernel, axis=2)[:, 5:-5, 5:-5]

    weights = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])[:scales]
    product = 1.0
    for scale, weight in enumerate(weights / weights.sum()):
        if scale:
            x, y = (
                z[:, : z.shape[1] // 2 * 2, : z.shape[2] // 2 * 2]
                .reshape(len(z), z.shape[1] // 2, 2, z.shape[2] // 2, 2)
                .mean((2, 4))
                for z in (x, y)
            )
        a, b = blur(x), blur(y)
        covariance = blur(x * y) - a * b
        spread = blur(x * x) - a**2 + blur(y * y) - b**2
        term = (2 * covariance + 0.03**2) / (spread + 0.03**2)
        if scale == scales - 1:
            term = term * (2 * a * b + 0.01**2) / (a**2 + b**2 + 0.01**2)
        product *= max(0.0, term.mean()) ** weight
    return product


@pytest.mark.parametrize(("scales", "side"), [(5, 176), (3, 46)])
def test_ms_ssim_equals_its_definition(scales: int, side: int) -> None:
    reference, noisy = clips(1, 3, 1, side, side)
    x, y = (z[0, :, 0].double().numpy() for z in (reference, noisy))
    value = ms_ssim(reference, noisy, value_range=UNIT, scales=scales)
    assert value.item() == pytest.approx(direct_ms_ssim(x, y, scales), abs=2e-6)


def test_equal_clips_are_perfect() -> None:
    reference, _ = clips(1, 3, 2, 48, 48)
    for metric in (SSIM(value_range=UNIT), MSSSIM(value_range=UNIT, scales=2)):
        metric.update(reference, reference)
        assert metric.compute().value == pytest.approx(1, abs=1e-6)


def test_the_interval_is_that_of_the_mean_over_clips() -> None:
    metric = PSNR(value_range=UNIT)
    metric.update(*clips(6, 1, 2, 16, 16))
    values = psnr(*clips(6, 1, 2, 16, 16), value_range=UNIT)
    expected = 1.96 * float(values.std()) / math.sqrt(6)
    assert metric.compute().interval == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("reference", "reconstruction", "said"),
    [
        (torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8), "one shape"),
        (torch.zeros(1, 3, 2, 8, 8), torch.zeros(1, 3, 1, 8, 8), "one shape"),
        (torch.full((1, 3, 1, 8, 8), 200.0), torch.zeros(1, 3, 1, 8, 8), "value_range"),
        (torch.zeros(1, 3, 1, 8, 8), torch.full((1, 3, 1, 8, 8), math.nan), "NaN"),
        (torch.full((1, 3, 1, 8, 8), math.nan), torch.zeros(1, 3, 1, 8, 8), "nan"),
    ],
)
def test_wrong_clips_are_refused(reference: Tensor, reconstruction: Tensor, said: str) -> None:
    with pytest.raises(InputError) as refused:
        PSNR().update(reference, reconstruction)
    assert said in str(refused.value)


def test_frames_too_small_for_the_scales_are_refused() -> None:
    frames = torch.zeros(1, 3, 1, 128, 128)
    with pytest.raises(InputError, match="176"):
        ms_ssim(frames, frames)
    with pytest.raises(InputError, match="11 pixels"):
        ssim(frames[..., :8], frames[..., :8])


def test_unknown_options_are_refused() -> None:
    with pytest.raises(UsageError, match="'frame' or 'clip'"):
        PSNR(pool="video")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="1 to 5"):
        MSSSIM(scales=6)
