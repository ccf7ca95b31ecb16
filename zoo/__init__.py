"""Models: tokenizers that turn media into ids and back, generators that make such ids, the Hub.

import zoo
tokenizer = zoo.load("video/starter")
tokens = tokenizer.encode(clip)          # clip: (B, 3, T, H, W) in -1..1
frames = tokenizer.decode(tokens)
"""

from __future__ import annotations

import importlib
from typing import Any

_WHERE = {
    "Generator": "zoo.generator",
    "Preset": "zoo.registry",
    "Tokenizer": "zoo.tokenizer",
    "TokenizerSpec": "zoo.spec",
    "Tokens": "zoo.tokens",
    "create": "zoo.registry",
    "list_models": "zoo.registry",
    "load": "zoo.hub",
    "preset": "zoo.registry",
}

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    """Import torch only when a model is asked for."""
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'zoo' has no attribute {name!r}")
