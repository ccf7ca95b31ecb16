"""Images in the words of a frozen language model: V2L, UniCode, SPAE.

The codebook is the vocabulary: latents are named by the nearest word embeddings, which never move,
so that a language model reads pictures in its own ids. With `depth` above 1 every position is a
stack of words, each for what those before it left over (UniCode). With `sides` an image is a
pyramid of words from one to a full grid, any prefix of which decodes (SPAE): the words above a
place are averaged, and every layer is chosen so that the average comes closer to the latents.

    tokenizer.load_words(model.get_input_embeddings().weight, tokenizer_of_the_model_as_list)
    tokens = tokenizer.encode(image)     # word ids
    tokenizer.words(tokens)              # [clip][layer][position], for a column to search in
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from zoo.errors import UsageError
from zoo.layers.frames import FrameDecoder, FrameEncoder
from zoo.layers.quantizers import Vocabulary
from zoo.layers.quantizers.base import straight_through
from zoo.layers.quantizers.vocabulary import VocabularyQuantizer
from zoo.layers.specs import grid_stream, image_spec
from zoo.registry import Preset
from zoo.spec import Axis, TokenizerSpec
from zoo.tokenizer import Reconstruction, State, Tokenizer
from zoo.tokens import Tokens

__all__ = ["PRESETS", "Config", "VocabularyImage"]

WORD_BYTES = 48
"""Longest word that is kept, in UTF-8."""


@dataclass(frozen=True)
class Config:
    """`sides` are the layers of a pyramid, the last is the latents' own grid; none for one layer.

    With `invented`, a new model has made-up words and runs before `load_words`.
    """

    quantizer: Vocabulary
    sides: tuple[int, ...] = ()
    width: int = 128
    widen: tuple[int, ...] = (1, 1, 2, 2, 4)
    blocks: int = 2
    invented: bool = False
    decoder_width: int = 128
    decoder_blocks: int = 2

    def __post_init__(self) -> None:
        words = self.quantizer
        if self.sides and (words.depth > 1 or words.cosine or words.word_dim is not None):
            raise UsageError(
                f"a pyramid with depth {words.depth}, cosine {words.cosine} and word_dim "
                f"{words.word_dim}",
                allowed="depth=1, cosine=False and dim as wide as a word: words are averaged",
            )

    @property
    def stride(self) -> int:
        return 2 ** (len(self.widen) - 1)


class VocabularyImage(Tokenizer):
    """A frame-by-frame autoencoder whose codes are words."""

    config_class = Config
    loss_weights: ClassVar[dict[str, float]] = {"commitment": 0.25}

    def __init__(self, config: Config):
        super().__init__(config)
        dim = config.quantizer.dim
        self.quantizer = VocabularyQuantizer(config.quantizer)
        self.encoder = FrameEncoder(3, dim, config.width, config.widen, config.blocks)
        self.decoder = FrameDecoder(
            dim, 3, config.decoder_width, config.widen, config.decoder_blocks
        )
        spelling = torch.zeros(config.quantizer.size, WORD_BYTES, dtype=torch.uint8)
        self.register_buffer("spelling", spelling)
        if config.invented:
            self._invent()

    def describe(self) -> TokenizerSpec:
        stride, sides = self.config.stride, self.config.sides
        if not sides:
            grid = (Axis("h", stride=stride), Axis("w", stride=stride))
            return image_spec(grid_stream(self.quantizer, *grid), multiple=stride)
        count = Axis("n", sum(side**2 for side in sides))
        stream = grid_stream(self.quantizer, count, ordered="n")
        return image_spec(stream, multiple=stride, size=(sides[-1] * stride,) * 2)

    @torch.no_grad()
    def load_words(self, embeddings: Tensor, words: Sequence[str]) -> None:
        """Take a language model's embeddings `(size, word_dim)` and how its ids are spelt."""
        if len(words) != len(self.spelling):
            raise UsageError(f"{len(words)} words", allowed=f"{len(self.spelling)}")
        rows = [_bytes(word) for word in words]
        self.quantizer.load_words(embeddings)
        self.spelling.copy_(torch.stack(rows))

    def words(self, tokens: Tokens) -> list[list[list[str]]]:
        """The words of every clip, layer by layer (or by place in the stack), in raster order."""
        self.check_tokens(tokens)
        return [
            [[self._word(int(i)) for i in layer.flatten()] for layer in self._layers(clip)]
            for clip in tokens.ids
        ]

    def encode_piece(self, x: Tensor, state: State) -> dict[str, Tensor]:
        z = self.encoder(x).movedim(1, -1)
        if not self.config.sides:
            return {"tokens": self.quantizer.encode(z)}
        return {"tokens": self._pyramid(z)[1]}

    def decode_piece(
        self, streams: dict[str, Tensor], state: State, size: tuple[int, ...]
    ) -> Tensor:
        ids = streams["tokens"]
        if not self.config.sides:
            return self._draw(self.quantizer.decode(ids))
        return self._draw(self._rebuilt(ids))

    def forward(self, x: Tensor) -> Reconstruction:
        z = self.encoder(x).movedim(1, -1)
        if not self.config.sides:
            quantized = self.quantizer(z)
            ids = {} if quantized.ids is None else {"tokens": quantized.ids}
            return Reconstruction(self._draw(quantized.values), quantized.losses, ids)
        made, ids = self._pyramid(z)
        shorter = int(torch.randint(max(1, len(made) - 1), ()))
        losses = {
            "commitment": torch.stack([functional.mse_loss(z, one) for one in made]).mean(),
            "prefix": functional.mse_loss(self._draw(straight_through(z, made[shorter])), x),
        }
        return Reconstruction(self._draw(straight_through(z, made[-1])), losses, {"tokens": ids})

    @torch.no_grad()
    def _pyramid(self, z: Tensor) -> tuple[list[Tensor], Tensor]:
        """Averages of the words of the first layers, for every layer, and all ids in a row."""
        total, made, ids = torch.zeros_like(z), [], []
        for number, side in enumerate(self.config.sides, start=1):
            wanted = number * z - total
            ids.append(self.quantizer.encode(_resized(wanted, side)).flatten(2))
            total = total + _resized(self._cells(ids[-1], side), z.shape[2])
            made.append(total / number)
        return made, torch.cat(ids, dim=2)

    def _rebuilt(self, ids: Tensor) -> Tensor:
        """Latents of a pyramid, or of its first words, from one to all."""
        full = self.config.sides[-1]
        total, weight = torch.zeros((), device=ids.device), torch.zeros((), device=ids.device)
        for side, part in zip(self.config.sides, self._layers(ids), strict=False):
            missing = (0, side**2 - part.shape[-1])
            known = functional.pad(torch.ones(part.shape, device=ids.device), missing)
            words = self._cells(functional.pad(part, missing), side)
            known = known.unflatten(2, (side, side)).unsqueeze(-1)
            total = total + _resized(words * known, full)
            weight = weight + _resized(known, full)
        return total / weight

    def _cells(self, ids: Tensor, side: int) -> Tensor:
        return self.quantizer.decode(ids).unflatten(2, (side, side))

    def _draw(self, values: Tensor) -> Tensor:
        return self.decoder(values.movedim(-1, 1))

    def _layers(self, clip: Tensor) -> Sequence[Tensor]:
        if self.config.quantizer.depth > 1:
            return clip.unbind(-1)
        if not self.config.sides:
            return [clip]
        counts = [side**2 for side in self.config.sides]
        ends = torch.tensor(counts).cumsum(0)[:-1].tolist()
        return [part for part in clip.tensor_split(ends, dim=-1) if part.numel()]

    def _word(self, row: int) -> str:
        return bytes(self.spelling[row].tolist()).rstrip(b"\0").decode()

    @torch.no_grad()
    def _invent(self) -> None:
        config = self.config.quantizer
        width = config.word_dim or config.dim
        embeddings = torch.randn(config.size, width) * width**-0.5
        self.load_words(embeddings, [f"word{number}" for number in range(config.size)])


