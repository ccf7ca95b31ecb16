"""Texts as tensors, and a small reader of them for generators that bring their own.

No vocabulary is stored and none can be missing: a word is the hash of its letters, one of
`BUCKETS - 1`; 0 is padding. Large text encoders are the other way: their embeddings are made
beforehand and given as such. An encoder that came with pretrained weights reads the text itself,
which travels as its bytes.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from zoo.layers.attention import TransformerLayer, grid_positions, rotary_angles

__all__ = ["BUCKETS", "WordReader", "text_bytes", "texts_of", "word_ids"]

BUCKETS = 4096
MOST_WORDS = 64
_WORD = re.compile(r"[^\W\d_]+|\d+")


def word_ids(texts: Sequence[str], most: int = MOST_WORDS) -> Tensor:
    """(B, words) of the first `most` words of each text, padded with 0."""
    rows = [[_hashed(word) for word in _WORD.findall(text.lower())[:most]] for text in texts]
    made = torch.zeros(len(rows), max([1, *map(len, rows)]), dtype=torch.long)
    for row, ids in zip(made, rows, strict=True):
        row[: len(ids)] = torch.tensor(ids)
    return made


def text_bytes(texts: Sequence[str]) -> Tensor:
    """(B, bytes) of each text in UTF-8, padded with 0."""
    rows = [text.replace("\0", "").encode() for text in texts]
    longest = max([1, *map(len, rows)])
    padded = b"".join(row.ljust(longest, b"\0") for row in rows)
    return torch.frombuffer(bytearray(padded), dtype=torch.uint8).view(len(rows), longest)


def texts_of(made: Tensor, seen: Tensor | None = None) -> list[str]:
    """The texts that `text_bytes` wrote; empty where `seen` (B,) is False."""
    texts = [bytes(row.tolist()).rstrip(b"\0").decode() for row in made.cpu()]
    if seen is None:
        return texts
    return [text if shown else "" for text, shown in zip(texts, seen.tolist(), strict=True)]


def _hashed(word: str) -> int:
    return 1 + zlib.crc32(word.encode()) % (BUCKETS - 1)


class WordReader(nn.Module):
    """Ids of words to vectors that know their neighbours, (B, words, dim)."""

    def __init__(self, dim: int, depth: int, heads: int):
        super().__init__()
        self.width = dim // heads
        self.embedding = nn.Embedding(BUCKETS, dim, padding_idx=0)
        self.layers = nn.ModuleList(TransformerLayer(dim, heads) for _ in range(depth))
        self.norm = nn.RMSNorm(dim)

    def forward(self, ids: Tensor) -> Tensor:
        x, seen = self.embedding(ids), ids.ne(0)
        angles = rotary_angles(grid_positions((ids.shape[1],), ids.device), self.width)
        # A text without words would see nothing; it may see its padding, which is zeros.
        mask = (seen | ~seen.any(dim=1, keepdim=True))[:, None, None, :]
        for layer in self.layers:
            x = layer(x, angles=angles, mask=mask)
        return self.norm(x) * seen.unsqueeze(-1)
