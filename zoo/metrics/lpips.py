"""LPIPS nets: AlexNet and VGG16 layers with learned channel weights, from a file of the user.

The project ships no weights. `load_lpips` reads a safetensors file that holds the backbone and the
linear layers together, under the names that the published checkpoints use, and tells from the
first kernel which backbone it is:

    net = load_lpips("lpips_alex.safetensors")
    metric = PerceptualDistance(net)
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import torch
from torch import Tensor, nn

from zoo.errors import NotFoundError, UnsafeFileError, UsageError
from zoo.metrics.features import FeatureNet

__all__ = ["Lpips", "load_lpips"]

BACKBONE_KEY = re.compile(r"(?:^|\.)(?:features|slice\d+|slices\.\d+)\.(\d+)\.(weight|bias)$")
LINEAR_KEY = re.compile(r"(?:^|\.)(?:lin(\d)|lins\.(\d))\.model\.\d\.weight$")
DEPTHS = 5


def _convolutions(*rows: tuple[int, int, int, int]) -> list[nn.Module]:
    """A convolution and a ReLU for each (channels in, channels out, kernel, stride)."""
    layers: list[nn.Module] = []
    for channels_in, channels_out, kernel, stride in rows:
        padding = 2 if kernel == 11 else kernel // 2
        layers += [nn.Conv2d(channels_in, channels_out, kernel, stride, padding), nn.ReLU()]
    return layers


def _alex() -> list[list[nn.Module]]:
    return [
        _convolutions((3, 64, 11, 4)),
        [nn.MaxPool2d(3, 2), *_convolutions((64, 192, 5, 1))],
        [nn.MaxPool2d(3, 2), *_convolutions((192, 384, 3, 1))],
        _convolutions((384, 256, 3, 1)),
        _convolutions((256, 256, 3, 1)),
    ]


def _vgg() -> list[list[nn.Module]]:
    wide = (512, 512, 3, 1)
    return [
        _convolutions((3, 64, 3, 1), (64, 64, 3, 1)),
        [nn.MaxPool2d(2), *_convolutions((64, 128, 3, 1), (128, 128, 3, 1))],
        [nn.MaxPool2d(2), *_convolutions((128, 256, 3, 1), *[(256, 256, 3, 1)] * 2)],
        [nn.MaxPool2d(2), *_convolutions((256, 512, 3, 1), wide, wide)],
        [nn.MaxPool2d(2), *_convolutions(wide, wide, wide)],
    ]


BACKBONES = {11: ("alex", _alex), 3: ("vgg", _vgg)}
"""By the width of the first kernel."""


class Lpips(FeatureNet):
    """Five depths of a published backbone and the learned weights of their channels."""

    def __init__(self, tensors: dict[str, Tensor], sha256: str = "") -> None:
        super().__init__()
        backbone = {
            f"{m[1]}.{m[2]}": t for k, t in tensors.items() if (m := BACKBONE_KEY.search(k))
        }
        linear = {int(m[1] or m[2]): t for k, t in tensors.items() if (m := LINEAR_KEY.search(k))}
        first = backbone.get("0.weight")
        if first is None or first.shape[-1] not in BACKBONES or len(linear) != DEPTHS:
            raise UsageError(
                f"these {len(tensors)} tensors are no LPIPS net",
                allowed="AlexNet or VGG16 features.N.weight/bias with lin0..lin4.model.1.weight",
            )
        kind, build = BACKBONES[first.shape[-1]]
        self.name = f"lpips_{kind}"
        self.sha256 = sha256
        slices = build()
        flat = nn.Sequential(*(layer for part in slices for layer in part))
        try:
            flat.load_state_dict(backbone)
        except RuntimeError as error:
            raise UsageError(
                f"this {kind} backbone is not whole: {error}",
                allowed="the layers of the published backbone",
            ) from error
        self.slices = nn.ModuleList(nn.Sequential(*part) for part in slices)
        for depth in range(DEPTHS):
            self.register_buffer(f"weight_{depth}", linear[depth].reshape(-1, 1, 1).float())
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1))
        self.requires_grad_(False).eval()

    @property
    def channel_weights(self) -> list[Tensor]:  # type: ignore[override]
        return [self.get_buffer(f"weight_{depth}") for depth in range(DEPTHS)]

    def forward(self, frames: Tensor) -> list[Tensor]:
        x = (frames - self.shift) / self.scale
        maps = []
        for part in self.slices:
            x = part(x)
            maps.append(x)
        return maps


def load_lpips(path: str | Path) -> Lpips:
    """The net in a safetensors file; its hash stands in the protocol of every value."""
    from safetensors.torch import load

    path = Path(path)
    if not path.is_file():
        raise NotFoundError(f"no file at {path}", hint="download LPIPS weights as safetensors")
    if path.suffix != ".safetensors":
        raise UnsafeFileError(
            f"{path.name} is not a safetensors file: reading it could run code",
            allowed="*.safetensors",
            hint="convert it once with safetensors.torch.save_file",
        )
    content = path.read_bytes()
    return Lpips(load(content), hashlib.sha256(content).hexdigest())
