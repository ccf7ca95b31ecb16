"""The filter bank, the LPIPS nets and the distance over either."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from zoo.errors import InputError, NotFoundError, UnsafeFileError, UsageError
from zoo.metrics import (
    FilterBank,
    PerceptualDistance,
    clip_features,
    load_lpips,
    perceptual_distance,
)

ALEX = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}


def frames(count: int = 2, size: int = 64, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 8, 8, generator=rng)
    return F.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1) * 2 - 1


def alex_tensors(prefix: str = "features") -> dict[str, Tensor]:
    """A random AlexNet with random channel weights under published names."""
    rng = torch.Generator().manual_seed(3)
    tensors = {}
    for depth, (layer, (out, inner, kernel)) in enumerate(ALEX.items()):
        scale = (2 / (inner * kernel**2)) ** 0.5
        weight = torch.randn(out, inner, kernel, kernel, generator=rng) * scale
        tensors[f"{prefix}.{layer}.weight"] = weight
        tensors[f"{prefix}.{layer}.bias"] = 0.1 * torch.randn(out, generator=rng)
        tensors[f"lin{depth}.model.1.weight"] = torch.rand(1, out, 1, 1, generator=rng)
    return tensors


def alex_distance(tensors: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
    """LPIPS with AlexNet, written out."""

    def maps(z: Tensor) -> list[Tensor]:
        shift = torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1)
        scale = torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1)
        z = (z - shift) / scale
        found = []
        for layer, (stride, padding) in {
            0: (4, 2),
            3: (1, 2),
            6: (1, 1),
            8: (1, 1),
            10: (1, 1),
        }.items():
            if layer in (3, 6):
                z = F.max_pool2d(z, 3, 2)
            weight, bias = tensors[f"features.{layer}.weight"], tensors[f"features.{layer}.bias"]
            z = F.conv2d(z, weight, bias, stride, padding).relu()
            found.append(z / z.norm(dim=1, keepdim=True))
        return found

    total = torch.zeros(len(x))
    for depth, (a, b) in enumerate(zip(maps(x), maps(y), strict=True)):
        weighted = F.conv2d((a - b) ** 2, tensors[f"lin{depth}.model.1.weight"])
        total += weighted.mean((1, 2, 3))
    return total


def test_the_filter_bank_orders_distortions_by_strength() -> None:
    reference = frames()
    noise = torch.randn(reference.shape, generator=torch.Generator().manual_seed(1))
    blurred = [F.avg_pool2d(reference, k, 1, k // 2, count_include_pad=False) for k in (3, 7, 15)]
    noisy = [(reference + strength * noise).clamp(-1, 1) for strength in (0.02, 0.1, 0.4)]
    for series in (blurred, noisy):
        means = [perceptual_distance(FilterBank(), reference, x).mean().item() for x in series]
        assert 0 < means[0] < means[1] < means[2]


def test_edges_do_not_answer_to_brightness() -> None:
    bank = FilterBank()
    assert bank.edges.sum((1, 2, 3)).abs().max() < 1e-6
    flat = bank(torch.full((1, 3, 32, 32), 0.7))[0]
    assert flat[:, : bank.edges.shape[0]].max() < 1e-6


def test_the_distance_is_zero_at_equality_and_symmetric() -> None:
    x, y = frames(), frames(seed=5)
    net = FilterBank()
    assert perceptual_distance(net, x, x).tolist() == [0, 0]
    assert torch.allclose(perceptual_distance(net, x, y), perceptual_distance(net, y, x))


def test_the_distance_leads_an_optimiser_to_the_reference() -> None:
    x = frames(1, 32)
    y = (x + 0.2).clamp(-1, 1).requires_grad_()
    net = FilterBank()
    before = perceptual_distance(net, x, y).sum()
    (slope,) = torch.autograd.grad(before, y)
    after = perceptual_distance(net, x, y - slope * before / slope.square().sum() / 2).sum()
    assert after < before


def test_grey_clips_count_as_colour() -> None:
    grey = torch.rand(1, 1, 2, 32, 32)
    other = (grey + 0.1).clamp(0, 1)
    values = []
    for channels in (1, 3):
        metric = PerceptualDistance(value_range=(0, 1))
        metric.update(grey.expand(-1, channels, -1, -1, -1), other.expand(-1, channels, -1, -1, -1))
        values.append(metric.compute().value)
    assert values[0] == pytest.approx(values[1])
    assert values[0] > 0
    with pytest.raises(InputError, match="1 or 3"):
        perceptual_distance(FilterBank(), torch.zeros(1, 4, 32, 32), torch.zeros(1, 4, 32, 32))


def test_clip_features_see_motion_and_not_the_batch() -> None:
    still = frames(1)[:, :, None].expand(-1, -1, 4, -1, -1)
    moving = torch.stack([frames(1)[0].roll(4 * t, 2) for t in range(4)], 1)[None]
    net = FilterBank()
    both = clip_features(net, torch.cat([still, moving]))
    assert torch.allclose(both[1:], clip_features(net, moving), atol=1e-6)
    channels = net(frames(1))[0].shape[1]
    change = both[:, 2 * channels : 3 * channels]
    assert change[0].abs().max() == 0
    assert change[1].max() > 0.01
    assert torch.isfinite(clip_features(net, still[:, :, :1])).all()


@pytest.mark.parametrize("prefix", ["features", "net.slice1"])
def test_lpips_from_a_file_equals_lpips_written_out(prefix: str, tmp_path: Path) -> None:
    path = tmp_path / "alex.safetensors"
    save_file(alex_tensors(prefix), path)
    net = load_lpips(path)
    assert net.name == "lpips_alex"
    x, y = frames(), frames(seed=8)
    expected = alex_distance(alex_tensors(), x, y)
    assert torch.allclose(perceptual_distance(net, x, y), expected, rtol=1e-4)
    assert net.sha256[:12] in PerceptualDistance(net).info.protocol


def test_a_file_of_vgg_is_known_by_its_first_kernel(tmp_path: Path) -> None:
    widths = {0: (64, 3), 2: (64, 64), 5: (128, 64), 7: (128, 128), 10: (256, 128), 12: (256, 256),
              14: (256, 256), 17: (512, 256), 19: (512, 512), 21: (512, 512), 24: (512, 512),
              26: (512, 512), 28: (512, 512)}  # fmt: skip
    tensors = {f"features.{n}.weight": torch.zeros(o, i, 3, 3) for n, (o, i) in widths.items()}
    tensors |= {f"features.{n}.bias": torch.ones(o) for n, (o, _) in widths.items()}
    for depth, width in enumerate((64, 128, 256, 512, 512)):
        tensors[f"lin{depth}.model.1.weight"] = torch.ones(1, width, 1, 1)
    save_file(tensors, tmp_path / "vgg.safetensors")
    net = load_lpips(tmp_path / "vgg.safetensors")
    assert net.name == "lpips_vgg"
    assert [tuple(maps.shape[1:]) for maps in net(frames(1, 32))] == [
        (64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4), (512, 2, 2)
    ]  # fmt: skip


def test_files_that_are_no_lpips_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        load_lpips(tmp_path / "missing.safetensors")
    (tmp_path / "net.pth").write_bytes(b"anything")
    with pytest.raises(UnsafeFileError, match="safetensors"):
        load_lpips(tmp_path / "net.pth")
    half = {key: value for key, value in alex_tensors().items() if "lin4" not in key}
    save_file(half, tmp_path / "half.safetensors")
    with pytest.raises(UsageError, match="lin0"):
        load_lpips(tmp_path / "half.safetensors")
    partial = {key: value for key, value in alex_tensors().items() if "features.6" not in key}
    save_file(partial, tmp_path / "partial.safetensors")
    with pytest.raises(UsageError, match=r"6\.weight"):
        load_lpips(tmp_path / "partial.safetensors")
