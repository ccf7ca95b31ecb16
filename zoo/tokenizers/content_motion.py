"""A picture of what is there, and few numbers for how it moves: CMD and Reducio.

The content frame of a window is a picture: an average of its frames, weighted place by place (CMD),
or its middle frame (Reducio). What the frames have beyond it becomes the motion latent, as two
planes over time (CMD) or as a grid that is far coarser than that of an image autoencoder (Reducio).
The decoder needs both. An image model can make the content, a small model the motion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from zoo.layers.attention import Pattern
from zoo.layers.conv import Conv3d
from zoo.layers.patch_nets import PatchDecoder, PatchEncoder
from zoo.layers.patches import ToPatches
from zoo.layers.planes import Project
from zoo.layers.quantizers import KL, Continuous, QuantizerConfig, build
from zoo.layers.specs import grid_stream, window_spec
from zoo.layers.streams import quantize_streams
from zoo.registry import Preset
from zoo.spec import Axis, StreamSpec, TokenizerSpec
from zoo.tokenizer import Reconstruction, State, Tokenizer

__all__ = ["PRESETS", "Config", "ContentMotion"]


@dataclass(frozen=True)
class Config:
    """`patch` is (frames, pixels) of a motion latent, `decoder_patch` what the decoder paints:
    the same or a finer one."""

    quantizer: QuantizerConfig
    content: Literal["average", "middle"] = "average"
    motion: Literal["planes", "grid"] = "planes"
    frames: int = 16
    patch: tuple[int, int] = (1, 8)
    width: int = 512
    heads: int = 8
    layers: tuple[Pattern, ...] = ("space", "time") * 6
    decoder_patch: tuple[int, int] = (1, 8)
    decoder_width: int = 512
    decoder_heads: int = 8
    decoder_layers: tuple[Pattern, ...] = ("space", "time") * 6


class Average(nn.Module):
    """The mean of a window's frames, weighted place by place: always a valid picture."""

    def __init__(self, width: int):
        super().__init__()
        self.weigh = nn.Sequential(
            Conv3d(3, width, 3, padding=1), nn.SiLU(), Conv3d(width, 1, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return (self.weigh(x).softmax(dim=2) * x).sum(dim=2, keepdim=True)


class Middle(nn.Module):
    """The frame in the middle of a window."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, x.shape[2] // 2 :][:, :, :1]


class ContentMotion(Tokenizer):
    """A content frame and a motion latent for each window."""

    config_class = Config
    encode_side = ("content", "encoder", "projections", "quantizer")

    def __init__(self, config: Config):
        super().__init__(config)
        self.quantizer = build(config.quantizer)
        dim = self.quantizer.dim
        self.content = Average(16) if config.content == "average" else Middle()
        self.encoder = PatchEncoder(dim, config.patch, config.width, config.heads, config.layers)
        names = ("rows", "columns") if config.motion == "planes" else ()
        self.projections = nn.ModuleDict({name: Project(dim) for name in names})
        self.look = ToPatches(dim, 1, config.decoder_patch[1])
        self.decoder = PatchDecoder(
            dim + dim * max(1, len(names)),
            config.decoder_patch,
            config.decoder_width,
            config.decoder_heads,
            config.decoder_layers,
        )

    def describe(self) -> TokenizerSpec:
        frames, (pace, side) = self.config.frames, self.config.patch
        rows, columns = Axis("h", stride=side), Axis("w", stride=side)
        content = StreamSpec("content", (Axis("h"), Axis("w")), channels=3)
        planes: dict[str, tuple[Axis, ...]] = {"rows": (rows,), "columns": (columns,)}
        if self.config.motion == "grid":
            planes = {"motion": (rows, columns)}
        streams = [
            grid_stream(self.quantizer, *axes, name=name, positions=frames // pace)
            for name, axes in planes.items()
        ]
        return window_spec(frames, content, *streams, multiple=side)

    def encode_piece(self, x: Tensor, state: State) -> dict[str, Tensor]:
        content = self.content(x)
        motion = {n: self.quantizer.encode(z) for n, z in self._motion(x, content).items()}
        return {"content": content.movedim(1, -1), **motion}

    def decode_piece(
        self, streams: dict[str, Tensor], state: State, size: tuple[int, ...]
    ) -> Tensor:
        values = {n: self.quantizer.decode(z) for n, z in streams.items() if n != "content"}
        return self._draw(streams["content"].float().movedim(-1, 1), values)

    def forward(self, x: Tensor) -> Reconstruction:
        content = self.content(x)
        motion = self._motion(x, content)
        values, losses, ids = quantize_streams(dict.fromkeys(motion, self.quantizer), motion)
        return Reconstruction(self._draw(content, values), losses, ids)

    def _motion(self, x: Tensor, content: Tensor) -> dict[str, Tensor]:
        """What the frames have beyond the content, channels last."""
        features = self.encoder(x - content).movedim(1, -1)
        if self.config.motion == "grid":
            return {"motion": features}
        across = {"rows": 3, "columns": 2}
        return {name: self.projections[name](features, axis) for name, axis in across.items()}

    def _draw(self, content: Tensor, values: dict[str, Tensor]) -> Tensor:
        """The content, and what the motion changes about it in every frame."""
        if self.config.motion == "planes":
            rows, columns = values["rows"].unsqueeze(3), values["columns"].unsqueeze(2)
            shape = torch.broadcast_shapes(rows.shape, columns.shape)
            motion = torch.cat([rows.expand(shape), columns.expand(shape)], dim=-1)
        else:
            motion = values["motion"]
        for axis, ratio in ((1, self._ratio(0)), (2, self._ratio(1)), (3, self._ratio(1))):
            motion = motion.repeat_interleave(ratio, dim=axis)
        seen = self.look(content).expand(-1, motion.shape[1], -1, -1, -1)
        return content + self.decoder(torch.cat([seen, motion], dim=-1).movedim(-1, 1))

    def _ratio(self, axis: int) -> int:
        return self.config.patch[axis] // self.config.decoder_patch[axis]


def _tiny(quantizer: QuantizerConfig, **changes: object) -> Config:
    small: dict[str, object] = {
        "frames": 4,
        "patch": (1, 4),
        "width": 48,
        "heads": 2,
        "layers": ("space", "time"),
        "decoder_patch": (1, 4),
        "decoder_width": 48,
        "decoder_heads": 2,
        "decoder_layers": ("space", "time"),
    }
    return Config(quantizer, **{**small, **changes})  # type: ignore[arg-type]


_CMD = (
    "Efficient Video Diffusion Models via Content-Frame Motion-Latent Decomposition, "
    "arXiv:2403.14148"
)
_REDUCIO = (
    "REDUCIO! Generating 1024x1024 Video within 16 Seconds using Extremely Compressed Motion "
    "Latents, arXiv:2411.13552"
)
_CMD_TINY, _REDUCIO_TINY = "video/content_average_tiny", "video/content_middle_tiny"

PRESETS = (
    Preset(_CMD_TINY, ContentMotion, _tiny(Continuous(dim=32, channels=8)), _CMD),
    Preset(
        _REDUCIO_TINY,
        ContentMotion,
        _tiny(KL(dim=64, channels=32), content="middle", motion="grid", patch=(2, 8)),
        _REDUCIO,
    ),
    Preset(
        "video/cmd_16.ch8",
        ContentMotion,
        Config(Continuous(dim=512, channels=8)),
        _CMD,
        _CMD_TINY,
        serves=("cmd",),
    ),
    Preset(
        "video/reducio_43232.ch16",
        ContentMotion,
        Config(KL(dim=512, channels=16), "middle", "grid", patch=(4, 32), decoder_patch=(1, 8)),
        _REDUCIO,
        _REDUCIO_TINY,
        serves=("reducio",),
    ),
)
