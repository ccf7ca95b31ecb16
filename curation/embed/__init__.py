"""Clips as vectors: by their look, by their captions, or by a model of transformers."""

from curation.embed.base import Embedder, EmbeddingError, Item, Vectors, in_batches, unit
from curation.embed.job import EmbedReport, embed
from curation.embed.registry import BUILT_IN, create, embedder_of

__all__ = [
    "BUILT_IN",
    "EmbedReport",
    "Embedder",
    "EmbeddingError",
    "Item",
    "Vectors",
    "create",
    "embed",
    "embedder_of",
    "in_batches",
    "unit",
]
