"""Finding clips by words, by likeness and by what is measured."""

from curation.search.searcher import Hit, Searcher, search

__all__ = ["Hit", "Searcher", "search"]
