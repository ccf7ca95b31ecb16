"""Duplicates: exact, near and semantic, from stored hashes, joints and embeddings; no decoding."""

from curation.dedup.near import SearchReport, find_near
from curation.dedup.semantic import Likeness, compare_embeddings

__all__ = ["Likeness", "SearchReport", "compare_embeddings", "find_near"]
