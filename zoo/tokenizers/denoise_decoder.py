"""Image autoencoders that decode by denoising: eps-VAE.

The encoder is the usual one. Instead of a decoder that gives the mean of all pictures that fit the
latents, a U-Net reads the latents beside a noisy picture and takes the noise out in a few steps,
which draws one of them. Pictures go through one by one; a clip is so many pictures.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.denoising import DenoisingTokenizer
from zoo.layers.flow import TimeEmbedding, mixed
from zoo.layers.frames import FrameEncoder
from zoo.layers.quantizers import KL, QuantizerConfig, build
from zoo.layers.specs import grid_stream, image_spec
from zoo.registry import Preset
from zoo.spec import Axis, TokenizerSpec
from zoo.tokenizer import Reconstruction, State

__all__ = ["PRESETS", "Config", "DenoiseDecoder"]


@dataclass(frozen=True)
class Config:
    """`widen` and `decoder_widen` have one entry for each resolution."""

    quantizer: QuantizerConfig
    width: int = 128
    widen: tuple[int, ...] = (1, 2, 4, 4)
    blocks: int = 2
    decoder_width: int = 128
    decoder_widen: tuple[int, ...] = (1, 2, 2, 4)
    decoder_blocks: int = 2
    decoder_steps: int = 3

    @property
    def stride(self) -> int:
        return 2 ** (len(self.widen) - 1)


class TimedBlock(nn.Module):
    """Two normalised convolutions beside a shortcut, scaled and shifted by the time."""

    def __init__(self, channels: int, out: int, condition: int):
        super().__init__()
        self.norm1, self.conv1 = _norm(channels), nn.Conv2d(channels, out, 3, padding=1)
        self.norm2, self.conv2 = _norm(out), nn.Conv2d(out, out, 3, padding=1)
        self.modulation = nn.Linear(condition, 2 * out)
        self.shortcut = nn.Conv2d(channels, out, 1) if channels != out else nn.Identity()

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        y = self.conv1(functional.silu(self.norm1(x)))
        scale, shift = self.modulation(condition)[:, :, None, None].chunk(2, dim=1)
        y = self.norm2(y) * (1 + scale) + shift
        return self.shortcut(x) + self.conv2(functional.silu(y))


class Denoiser(nn.Module):
    """A U-Net from noisy pictures (N, 3, H, W), their times and latents (N, dim, h, w) to clean."""

    def __init__(self, config: Config, dim: int):
        super().__init__()
        widths = [config.decoder_width * factor for factor in config.decoder_widen]
        condition = 4 * config.decoder_width
        self.time = TimeEmbedding(condition)
        self.stem = nn.Conv2d(3 + dim, widths[0], 3, padding=1)
        self.falls, self.rises = nn.ModuleList(), nn.ModuleList()
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for width, deeper in itertools.pairwise(widths):
            self.falls.append(_stage(width, width, config.decoder_blocks, condition))
            self.down.append(nn.Conv2d(width, deeper, 3, 2, padding=1))
            self.up.insert(0, nn.Conv2d(deeper, width, 3, padding=1))
            self.rises.insert(0, _stage(2 * width, width, config.decoder_blocks, condition))
        self.middle = _stage(widths[-1], widths[-1], config.decoder_blocks, condition)
        self.norm, self.head = _norm(widths[0]), nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, noisy: Tensor, time: Tensor, z: Tensor) -> Tensor:
        condition = functional.silu(self.time(time))
        hint = functional.interpolate(z, noisy.shape[-2:], mode="nearest")
        x = self.stem(torch.cat([noisy, hint.to(noisy)], dim=1))
        skips = []
        for stage, down in zip(self.falls, self.down, strict=True):
            skips.append(_run(stage, x, condition))
            x = down(skips[-1])
        x = _run(self.middle, x, condition)
        for up, stage in zip(self.up, self.rises, strict=True):
            x = up(functional.interpolate(x, scale_factor=2.0, mode="nearest"))
            x = _run(stage, torch.cat([x, skips.pop()], dim=1), condition)
        return self.head(functional.silu(self.norm(x)))


class DenoiseDecoder(DenoisingTokenizer):
    """Latents of pictures, decoded by denoising."""

    config_class = Config

    def __init__(self, config: Config):
        super().__init__(config)
        self.quantizer = build(config.quantizer)
        dim = self.quantizer.dim
        self.encoder = FrameEncoder(3, dim, config.width, config.widen, config.blocks)
        self.decoder = Denoiser(config, dim)

    def describe(self) -> TokenizerSpec:
        stride = self.config.stride
        stream = grid_stream(self.quantizer, Axis("h", stride=stride), Axis("w", stride=stride))
        return image_spec(stream, multiple=stride)

    def encode_piece(self, x: Tensor, state: State) -> dict[str, Tensor]:
        return {"tokens": self.quantizer.encode(self.encoder(x).movedim(1, -1))}

    def decode_piece(
        self, streams: dict[str, Tensor], state: State, size: tuple[int, ...]
    ) -> Tensor:
        values = self.quantizer.decode(streams["tokens"]).to(self.decoder.stem.weight)
        z = values[:, 0].movedim(-1, 1)
        like = z.new_empty(1, 3, *size[1:])
        return self.draw(lambda noisy, time: self.decoder(noisy, time, z), like).unsqueeze(2)

    def forward(self, x: Tensor) -> Reconstruction:
        quantized = self.quantizer(self.encoder(x).movedim(1, -1))
        z = quantized.values.flatten(0, 1).movedim(-1, 1)
        noisy, time = mixed(x.transpose(1, 2).flatten(0, 1))
        clean = self.decoder(noisy, time, z).unflatten(0, (len(x), -1)).transpose(1, 2)
        ids = {} if quantized.ids is None else {"tokens": quantized.ids}
        return Reconstruction(clean, quantized.losses, ids)


def _norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(min(8, width), width, eps=1e-6)


def _stage(channels: int, out: int, blocks: int, condition: int) -> nn.ModuleList:
    widths = [channels] + [out] * blocks
    return nn.ModuleList(TimedBlock(a, b, condition) for a, b in itertools.pairwise(widths))


def _run(stage: nn.Module, x: Tensor, condition: Tensor) -> Tensor:
    for block in stage.children():
        x = block(x, condition)
    return x


_EPS = "eps-VAE: Denoising as Visual Decoding, arXiv:2410.04081"
_TINY = Config(
    KL(dim=16, channels=4),
    width=16,
    widen=(1, 1, 2),
    blocks=1,
    decoder_width=16,
    decoder_widen=(1, 2),
    decoder_blocks=1,
)

PRESETS = (
    Preset("image/eps_vae_tiny", DenoiseDecoder, _TINY, _EPS),
    Preset(
        "image/eps_vae_8x8.ch8",
        DenoiseDecoder,
        Config(KL(dim=512, channels=8)),
        _EPS,
        "image/eps_vae_tiny",
        serves=("eps-vae",),
    ),
)
