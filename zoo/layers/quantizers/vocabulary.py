"""A frozen vocabulary as the codebook: latents become words of a language model.

SPAE, V2L and UniCode. `load_words` stores the model's embeddings; `into` learns to reach them and
`out` to read them, the words never move. With `depth` above 1 every further word names what the
words before it left over, so any prefix decodes (UniCode's stacks, SPAE's pyramid).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.errors import UsageError
from zoo.layers.quantizers._codebook import codebook_losses, mean_losses
from zoo.layers.quantizers._search import nearest, on_sphere
from zoo.layers.quantizers.base import (
    Quantizer,
    QuantizerConfig,
    RawQuantized,
    projection,
    setting,
    straight_through,
)

__all__ = ["Vocabulary", "VocabularyQuantizer"]


@dataclass(frozen=True, kw_only=True)
class Vocabulary(QuantizerConfig, kind="vocabulary"):
    size: int = setting(32000, least=2, most=2**20)
    word_dim: int | None = setting(None, least=1)
    """Width of a word's embedding; the latents' own width if None."""
    depth: int = setting(1, least=1, most=16)
    cosine: bool = False
    """Compare directions; only for one word a position."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cosine and self.depth > 1:
            raise UsageError(
                f"vocabulary with cosine and {self.depth} words a position",
                allowed="cosine with depth=1",
                hint="what is left over of a unit vector is not a direction to compare",
            )


class VocabularyQuantizer(Quantizer):
    """See the module."""

    nested = True
    words: Tensor
    loaded: Tensor

    def __init__(self, config: Vocabulary) -> None:
        super().__init__(config)
        width = config.word_dim or config.dim
        self.levels = (config.size,) * config.depth
        self.cosine = config.cosine
        self.into = projection(config.dim, width)
        self.register_buffer("words", torch.zeros(config.size, width))
        self.register_buffer("loaded", torch.tensor(False))
        self.out = projection(width, config.dim)

    @torch.no_grad()
    def load_words(self, embeddings: Tensor) -> None:
        """Keep the `(size, word_dim)` embeddings of a language model."""
        if embeddings.shape != self.words.shape:
            raise UsageError(
                f"embeddings of shape {tuple(embeddings.shape)}",
                allowed=f"{tuple(self.words.shape)}: size and word_dim of the config",
            )
        self.words.copy_(on_sphere(embeddings.float()) if self.cosine else embeddings)
        self.loaded.fill_(True)

    def _quantize(self, z: Tensor) -> RawQuantized:
        latents = self._latents(z)
        ids, totals = self._stack(latents)
        losses = [codebook_losses(latents, total, learned=False) for total in totals]
        return self.out(straight_through(latents, totals[-1])), ids, mean_losses(losses)

    def _encode(self, z: Tensor) -> Tensor:
        return self._stack(self._latents(z))[0]

    def _decode(self, columns: Tensor) -> Tensor:
        self._check_loaded()
        return self.out(self._sums(columns)[-1])

    def _latents(self, z: Tensor) -> Tensor:
        self._check_loaded()
        latents = self.into(z)
        return on_sphere(latents) if self.cosine else latents

    def _stack(self, latents: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Ids of every depth, and the sum of words down to it."""
        residual, ids = latents.detach(), []
        for _ in self.levels:
            ids.append(nearest(residual, self.words.float()))
            residual = residual - self.words[ids[-1]].float()
        columns = torch.stack(ids, -1)
        return columns, self._sums(columns)

    def _sums(self, columns: Tensor) -> list[Tensor]:
        sums: list[Tensor] = []
        for ids in columns.unbind(-1):
            word = self.words[ids].float()
            sums.append(sums[-1] + word if sums else word)
        return sums

    def _check_loaded(self) -> None:
        if not self.loaded:
            raise UsageError(
                "the vocabulary has no words yet",
                hint="quantizer.load_words(language_model.get_input_embeddings().weight)",
            )
