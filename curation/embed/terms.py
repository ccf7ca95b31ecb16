"""Texts as terms: lower case, without endings, so that a walk, walks and walking are one.

Endings are taken off by a few rules that need no dictionary. They join some words that differ and
miss some that belong together, which is enough to find things. Scripts that write without spaces
are cut into pairs of characters.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

__all__ = ["COMMON", "stem", "terms", "words"]

_LISTED = """
    a an the and or of in on at to from by with for as is are was were be been it its this that
    these those there here he she they his her their while then than into very more most some any
    all each other one i you we what which who how when where do does did has have had can will
"""
COMMON = frozenset(_LISTED.split())
"""Words that say little. Directions and negations are not among them."""

_WORD = re.compile(r"[^\W_]+")
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0e7f]")
_SHORTEST = 3


def words(text: str) -> list[str]:
    """Words in lower case as they stand."""
    found = []
    for word in _WORD.findall(unicodedata.normalize("NFKC", text).casefold()):
        if _UNSPACED.search(word):
            found += [word[k : k + 2] for k in range(max(1, len(word) - 1))]
        else:
            found.append(word)
    return found


def terms(text: str) -> list[str]:
    """Words without their endings, common ones included."""
    return [stem(word) for word in words(text)]


@lru_cache(maxsize=200_000)
def stem(word: str) -> str:
    """A word without its ending."""
    if len(word) <= _SHORTEST or not word.isascii() or not word.isalpha():
        return word
    for ending, instead in (("ies", "y"), ("sses", "ss"), ("ss", "ss"), ("s", "")):
        if word.endswith(ending):
            word = word.removesuffix(ending) + instead
            break
    for ending in ("ing", "ed", "er", "ly"):
        left = word.removesuffix(ending)
        if left != word and len(left) >= _SHORTEST and re.search("[aeiouy]", left):
            word = left
            break
    if len(word) > _SHORTEST and word.endswith("e"):
        word = word[:-1]
    if len(word) > _SHORTEST and word[-1] == word[-2]:
        word = word[:-1]
    return word
