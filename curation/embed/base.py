"""What an embedder is: it turns clips into vectors, and texts too if it can.

Vectors of one embedder are compared by their cosine and with nothing else. `needs` says what of a
clip it looks at, which is all that is loaded:

- `pictures`: the stored storyboard, and the stored signals;
- `captions`: the texts that describe the clip;
- `joints`: the stored joints of a take.

To add one, implement `Embedder` and register it under the entry-point group `clipmill.embedders`:
the name before the colon of `--with NAME:ADDRESS` finds it, and what follows the colon is handed
over (empty without one).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import ClipmillError
from curation.operators.base import Clip

__all__ = ["Embedder", "EmbeddingError", "Item", "Need", "Vectors", "in_batches", "unit"]

Need = Literal["pictures", "captions", "joints"]
Vectors = NDArray[np.float32]
T = TypeVar("T")


class EmbeddingError(ClipmillError):
    """An embedder cannot do what was asked of it."""


@dataclass(frozen=True)
class Item:
    """A clip to embed, with what the embedder asked for."""

    clip: Clip
    captions: tuple[str, ...] = ()
    """Distinct texts, brief ones first."""
    joints: NDArray[np.float32] | None = None
    """(frames, 22, 3) of the clip's span, y up, in metres."""


class Embedder(ABC):
    """Base of all embedders."""

    name: str
    """Of its table, `embeddings/<name>`."""
    revision: str
    """Changes whenever the same clip would get another vector."""
    needs: Need
    kinds: tuple[str, ...] = ("video", "image")
    """Kinds of source that it can embed."""
    reads_text = False
    """Whether `embed_texts` gives vectors that are compared with those of clips."""
    least_cosine = -1.0
    """Below this a clip has nothing to do with a text."""
    serves: ClassVar[tuple[str, ...]] = ()
    """Ids of published systems whose embedding this is."""

    @abstractmethod
    def embed(self, items: Sequence[Item]) -> Vectors:
        """(items, dims) vectors of any length; NaN for a clip that offers nothing to embed."""

    def embed_texts(self, texts: Sequence[str]) -> Vectors:
        """(texts, dims) vectors in the space of the clips."""
        raise EmbeddingError(
            f"{self.name} embeds no texts",
            hint="search by words, or embed with a model that knows texts and pictures",
        )


def unit(vectors: Vectors) -> Vectors:
    """Vectors of length one; zeros stay zeros."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-12), np.float32)


def in_batches(
    items: Sequence[T], size: int, work: Callable[[Sequence[T]], Vectors]
) -> tuple[Vectors, int]:
    """All items in batches that shrink when memory runs out; returns the size that fitted, too."""
    parts: list[Any] = []
    at = 0
    while at < len(items):
        try:
            parts.append(work(items[at : at + size]))
        except (MemoryError, RuntimeError) as error:
            if size == 1 or not _is_out_of_memory(error):
                raise
            size = size // 2
            continue
        at += size
    return np.concatenate(parts), size


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or "out of memory" in str(error).lower()
