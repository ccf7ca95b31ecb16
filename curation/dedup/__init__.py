"""Duplicates: exact, near and semantic, from stored hashes and embeddings. Nothing is decoded."""

from curation.dedup.near import SearchReport, find_near

__all__ = ["SearchReport", "find_near"]
