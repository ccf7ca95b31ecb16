"""OmniTokenizer as it was released, weight for weight: its checkpoints keep their ids.

`video_vit` has the same idea in the zoo's own layers and is the one to train: it streams, which
this one cannot. Here layers inside of a frame come first (all-to-all with rotary positions, or in
windows), then layers along time. Before every all-to-all layer a convolution mixes neighbours; the
one before layers along time reads its rows in the order in which they lie in memory, which is not
that of time and space. The released weights were trained so, and the ids need it. Pixels are -0.5
to 0.5 inside, frames are square. A checkpoint is read by
`zoo.adapters.convert("omnitokenizer", PATH)`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.autoencoder import Autoencoder
from zoo.layers.quantizers import QuantizerConfig, Vq, build
from zoo.layers.specs import grid_stream
from zoo.registry import Preset
from zoo.spec import Axis, LengthRule, TokenizerSpec
from zoo.tokenizer import State

__all__ = ["PRESETS", "Config", "OmniTokenizer"]

PIXELS = 0.5
"""Of our -1..1 inside the network."""
SCALE = 8
"""Of the products of unit queries and keys."""
THETA = 10_000.0

Shape = tuple[int, int, int, int]
"""Clips, positions in time, rows, columns."""


@dataclass(frozen=True)
class Config:
    """`patch` is (frames, pixels); blocks are `t` for all-to-all and `w` for windows."""

    quantizer: QuantizerConfig
    size: int = 256
    patch: tuple[int, int] = (4, 8)
    width: int = 512
    heads: int = 8
    head: int = 64
    widen: float = 4.0
    blocks: str = "ttww"
    depth: int = 4
    """Layers along time, in both halves."""
    window: int = 8
    rotary: bool = True
    causal: bool = True
    decoder_blocks: str = "tttt"


class ScaleNorm(nn.Module):
    """Layer normalisation whose shift stays zero."""

    beta: Tensor

    def __init__(self, width: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))
        self.register_buffer("beta", torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x, x.shape[-1:], self.gamma, self.beta)


class Neighbours(nn.Module):
    """A convolution of every channel on its own, over rows taken as (T, H, W) as they lie."""

    def __init__(self, width: int, causal: bool):
        super().__init__()
        self.front = (2, 0) if causal else (1, 1)
        self.dsconv = nn.Conv3d(width, width, 3, groups=width)

    def forward(self, x: Tensor, shape: Shape) -> Tensor:
        clip = functional.pad(x.reshape(*shape, -1).movedim(-1, 1), (1, 1, 1, 1, *self.front))
        return self.dsconv(clip).movedim(1, -1).reshape(x.shape)


class Attention(nn.Module):
    """All rows see each other, or those before them; keys and values are not normalised."""

    def __init__(self, config: Config, *, causal: bool = False, rotary: bool = False):
        super().__init__()
        inner = config.heads * config.head
        self.heads, self.causal, self.rotary = config.heads, causal, rotary
        self.norm = ScaleNorm(config.width)
        self.to_q = nn.Linear(config.width, inner, bias=False)
        self.to_kv = nn.Linear(config.width, 2 * inner, bias=False)
        self.q_scale = nn.Parameter(torch.ones(config.head))
        self.k_scale = nn.Parameter(torch.ones(config.head))
        self.to_out = nn.Linear(inner, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.to_q(self.norm(x)), *self.to_kv(x).chunk(2, dim=-1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        if self.rotary:
            q, k = _turned(q), _turned(k)
        q = functional.normalize(q, dim=-1) * self.q_scale
        k = functional.normalize(k, dim=-1) * self.k_scale
        seen = functional.scaled_dot_product_attention(
            q, k, v, is_causal=self.causal, scale=float(SCALE)
        )
        return self.to_out(seen.transpose(1, 2).flatten(2))


def _turned(x: Tensor) -> Tensor:
    """Pairs of numbers turned by the column and the row of a square grid, in alternation."""
    count, width = x.shape[-2:]
    side = int(count**0.5)
    where = torch.arange(count, device=x.device)
    speeds = THETA ** -(torch.arange(0, width, 4, device=x.device) / width)
    angles = torch.stack([where % side, where // side], dim=-1).unsqueeze(1) * speeds.unsqueeze(-1)
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    turn = torch.polar(torch.ones_like(angles), angles).flatten(1)
    return torch.view_as_real(pairs * turn).flatten(-2).type_as(x)


class WindowAttention(nn.Module):
    """Attention inside of square windows, with a learned bias for each offset."""

    offsets: Tensor

    def __init__(self, config: Config):
        super().__init__()
        self.side, self.heads = config.window, config.heads
        self.norm = ScaleNorm(config.width)
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.proj = nn.Linear(config.width, config.width)
        span = 2 * self.side - 1
        self.relative_position_bias_table = nn.Parameter(torch.zeros(span**2, config.heads))
        steps = torch.arange(self.side)
        away = steps.unsqueeze(1) - steps + self.side - 1
        rows = away.repeat_interleave(self.side, 0).repeat_interleave(self.side, 1)
        columns = away.repeat(self.side, self.side)
        self.register_buffer("offsets", rows * span + columns, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        grid, side = int(x.shape[1] ** 0.5), self.side
        tiles = self.norm(x).unflatten(1, (grid // side, side, grid // side, side))
        rows = tiles.transpose(2, 3).flatten(3, 4).flatten(0, 2)
        q, k, v = self.qkv(rows).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        bias = self.relative_position_bias_table[self.offsets].permute(2, 0, 1)
        seen = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias.unsqueeze(0))
        made = self.proj(seen.transpose(1, 2).flatten(2))
        tiles = made.view(len(x), grid // side, grid // side, side, side, -1)
        return tiles.transpose(2, 3).reshape(x.shape)


class Gated(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        value, gate = x.chunk(2, dim=-1)
        return functional.gelu(gate) * value


def _feed_forward(config: Config) -> nn.Sequential:
    inner = int(config.widen * (2 / 3) * config.width)
    return nn.Sequential(
        nn.LayerNorm(config.width),
        nn.Linear(config.width, 2 * inner, bias=False),
        Gated(),
        nn.Identity(),
        nn.Linear(inner, config.width, bias=False),
    )


class Transformer(nn.Module):
    """Layers of one half; names of their parts are the numbers that checkpoints have."""

    def __init__(self, config: Config, blocks: str, *, causal: bool = False, rotary: bool = False):
        super().__init__()
        self.layers = nn.ModuleList()
        for block in blocks:
            parts: dict[str, nn.Module] = {"3": _feed_forward(config)}
            if block == "w":
                parts["1"] = WindowAttention(config)
            else:
                parts["0"] = Neighbours(config.width, config.causal)
                parts["1"] = Attention(config, causal=causal, rotary=rotary)
            self.layers.append(nn.ModuleDict(parts))
        self.norm_out = ScaleNorm(config.width)

    def forward(self, x: Tensor, shape: Shape) -> Tensor:
        for layer in self.layers:
            parts = dict(layer.named_children())
            if "0" in parts:
                x = parts["0"](x, shape) + x
            x = parts["1"](x) + x
            x = parts["3"](x) + x
        return self.norm_out(x)


class SpaceTime(nn.Module):
    """(B, T, H, W, C) through layers inside of frames and layers along time."""

    def __init__(self, config: Config, blocks: str):
        super().__init__()
        self.space = Transformer(config, blocks, rotary=config.rotary)
        self.time = Transformer(config, "t" * config.depth, causal=config.causal)

    def in_frames(self, x: Tensor) -> Tensor:
        shape = (x.shape[0], x.shape[1], x.shape[2], x.shape[3])
        return self.space(x.flatten(2, 3).flatten(0, 1), shape).view(x.shape)

    def along_time(self, x: Tensor) -> Tensor:
        shape = (x.shape[0], x.shape[1], x.shape[2], x.shape[3])
        lines = x.movedim(1, 3)
        return self.time(lines.flatten(0, 2), shape).view(lines.shape).movedim(3, 1)


def _embedding(width: int, values: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Identity(), nn.LayerNorm(values), nn.Linear(values, width), nn.LayerNorm(width)
    )


class Encoder(nn.Module):
    """(B, 3, 1+kt, H, W) to unit vectors (B, dim, 1+k, H/p, W/p)."""

    def __init__(self, config: Config, dim: int):
        super().__init__()
        self.frames, self.side = config.patch
        self.to_patch_emb_first_frame = _embedding(config.width, 3 * self.side**2)
        self.to_patch_emb = _embedding(config.width, 3 * self.frames * self.side**2)
        self.layers = SpaceTime(config, config.blocks)
        self.head = nn.Linear(config.width, dim)

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        y = self.to_patch_emb_first_frame(self._patches(x[:, :, :1] * PIXELS, 1))
        if x.shape[2] > 1:
            rest = self.to_patch_emb(self._patches(x[:, :, 1:] * PIXELS, self.frames))
            y = torch.cat([y, rest], dim=1)
        y = self.head(self.layers.along_time(self.layers.in_frames(y)))
        return functional.normalize(y, dim=-1).movedim(-1, 1)

    def _patches(self, x: Tensor, frames: int) -> Tensor:
        cut = x.unflatten(4, (-1, self.side)).unflatten(3, (-1, self.side))
        cut = cut.unflatten(2, (-1, frames))  # B C T t H p W p
        return cut.permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(4)


class Decoder(nn.Module):
    """(B, dim, 1+k, H/p, W/p) to (B, 3, 1+kt, H, W)."""

    def __init__(self, config: Config, dim: int):
        super().__init__()
        self.frames, self.side = config.patch
        self.stem = nn.Linear(dim, config.width)
        self.layers = SpaceTime(config, config.decoder_blocks)
        values = 3 * self.side**2
        self.to_pixels_first_frame = nn.Sequential(nn.Linear(config.width, values))
        self.to_pixels = nn.Sequential(nn.Linear(config.width, values * self.frames))

    def forward(self, z: Tensor, state: State | None = None) -> Tensor:
        y = self.stem(z.movedim(1, -1))
        y = self.layers.in_frames(self.layers.along_time(y))
        made = [self._pixels(self.to_pixels_first_frame(y[:, :1]), 1)]
        if y.shape[1] > 1:
            made.append(self._pixels(self.to_pixels(y[:, 1:]), self.frames))
        return torch.cat(made, dim=2) / PIXELS

    def _pixels(self, x: Tensor, frames: int) -> Tensor:
        cut = x.unflatten(-1, (3, frames, self.side, self.side))  # B T H W C t p p
        cut = cut.permute(0, 4, 1, 5, 2, 6, 3, 7)
        return cut.flatten(6, 7).flatten(4, 5).flatten(2, 3)


class OmniTokenizer(Autoencoder):
    """The joint image and video tokenizer of OmniTokenizer, over whole clips."""

    config_class = Config

    def __init__(self, config: Config):
        super().__init__(config)
        self.quantizer = build(config.quantizer)
        self.encoder = Encoder(config, self.quantizer.dim)
        self.decoder = Decoder(config, self.quantizer.dim)

    def describe(self) -> TokenizerSpec:
        frames, side = self.config.patch
        stream = grid_stream(self.quantizer, Axis("h", stride=side), Axis("w", stride=side))
        return TokenizerSpec(
            modality="video",
            channels=3,
            length=LengthRule(1, frames),
            streams=(stream,),
            size=(self.config.size, self.config.size),
            multiple=side * self.config.window,
            value_range=(-1.0, 1.0),
        )


_PAPER = "OmniTokenizer: A Joint Image-Video Tokenizer for Visual Generation, arXiv:2406.09399"
_RELEASED = Config(Vq(dim=8, size=8192))

PRESETS = (
    Preset(
        "video/omnitokenizer_released_tiny",
        OmniTokenizer,
        replace(
            _RELEASED,
            quantizer=Vq(dim=8, size=64),
            size=32,
            width=64,
            heads=2,
            head=16,
            blocks="tw",
            depth=1,
            window=2,
            decoder_blocks="t",
        ),
        _PAPER,
    ),
    Preset(
        "video/omnitokenizer_released_4x8x8.k8192",
        OmniTokenizer,
        _RELEASED,
        _PAPER,
        "video/omnitokenizer_released_tiny",
    ),
)
