"""Captions as vectors without a model: hashed words and pieces of words, randomly projected.

Nothing is learned and nothing is downloaded. Texts are near each other when they share words,
pairs of words or parts of words; a synonym is a stranger. So it finds other forms and misspellings
of words, groups clips by what their captions say, and stands in until a model is there.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from curation.embed.base import Embedder, Item, Vectors, unit
from curation.embed.terms import COMMON, stem, words

__all__ = ["Words"]

DIMS = 384
_SPREAD = 8
"""Places of a vector that one feature touches."""
_COMMON, _PAIR, _PIECES = 0.05, 0.4, 0.5
_PIECE = 3


class Words(Embedder):
    """Hashed n-grams of captions."""

    name = "words"
    revision = "1"
    needs = "captions"
    kinds = ("video", "image", "mocap")
    reads_text = True
    least_cosine = 0.2

    def embed(self, items: Sequence[Item]) -> Vectors:
        return self.embed_texts([" ".join(item.captions) for item in items])

    def embed_texts(self, texts: Sequence[str]) -> Vectors:
        vectors = np.full((len(texts), DIMS), np.nan, np.float32)
        for row, text in zip(vectors, texts, strict=True):
            weights = _weights(text)
            if weights:
                row[:] = 0.0
                for feature, weight in weights.items():
                    places, signs = _projected(feature)
                    np.add.at(row, places, weight * signs)
        return unit(vectors)


def _weights(text: str) -> dict[str, float]:
    """Features of a text; a feature that comes again and again counts less each time."""
    counts: Counter[str] = Counter()
    base: dict[str, float] = {}
    for feature, weight in _features(words(text)):
        counts[feature] += 1
        base[feature] = weight
    return {name: base[name] * (1 + math.log(count)) for name, count in counts.items()}


def _features(found: Sequence[str]) -> Iterator[tuple[str, float]]:
    last = ""
    for word in found:
        if word in COMMON:
            yield f"w:{word}", _COMMON
            continue
        root = stem(word)
        yield f"w:{root}", 1.0
        if last:
            yield f"p:{last} {root}", _PAIR
        last = root
        framed = f"<{root}>"
        pieces = [framed[k : k + _PIECE] for k in range(len(framed) - _PIECE + 1)]
        for piece in pieces:
            yield f"c:{piece}", _PIECES / math.sqrt(len(pieces))


@lru_cache(maxsize=100_000)
def _projected(feature: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Where a feature goes, and with which signs: its row of a sparse random projection."""
    digest = np.frombuffer(hashlib.blake2b(feature.encode(), digest_size=32).digest(), "<u4")
    places = (digest >> 1) % DIMS
    signs = (digest & 1).astype(np.float32) * 2 - 1
    return places.astype(np.int64)[:_SPREAD], signs[:_SPREAD] / np.float32(math.sqrt(_SPREAD))
