"""Ids of a keyframe and ids of block motion, as two streams and as one: Video-LaVIT.

The first frame of a window is coded as a picture. The others are coded by the motion vectors of
their blocks, found in the pixels as a video codec finds them. The decoder moves the keyframe along
the decoded vectors, frame after frame, and repairs what moving blocks cannot show. `joined` puts
both kinds of ids into one sequence for a language model, `parted` takes it apart again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.errors import UsageError
from zoo.layers.attention import GridTransformer, Pattern
from zoo.layers.block_motion import block_motion, warp
from zoo.layers.conv import Conv3d
from zoo.layers.frames import FrameDecoder, FrameEncoder
from zoo.layers.quantizers import Vq, build
from zoo.layers.specs import grid_stream, window_spec
from zoo.layers.streams import quantize_streams
from zoo.registry import Preset
from zoo.spec import Axis, TokenizerSpec
from zoo.tokenizer import Reconstruction, State, Tokenizer
from zoo.tokens import Tokens

__all__ = ["PRESETS", "Config", "KeyframeMotion"]


@dataclass(frozen=True)
class Config:
    """A window is the keyframe and `steps` times `pace` frames; one motion id tells how a block of
    `block` pixels moves over `pace` frames, by up to `reach` pixels a frame."""

    keyframe: Vq
    motion: Vq
    pace: int = 4
    steps: int = 6
    block: int = 16
    reach: int = 7
    width: int = 128
    widen: tuple[int, ...] = (1, 1, 2, 2, 4)
    blocks: int = 2
    motion_width: int = 512
    motion_heads: int = 8
    motion_layers: tuple[Pattern, ...] = ("space", "time") * 6
    decoder_width: int = 128
    decoder_blocks: int = 2
    decoder_motion_layers: tuple[Pattern, ...] = ("space", "time") * 6
    decoder_repair: int = 32

    @property
    def stride(self) -> int:
        return 2 ** (len(self.widen) - 1)

    @property
    def frames(self) -> int:
        return 1 + self.steps * self.pace


class MotionEncoder(nn.Module):
    """Vectors (B, steps * pace, h, w, 2) in units of the reach to (B, steps, h, w, dim)."""

    def __init__(self, config: Config):
        super().__init__()
        self.pace, width = config.pace, config.motion_width
        self.stem = nn.Linear(2 * config.pace, width)
        self.stack = GridTransformer(width, config.motion_heads, config.motion_layers)
        self.head = nn.Linear(width, config.motion.dim)

    def forward(self, vectors: Tensor) -> Tensor:
        paced = vectors.unflatten(1, (-1, self.pace)).movedim(2, -2).flatten(-2)
        return self.head(self.stack(self.stem(paced)))


class MotionDecoder(nn.Module):
    """The way back."""

    def __init__(self, config: Config):
        super().__init__()
        self.pace, width = config.pace, config.motion_width
        self.stem = nn.Linear(config.motion.dim, width)
        self.stack = GridTransformer(width, config.motion_heads, config.decoder_motion_layers)
        self.head = nn.Linear(width, 2 * config.pace)

    def forward(self, values: Tensor) -> Tensor:
        paced = self.head(self.stack(self.stem(values))).unflatten(-1, (self.pace, 2))
        return paced.movedim(-2, 2).flatten(1, 2)


class KeyframeMotion(Tokenizer):
    """Two streams of ids for each window."""

    config_class = Config
    encode_side = ("encoder", "motion_encoder", "quantizers")
    decode_side = ("quantizers.keyframe.out.", "quantizers.motion.out.")
    loss_weights: ClassVar[dict[str, float]] = {"commitment": 0.25}

    def __init__(self, config: Config):
        super().__init__(config)
        parts = {"keyframe": build(config.keyframe), "motion": build(config.motion)}
        self.quantizers = nn.ModuleDict(parts)
        dim = config.keyframe.dim
        self.encoder = FrameEncoder(3, dim, config.width, config.widen, config.blocks)
        self.motion_encoder = MotionEncoder(config)
        self.decoder = FrameDecoder(
            dim, 3, config.decoder_width, config.widen, config.decoder_blocks
        )
        self.motion_decoder = MotionDecoder(config)
        self.repair = nn.Sequential(
            Conv3d(3, config.decoder_repair, 3, padding=1),
            nn.SiLU(),
            Conv3d(config.decoder_repair, 3, 3, padding=1),
        )

    def describe(self) -> TokenizerSpec:
        config = self.config
        key = Axis("h", stride=config.stride), Axis("w", stride=config.stride)
        block = Axis("h", stride=config.block), Axis("w", stride=config.block)
        return window_spec(
            config.frames,
            grid_stream(self.quantizers["keyframe"], *key, name="keyframe"),
            grid_stream(self.quantizers["motion"], *block, name="motion", positions=config.steps),
            multiple=config.block,
        )

    def joined(self, tokens: Tokens) -> Tensor:
        """(B, N): window after window, ids of the keyframe, then those of motion behind them."""
        self.check_tokens(tokens)
        windows = tokens["keyframe"].shape[1]
        both = [tokens["keyframe"], tokens["motion"] + self.config.keyframe.size]
        parts = [ids.unflatten(1, (windows, -1)).flatten(2) for ids in both]
        return torch.cat(parts, dim=2).flatten(1)

    def parted(self, sequence: Tensor, size: tuple[int, int, int]) -> Tokens:
        """The tokens of clips of `size` (frames, rows, columns) that `joined` put into a row."""
        grids, vocabulary = self.spec.grid(size), self.config.keyframe.size
        windows = grids["keyframe"][0]
        key, motion = (torch.Size(grids[n]).numel() // windows for n in ("keyframe", "motion"))
        if sequence.shape[-1] != windows * (key + motion):
            raise UsageError(
                f"{sequence.shape[-1]} ids for a clip of {size}",
                allowed=f"{windows * (key + motion)}",
            )
        one, other = sequence.unflatten(1, (windows, -1)).split([key, motion], dim=2)
        if bool((one >= vocabulary).any() | (other < vocabulary).any()):
            raise UsageError(
                "ids of keyframes and of motion are mixed up",
                allowed=f"{key} ids below {vocabulary}, then {motion} from there on",
            )
        streams = {
            "keyframe": one.reshape(-1, *grids["keyframe"]),
            "motion": (other - vocabulary).reshape(-1, *grids["motion"]),
        }
        return self.tokens(streams, size)

    def encode_piece(self, x: Tensor, state: State) -> dict[str, Tensor]:
        latents = self._latents(x, self._vectors(x))
        return {name: self.quantizers[name].encode(z) for name, z in latents.items()}

    def decode_piece(
        self, streams: dict[str, Tensor], state: State, size: tuple[int, ...]
    ) -> Tensor:
        values = {n: self.quantizers[n].decode(ids) for n, ids in streams.items()}
        return self._moved(*self._read(values))

    def forward(self, x: Tensor) -> Reconstruction:
        wanted = self._vectors(x)
        values, losses, ids = quantize_streams(self.quantizers, self._latents(x, wanted))
        key, vectors = self._read(values)
        losses |= {
            "keyframe": functional.mse_loss(key, x[:, :, :1]),
            "motion": functional.mse_loss(vectors, wanted),
        }
        return Reconstruction(self._moved(key, vectors), losses, ids)

    def _vectors(self, x: Tensor) -> Tensor:
        """Motion vectors in units of the reach."""
        return block_motion(x, self.config.block, self.config.reach) / self.config.reach

    def _latents(self, x: Tensor, vectors: Tensor) -> dict[str, Tensor]:
        key = self.encoder(x[:, :, :1]).movedim(1, -1)
        return {"keyframe": key, "motion": self.motion_encoder(vectors)}

    def _read(self, values: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        key = self.decoder(values["keyframe"].movedim(-1, 1))
        return key, self.motion_decoder(values["motion"])

    def _moved(self, key: Tensor, vectors: Tensor) -> Tensor:
        """The keyframe moved on frame by frame, and what is left to repair."""
        frames = [key.squeeze(2)]
        for step in vectors.unbind(1):
            frames.append(warp(frames[-1], step * self.config.reach))
        rough = torch.stack(frames, dim=2)
        return rough + self.repair(rough)


_LAVIT = (
    "Video-LaVIT: Unified Video-Language Pre-training with Decoupled Visual-Motional "
    "Tokenization, arXiv:2402.03161"
)
_TINY = "video/keyframe_motion_tiny"

PRESETS = (
    Preset(
        _TINY,
        KeyframeMotion,
        Config(
            Vq(dim=16, size=64),
            Vq(dim=16, size=32),
            pace=2,
            steps=2,
            block=4,
            reach=2,
            width=16,
            widen=(1, 2, 2),
            blocks=1,
            motion_width=32,
            motion_heads=2,
            motion_layers=("space",),
            decoder_width=16,
            decoder_blocks=1,
            decoder_motion_layers=("space",),
            decoder_repair=8,
        ),
        _LAVIT,
    ),
    Preset(
        "video/video_lavit_25.k16384",
        KeyframeMotion,
        Config(Vq(dim=256, size=16384, code_dim=32), Vq(dim=256, size=1024, code_dim=32)),
        _LAVIT,
        _TINY,
        serves=("video-lavit",),
    ),
)
