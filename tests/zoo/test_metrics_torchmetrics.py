"""Agreement with torchmetrics, where both define the same thing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from zoo.metrics import (
    FeatureProtocol,
    KernelDistance,
    ms_ssim,
    perceptual_distance,
    procrustes_align,
    psnr,
    ssim,
)
from zoo.metrics.frechet import FeatureStats
from zoo.metrics.lpips import load_lpips

torchmetrics = pytest.importorskip(
    "torchmetrics",
    exc_type=(ImportError, RuntimeError),  # type: ignore[arg-type]
)
UNIT = (0.0, 1.0)


def frames(count: int, side: int) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, side // 8, side // 8, generator=rng)
    reference = nn.functional.interpolate(coarse, (side, side), mode="bilinear")
    noise = 0.05 * torch.randn(reference.shape, generator=rng)
    return reference, (reference + noise).clamp(0, 1)


def test_psnr() -> None:
    reference, noisy = frames(4, 32)
    expected = torchmetrics.functional.image.peak_signal_noise_ratio(
        noisy, reference, data_range=1.0, reduction="none", dim=(1, 2, 3)
    )
    clips = (reference.unsqueeze(2), noisy.unsqueeze(2))
    found = psnr(*clips, value_range=UNIT, round_to_8_bits=False)
    assert found.tolist() == pytest.approx(expected.tolist(), abs=1e-4)


def test_ssim_of_inner_pixels() -> None:
    reference, noisy = frames(2, 48)
    _, maps = torchmetrics.functional.image.structural_similarity_index_measure(
        noisy, reference, data_range=1.0, return_full_image=True
    )
    expected = maps[..., 5:-5, 5:-5].mean((1, 2, 3))
    found = ssim(reference.unsqueeze(2), noisy.unsqueeze(2), value_range=UNIT)
    assert found.tolist() == pytest.approx(expected.tolist(), abs=1e-5)


def test_ms_ssim_but_for_borders_of_the_last_scale() -> None:
    reference, noisy = frames(1, 256)
    expected = torchmetrics.functional.image.multiscale_structural_similarity_index_measure(
        noisy, reference, data_range=1.0
    )
    found = ms_ssim(reference.unsqueeze(2), noisy.unsqueeze(2), value_range=UNIT)
    assert found.item() == pytest.approx(expected.item(), abs=5e-5)


class Flat(nn.Module):
    """Hands features through, as torchmetrics wants a module."""

    num_features = 12

    def forward(self, rows: Tensor) -> Tensor:
        return rows.flatten(1)


def features() -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(1)
    return torch.randn(60, 12, generator=rng), torch.randn(50, 12, generator=rng) * 1.5 + 0.3


def test_frechet() -> None:
    from torchmetrics.image.fid import _compute_fid

    real, fake = features()
    expected = _compute_fid(
        real.double().mean(0), real.double().T.cov(), fake.double().mean(0), fake.double().T.cov()
    )
    sides = []
    for rows in (real, fake):
        sides.append(FeatureStats())
        sides[-1].update(rows)
    assert sides[0].distance(sides[1]) == pytest.approx(expected.item(), rel=1e-6)


def test_kernel() -> None:
    from torchmetrics.image.kid import poly_mmd

    real, fake = (rows[:50] for rows in features())
    metric = KernelDistance(FeatureProtocol("random"), subsets=1, subset_size=50)
    metric.update(real, fake)
    assert metric.compute().value == pytest.approx(poly_mmd(real, fake).item(), rel=1e-4)


def test_procrustes_without_a_mirror() -> None:
    from torchmetrics.functional.shape import procrustes_disparity

    rng = torch.Generator().manual_seed(2)
    target = torch.randn(5, 22, 3, generator=rng, dtype=torch.float64)
    source = 0.5 * target[..., [1, 2, 0]] + 0.02 * torch.randn(5, 22, 3, generator=rng)
    expected = procrustes_disparity(target, source)
    aligned = procrustes_align(source, target)
    centred = target - target.mean(1, keepdim=True)
    residual = (aligned - target).square().sum((1, 2)) / centred.square().sum((1, 2))
    assert residual.tolist() == pytest.approx(expected.tolist(), rel=1e-9)


def alexnet() -> nn.Sequential:
    """AlexNet's convolutions as published, with random weights."""
    torch.manual_seed(4)
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, 1, 1), nn.ReLU(),
        nn.Conv2d(384, 256, 3, 1, 1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, 1, 1), nn.ReLU(),
    )  # fmt: skip


def test_lpips_with_published_channel_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchmetrics.functional.image import lpips

    monkeypatch.setattr(lpips, "_get_tv_model_features", lambda *_: alexnet())
    theirs = lpips._NoTrainLpips(net="alex", pnet_rand=True)
    state = {name: value.clone() for name, value in theirs.state_dict().items()}
    save_file(state, tmp_path / "lpips.safetensors")
    reference, noisy = (2 * x - 1 for x in frames(2, 64))
    found = perceptual_distance(load_lpips(tmp_path / "lpips.safetensors"), reference, noisy)
    assert found.tolist() == pytest.approx(theirs(noisy, reference).flatten().tolist(), rel=1e-3)
