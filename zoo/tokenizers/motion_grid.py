"""Convolutions over time and joints: ids on a grid, one row of joints to every four frames.

MTVCrafter's 4DMoT keeps an id for every joint, so 49 frames of 24 joints become 13 x 24 ids;
MoGenTS halves the joints as well and stacks residual levels. Here both are causal in time: a clip
is 1+4k frames, and a stream gives the ids of the whole take.

Input is (B, T, joints, values). `joint_grid` and `joint_features` turn HumanML3D features into 12
values a joint and back, which is what MoGenTS works on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.errors import InputError
from zoo.layers.causal import CausalConv3d, FrameNorm
from zoo.layers.conv import Conv3d
from zoo.layers.normalise import Normalizer
from zoo.layers.quantizers import QuantizerConfig, Rvq, Vq, build
from zoo.motion import MotionAutoencoder
from zoo.registry import Preset
from zoo.spec import Axis, LengthRule, StreamSpec, TokenizerSpec
from zoo.tokenizer import State

__all__ = ["PRESETS", "Config", "MotionGrid", "joint_features", "joint_grid"]

_KERNEL = (3, 3, 1)
"""Time, joints and nothing: joints are the rows of a picture that is one column wide."""


@dataclass(frozen=True)
class Config:
    """`widths` and `halve_joints` have one entry for each halving of time."""

    quantizer: QuantizerConfig
    joints: int = 24
    values: int = 3
    fps: float | None = None
    widths: tuple[int, ...] = (128, 512)
    halve_joints: tuple[bool, ...] = (False, False)
    blocks: int = 3
    decoder_blocks: int = 3

    @property
    def rows(self) -> int:
        """Joints that are left on the grid."""
        return math.ceil(self.joints / self.joint_stride)

    @property
    def joint_stride(self) -> int:
        return 2 ** sum(self.halve_joints)


class Block(nn.Module):
    """A convolution over time and joints and a pointwise one beside a shortcut."""

    def __init__(self, channels: int, out: int):
        super().__init__()
        self.norm1, self.conv1 = FrameNorm(channels), CausalConv3d(channels, out, _KERNEL)
        self.norm2, self.conv2 = FrameNorm(out), Conv3d(out, out, 1)
        self.shortcut = Conv3d(channels, out, 1) if channels != out else nn.Identity()

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        y = self.conv1(functional.silu(self.norm1(x)), state)
        return self.shortcut(x) + self.conv2(functional.silu(self.norm2(y)))


class Double(nn.Module):
    """1+k frames become 1+2k, each but the first repeated; joints are repeated on demand."""

    def __init__(self, channels: int, *, joints: bool):
        super().__init__()
        self.joints = joints
        self.conv = CausalConv3d(channels, channels, _KERNEL)

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        fresh = state is None or self.conv not in state
        x = x.repeat_interleave(2, dim=2)
        if self.joints:
            x = x.repeat_interleave(2, dim=3)
        return self.conv(x[:, :, 1:] if fresh else x, state)


class Encoder(nn.Module):
    """(B, values, 1+4k, joints) to (B, dim, 1+k, rows)."""

    def __init__(self, config: Config, dim: int):
        super().__init__()
        self.missing = config.rows * config.joint_stride - config.joints
        widths = config.widths
        self.stem = CausalConv3d(config.values, widths[0], _KERNEL)
        layers: list[nn.Module] = []
        for before, width, halve in zip(
            widths[:1] + widths, widths, config.halve_joints, strict=False
        ):
            layers.append(Block(before, width))
            layers += [Block(width, width) for _ in range(config.blocks - 1)]
            layers.append(CausalConv3d(width, width, _KERNEL, (2, 2 if halve else 1, 1)))
        self.layers = nn.ModuleList(layers)
        self.head = CausalConv3d(widths[-1], dim, _KERNEL)

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        x = torch.cat([x, x[..., -1:].expand(*x.shape[:-1], self.missing)], dim=-1)
        x = self.stem(x.unsqueeze(-1), state)
        for layer in self.layers:
            x = layer(x, state)
        return self.head(x, state).squeeze(-1)


class Decoder(nn.Module):
    """(B, dim, 1+k, rows) to (B, values, 1+4k, joints)."""

    def __init__(self, config: Config, dim: int):
        super().__init__()
        self.joints = config.joints
        widths = config.widths[::-1]
        self.stem = CausalConv3d(dim, widths[0], _KERNEL)
        layers: list[nn.Module] = []
        for width, after, halved in zip(
            widths, widths[1:] + widths[-1:], config.halve_joints[::-1], strict=True
        ):
            layers += [Block(width, width) for _ in range(config.decoder_blocks - 1)]
            layers += [Double(width, joints=halved), Block(width, after)]
        self.layers = nn.ModuleList(layers)
        self.norm = FrameNorm(widths[-1])
        self.head = CausalConv3d(widths[-1], config.values, _KERNEL)

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        x = self.stem(x.unsqueeze(-1), state)
        for layer in self.layers:
            x = layer(x, state)
        x = self.head(functional.silu(self.norm(x)), state)
        return x[:, :, :, : self.joints].squeeze(-1)


class MotionGrid(MotionAutoencoder):
    """A causal autoencoder of joints over time with any quantizer."""

    config_class = Config

    def __init__(self, config: Config):
        super().__init__(config)
        self.normalizer = Normalizer((config.joints, config.values))
        self.quantizer = build(config.quantizer)
        self.encoder = Encoder(config, self.quantizer.dim)
        self.decoder = Decoder(config, self.quantizer.dim)
        self._keep_bound()

    def describe(self) -> TokenizerSpec:
        stream = StreamSpec(
            axes=(Axis("j", extent=self.config.rows),),
            levels=self.quantizer.levels,
            channels=self.quantizer.channels,
            ordered="level" if self.quantizer.nested else "",
        )
        return TokenizerSpec(
            modality="joints",
            channels=self.config.values,
            joints=self.config.joints,
            length=LengthRule(1, 2 ** len(self.config.widths)),
            streams=(stream,),
            fps=self.config.fps,
            causal=True,
            streaming=True,
        )


def joint_grid(features: Tensor) -> Tensor:
    """HumanML3D features (..., 12 J - 1) as (..., J, 12): position, rotation and speed of joints.

    The root has neither position nor rotation of its own; its first 9 places hold turn, ground
    speed, height and contacts, and one zero.
    """
    joints, rest = divmod(features.shape[-1] + 1, 12)
    if rest:
        raise InputError(
            f"{features.shape[-1]} features are not those of HumanML3D",
            allowed="12 J - 1: 263 for 22 joints, 251 for 21",
        )
    root, places, turns, speeds, contacts = features.split(_widths(joints), dim=-1)
    first = functional.pad(torch.cat([root, contacts], dim=-1), (0, 1))
    others = torch.cat([_by_joint(places, 3), _by_joint(turns, 6)], dim=-1)
    return torch.cat([torch.cat([first.unsqueeze(-2), others], -2), _by_joint(speeds, 3)], -1)


def joint_features(grid: Tensor) -> Tensor:
    """The HumanML3D features that `joint_grid` laid out."""
    first, others = grid[..., 0, :9], grid[..., 1:, :9]
    parts = (others[..., :3], others[..., 3:], grid[..., 9:])
    places, turns, speeds = (part.flatten(-2) for part in parts)
    return torch.cat([first[..., :4], places, turns, speeds, first[..., 4:8]], dim=-1)


def _widths(joints: int) -> tuple[int, ...]:
    return 4, 3 * (joints - 1), 6 * (joints - 1), 3 * joints, 4


def _by_joint(run: Tensor, values: int) -> Tensor:
    return run.unflatten(-1, (-1, values))


_MTV = "MTVCrafter: 4D Motion Tokenization for Open-World Human Image Animation, arXiv:2505.10238"
_MOGENTS = "MoGenTS: Motion Generation based on Spatial-Temporal Joint Modeling, arXiv:2409.17686"

PRESETS = (
    Preset(
        "joints/grid_vq_tiny",
        MotionGrid,
        Config(Vq(dim=16, size=64), widths=(16, 32), blocks=1, decoder_blocks=1),
        _MTV,
    ),
    Preset(
        "joints/grid_rvq_tiny",
        MotionGrid,
        Config(
            Rvq(dim=16, size=32, depth=3),
            joints=22,
            values=12,
            widths=(32, 32),
            halve_joints=(True, True),
            blocks=1,
            decoder_blocks=1,
        ),
        _MOGENTS,
    ),
    Preset(
        "joints/grid_vq.mtvcrafter",
        MotionGrid,
        Config(Vq(dim=3072, size=8192)),
        _MTV,
        tiny="joints/grid_vq_tiny",
        serves=("mtvcrafter",),
    ),
    # The joint-time half of the published model, which has a 1D tokenizer beside it.
    Preset(
        "joints/grid_rvq.mogents",
        MotionGrid,
        Config(
            Rvq(dim=1024, size=256, depth=6, dropout=0.2),
            joints=22,
            values=12,
            fps=20.0,
            widths=(512, 512),
            halve_joints=(True, True),
        ),
        _MOGENTS,
        tiny="joints/grid_rvq_tiny",
    ),
)