def _bytes(word: str) -> Tensor:
    """A word's UTF-8, filled up with zeros."""
    raw = word.encode()
    if len(raw) > WORD_BYTES:
        raise UsageError(f"the word {word!r} has {len(raw)} bytes", allowed=f"{WORD_BYTES}")
    return torch.tensor(list(raw.ljust(WORD_BYTES, b"\0")), dtype=torch.uint8)


def _resized(z: Tensor, side: int) -> Tensor:
    """Channels-last latents (B, T, h, w, D) on a grid of `side` by `side`: means, or copies."""
    if z.shape[2:4] == (side, side):
        return z
    mode = "area" if side < z.shape[2] else "nearest"
    sized = functional.interpolate(z.flatten(0, 1).movedim(-1, 1), (side, side), mode=mode)
    return sized.movedim(1, -1).unflatten(0, z.shape[:2])


def _tiny(depth: int = 1, sides: tuple[int, ...] = (), cosine: bool = False) -> Config:
    return Config(
        Vocabulary(dim=32, size=256, word_dim=None if sides else 16, depth=depth, cosine=cosine),
        sides,
        width=16,
        widen=(1, 2, 2),
        blocks=1,
        invented=True,
        decoder_width=16,
        decoder_blocks=1,
    )


_V2L = "Beyond Text: Frozen Large Language Models in Visual Signal Comprehension, arXiv:2403.07874"
_UNICODE = (
    "UniCode: Learning a Unified Codebook for Multimodal Large Language Models, arXiv:2403.09072"
)
_SPAE = (
    "SPAE: Semantic Pyramid AutoEncoder for Multimodal Generation with Frozen LLMs, "
    "arXiv:2306.17842"
)
_V2L_TINY, _UNICODE_TINY, _SPAE_TINY = (
    f"image/vocabulary_{kind}_tiny" for kind in ("words", "stacks", "pyramid")
)

PRESETS = (
    Preset(_V2L_TINY, VocabularyImage, _tiny(cosine=True), _V2L),
    Preset(_UNICODE_TINY, VocabularyImage, _tiny(depth=3), _UNICODE),
    Preset(_SPAE_TINY, VocabularyImage, _tiny(sides=(1, 2, 4)), _SPAE),
    Preset(
        "image/v2l_8.k32000",
        VocabularyImage,
        Config(Vocabulary(dim=256, size=32000, word_dim=4096, cosine=True), widen=(1, 2, 2, 4)),
        _V2L,
        _V2L_TINY,
        serves=("v2l-tokenizer",),
    ),
    Preset(
        "image/unicode_16.k32000",
        VocabularyImage,
        Config(Vocabulary(dim=256, size=32000, word_dim=4096, depth=4)),
        _UNICODE,
        _UNICODE_TINY,
        serves=("unicode",),
    ),
    Preset(
        "image/spae_128.k65000",
        VocabularyImage,
        Config(
            Vocabulary(dim=512, size=65000),
            sides=(1, 2, 4, 8, 16),
            widen=(1, 2, 2, 4),
        ),
        _SPAE,
        _SPAE_TINY,
        serves=("spae",),
    ),
)
