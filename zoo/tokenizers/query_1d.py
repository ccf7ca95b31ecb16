"""1D tokens read by queries: TiTok, One-D-Piece, FlexTok, Semanticist, LARP, Divot.

Learned queries go through a transformer together with the patches of a picture or a window of
frames, and only they are kept: `tokens` of them, in no grid. A second transformer makes the patches
again, either at once or by denoising them in steps.

With `nested`, training keeps a random number of the first tokens. What matters most then moves to
the front, the rest refines it, and stored tokens can be cut to any length: `Tokens.keep(n)`.
`causal` queries do not see those behind them. With `prior_width`, a small autoregressive model
learns along and pulls the ids towards what it can predict.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.denoising import DenoisingTokenizer
from zoo.errors import UsageError
from zoo.layers.attention import TransformerLayer, grid_positions, rotary_angles
from zoo.layers.flow import TimeEmbedding, mixed
from zoo.layers.patches import FromPatches, ToPatches
from zoo.layers.quantizers import KL, Fsq, QuantizerConfig, Stochastic, Vq, build
from zoo.layers.specs import grid_stream, image_spec, window_spec
from zoo.layers.token_learner import TokenLearner
from zoo.registry import Preset
from zoo.spec import Axis, TokenizerSpec
from zoo.tokenizer import Reconstruction, State

__all__ = ["PRESETS", "Config", "Query1d"]


@dataclass(frozen=True)
class Config:
    """`size` and `patch` are (frames, rows, columns) and (frames, pixels); one frame is an image.

    `reader` is how patches become tokens: by queries, or by pooling with learned maps.
    """

    quantizer: QuantizerConfig
    size: tuple[int, int, int] = (1, 256, 256)
    patch: tuple[int, int] = (1, 16)
    tokens: int = 256
    width: int = 768
    heads: int = 12
    depth: int = 12
    reader: Literal["queries", "pool"] = "queries"
    nested: bool = False
    causal: bool = False
    prior_width: int = 0
    prior_depth: int = 2
    decoder: Literal["patches", "denoise"] = "patches"
    decoder_width: int = 768
    decoder_heads: int = 12
    decoder_depth: int = 12
    decoder_steps: int = 8

    def __post_init__(self) -> None:
        if self.causal and self.reader == "pool":
            raise UsageError("pooled tokens have no order to be causal in", allowed="queries")

    @property
    def grid(self) -> tuple[int, int, int]:
        """Patches along time, rows and columns."""
        frames, rows, columns = self.size
        return frames // self.patch[0], rows // self.patch[1], columns // self.patch[1]

    @property
    def places(self) -> int:
        return self.grid[0] * self.grid[1] * self.grid[2]


class Encoder(nn.Module):
    """Windows (B, 3, T, H, W) to (B, tokens, dim)."""

    def __init__(self, config: Config, dim: int):
        super().__init__()
        width, tokens = config.width, config.tokens
        self.stem = ToPatches(width, *config.patch)
        self.places = _embedding(config.places, width)
        self.layers = _layers(width, config.heads, config.depth)
        if config.reader == "queries":
            self.queries = _embedding(tokens, width)
        else:
            self.pool = TokenLearner(width, tokens)
        self.norm, self.head = nn.RMSNorm(width), nn.Linear(width, dim)
        self.by_queries, self.tokens = config.reader == "queries", tokens
        self.causal = config.causal

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x).flatten(1, 3) + self.places
        count = y.shape[1]
        if self.by_queries:
            y = torch.cat([y, self.queries.expand(len(y), -1, -1)], dim=1)
        mask = self._mask(count, x.device) if self.causal else None
        for layer in self.layers:
            y = layer(y, mask=mask)
        y = y[:, count:] if self.by_queries else self.pool(y)
        return self.head(self.norm(y))

    def _mask(self, places: int, device: torch.device) -> Tensor:
        """Patches see patches; a query sees patches and the queries up to itself."""
        count = places + self.tokens
        return torch.ones(count, count, dtype=torch.bool, device=device).tril() | (
            torch.arange(count, device=device) < places
        )


class Decoder(nn.Module):
    """The first tokens (B, n, dim) to windows; when denoising, from noisy ones and their times."""

    def __init__(self, config: Config, dim: int):
        super().__init__()
        width = config.decoder_width
        denoise = config.decoder == "denoise"
        self.grid = config.grid
        self.stem = nn.Linear(dim, width)
        self.order = _embedding(config.tokens, width)
        self.places = _embedding(config.places, width)
        self.noisy = ToPatches(width, *config.patch) if denoise else None
        self.time = TimeEmbedding(width) if denoise else None
        self.layers = _layers(
            width, config.decoder_heads, config.decoder_depth, width if denoise else 0
        )
        self.norm, self.head = nn.RMSNorm(width), FromPatches(width, *config.patch)

    def forward(
        self,
        z: Tensor,
        kept: Tensor | None = None,
        noisy: Tensor | None = None,
        time: Tensor | None = None,
    ) -> Tensor:
        """`kept` (B,) is how many tokens of each window are seen; all without it."""
        count = self.places.shape[1]
        tokens = self.stem(z) + self.order[:, : z.shape[1]]
        places = self.places.expand(len(z), -1, -1)
        condition = None
        if self.noisy is not None and self.time is not None:
            places = places + self.noisy(noisy).flatten(1, 3)
            condition = self.time(time)
        y = torch.cat([places, tokens], dim=1)
        mask = None
        if kept is not None:
            order = torch.arange(y.shape[1], device=z.device) - count
            mask = (order < kept.unsqueeze(1))[:, None, None]
        for layer in self.layers:
            y = layer(y, mask=mask, condition=condition)
        return self.head(self.norm(y[:, :count]).unflatten(1, self.grid))


class Prior(nn.Module):
    """Predicts each token's id from the tokens before it; the loss reaches the encoder."""

    def __init__(self, dim: int, codes: int, width: int, depth: int):
        super().__init__()
        self.stem, self.start = nn.Linear(dim, width), _embedding(1, width)
        self.layers = _layers(width, max(1, width // 64), depth)
        self.norm, self.head = nn.RMSNorm(width), nn.Linear(width, codes)

    def forward(self, values: Tensor, ids: Tensor) -> Tensor:
        start = self.start.expand(len(values), -1, -1)
        y = torch.cat([start, self.stem(values[:, :-1])], dim=1)
        count = y.shape[1]
        mask = torch.ones(count, count, dtype=torch.bool, device=y.device).tril()
        width = self.layers[0].attention.width
        angles = rotary_angles(grid_positions((count,), y.device), width)
        for layer in self.layers:
            y = layer(y, mask=mask, angles=angles)
        return functional.cross_entropy(self.head(self.norm(y)).flatten(0, 1), ids.flatten())


class Query1d(DenoisingTokenizer):
    """1D tokens of pictures, or of windows of frames.

    A decoder that gives patches at once does not draw: seed and steps are nothing to it.
    """

    config_class = Config
    decode_only: ClassVar[tuple[str, ...]] = ("prior_width", "prior_depth")
    loss_weights: ClassVar[dict[str, float]] = {"prior": 0.06}

    def __init__(self, config: Config):
        super().__init__(config)
        self.quantizer = build(config.quantizer)
        dim = self.quantizer.dim
        self.encoder, self.decoder = Encoder(config, dim), Decoder(config, dim)
        if config.prior_width:
            if len(self.quantizer.levels) != 1:
                raise UsageError("a prior predicts one id a token", allowed="one level of codes")
            self.prior = Prior(
                dim, self.quantizer.levels[0], config.prior_width, config.prior_depth
            )

    def describe(self) -> TokenizerSpec:
        config = self.config
        axis, ordered = Axis("n", extent=config.tokens), "n" if config.nested else ""
        stream = grid_stream(self.quantizer, axis, ordered=ordered)
        frames, *size = config.size
        spec = image_spec if frames == 1 else partial(window_spec, frames)
        return spec(stream, multiple=config.patch[1], size=tuple(size))

    def encode_piece(self, x: Tensor, state: State) -> dict[str, Tensor]:
        return {"tokens": self.quantizer.encode(self.encoder(x)).unsqueeze(1)}

    def decode_piece(
        self, streams: dict[str, Tensor], state: State, size: tuple[int, ...]
    ) -> Tensor:
        values = self.quantizer.decode(streams["tokens"].squeeze(1)).to(self.decoder.stem.weight)
        if self.config.decoder == "patches":
            return self.decoder(values)
        like = values.new_empty(1, 3, *self.config.size)
        return self.draw(lambda noisy, time: self.decoder(values, None, noisy, time), like)

    def forward(self, x: Tensor) -> Reconstruction:
        windows = x.unflatten(2, (-1, self.config.size[0])).transpose(1, 2)
        flat = windows.flatten(0, 1)
        quantized = self.quantizer(self.encoder(flat))
        inputs: dict[str, Any] = {}
        if self.config.nested and self.training:
            inputs["kept"] = torch.randint(1, self.config.tokens + 1, flat.shape[:1]).to(x.device)
        if self.config.decoder == "denoise":
            inputs["noisy"], inputs["time"] = mixed(flat)
        output = self.decoder(quantized.values, **inputs)
        losses = dict(quantized.losses)
        if self.config.prior_width:
            losses["prior"] = self.prior(quantized.values, quantized.ids)
        ids = {} if quantized.ids is None else {"tokens": _by_clip(quantized.ids, windows)}
        return Reconstruction(_by_clip(output, windows).transpose(1, 2).flatten(2, 3), losses, ids)


def _by_clip(x: Tensor, windows: Tensor) -> Tensor:
    return x.unflatten(0, windows.shape[:2])


def _embedding(count: int, width: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(1, count, width) * 0.5)


def _layers(width: int, heads: int, depth: int, condition: int = 0) -> nn.ModuleList:
    return nn.ModuleList(TransformerLayer(width, heads, condition=condition) for _ in range(depth))


_SCALES = {"s": (512, 8, 8), "b": (768, 12, 12), "l": (1024, 16, 24)}
"""Width, heads and depth of the usual transformers."""


def _sized(quantizer: QuantizerConfig, scale: str, tokens: int, **options: Any) -> Config:
    width, heads, depth = _SCALES[scale]
    return Config(
        quantizer,
        tokens=tokens,
        width=width,
        heads=heads,
        depth=depth,
        decoder_width=width,
        decoder_heads=heads,
        decoder_depth=depth,
        **options,
    )


def _tiny(quantizer: QuantizerConfig, **options: Any) -> Config:
    known: dict[str, Any] = {"size": (1, 16, 16), "patch": (1, 4), "tokens": 8, **options}
    return Config(
        quantizer,
        width=32,
        heads=2,
        depth=1,
        decoder_width=32,
        decoder_heads=2,
        decoder_depth=1,
        decoder_steps=4,
        **known,
    )


_TITOK = "An Image is Worth 32 Tokens for Reconstruction and Generation, arXiv:2406.07550"
_PIECE = "One-D-Piece: Image Tokenizer Meets Quality-Controllable Compression, arXiv:2501.10064"
_FLEXTOK = "FlexTok: Resampling Images into 1D Token Sequences of Flexible Length, arXiv:2502.13967"
_SEMANTICIST = "Principal Components Enable A New Language of Images, arXiv:2503.08685"
_LARP = "LARP: Tokenizing Videos with a Learned Autoregressive Generative Prior, arXiv:2410.21264"
_DIVOT = "Divot: Diffusion Powers Video Tokenizer for Comprehension and Generation, "
_DIVOT += "arXiv:2412.04432"
_LEARNER = "TokenLearner: What Can 8 Learned Tokens Do for Images and Videos?, arXiv:2106.11297"

_VIDEO_TINY = {"size": (4, 16, 16), "patch": (2, 4)}
_VIDEO = {"size": (16, 128, 128), "patch": (4, 8)}
_ORDERED: dict[str, Any] = {"nested": True, "causal": True, "decoder": "denoise"}


def _unit_vq(dim: int, code_dim: int, size: int) -> Vq:
    return Vq(dim=dim, code_dim=code_dim, size=size, cosine=True)


PRESETS = (
    Preset("image/titok_tiny", Query1d, _tiny(_unit_vq(32, 8, 64)), _TITOK),
    Preset("image/token_learner_tiny", Query1d, _tiny(Fsq(dim=32), reader="pool"), _LEARNER),
    Preset("image/one_d_piece_tiny", Query1d, _tiny(_unit_vq(32, 8, 64), nested=True), _PIECE),
    Preset(
        "image/flextok_tiny", Query1d, _tiny(Fsq(dim=32, levels=(4, 4, 4)), **_ORDERED), _FLEXTOK
    ),
    Preset(
        "image/semanticist_tiny", Query1d, _tiny(KL(dim=32, channels=2), **_ORDERED), _SEMANTICIST
    ),
    Preset(
        "video/larp_tiny",
        Query1d,
        _tiny(Stochastic(dim=32, code_dim=8, size=64), prior_width=32, **_VIDEO_TINY),
        _LARP,
    ),
    Preset(
        "video/divot_tiny",
        Query1d,
        _tiny(KL(dim=32, channels=8), decoder="denoise", **_VIDEO_TINY),
        _DIVOT,
    ),
    *(
        Preset(
            f"image/titok_{scale}_{tokens}.k4096",
            Query1d,
            _sized(_unit_vq(_SCALES[scale][0], 12, 4096), scale, tokens),
            _TITOK,
            "image/titok_tiny",
            {"rfid (ImageNet, 256x256)": rfid},
        )
        for scale, tokens, rfid in (("l", 32, 2.21), ("b", 64, 1.70), ("s", 128, 1.71))
    ),
    Preset(
        "image/one_d_piece_l_256.k4096",
        Query1d,
        _sized(_unit_vq(1024, 12, 4096), "l", 256, nested=True),
        _PIECE,
        "image/one_d_piece_tiny",
        serves=("one-d-piece",),
    ),
    Preset(
        "image/flextok_b_256.k64000",
        Query1d,
        _sized(Fsq(dim=768), "b", 256, **_ORDERED, decoder_steps=25),
        _FLEXTOK,
        "image/flextok_tiny",
        serves=("flextok",),
    ),
    Preset(
        "image/semanticist_b_256.ch16",
        Query1d,
        _sized(KL(dim=768, channels=16), "b", 256, **_ORDERED, decoder_steps=25),
        _SEMANTICIST,
        "image/semanticist_tiny",
        serves=("semanticist",),
    ),
    Preset(
        "video/larp_l_1024.k8192",
        Query1d,
        _sized(Stochastic(dim=768, code_dim=16, size=8192), "b", 1024, prior_width=256, **_VIDEO),
        _LARP,
        "video/larp_tiny",
        {
            "parameters": 173e6,
            "psnr (UCF-101, 16x128x128)": 28.70,
            "lpips (UCF-101, 16x128x128, vgg)": 0.0755,
        },
        serves=("larp",),
    ),
    Preset(
        "video/divot_b_64.ch64",
        Query1d,
        _sized(KL(dim=768, channels=64), "b", 64, decoder="denoise", decoder_steps=25, **_VIDEO),
        _DIVOT,
        "video/divot_tiny",
        serves=("divot",),
    ),
)
