"""Which clip a text means, as chances: a distribution over the candidates of one embedding."""

from __future__ import annotations

import numpy as np

from catalogs.errors import UsageError
from curation.embed.registry import embedder_of
from curation.search.searcher import Searcher

__all__ = ["SERVES", "chances"]

SERVES = ("diffusionret",)
"""Published systems whose ranking by a distribution over clips this is."""


def chances(
    searcher: Searcher, text: str, *, model: str = "words", count: int = 32, sharpness: float = 20.0
) -> list[tuple[str, float]]:
    """(clip_id, chance) of the `count` nearest clips, best first; the chances sum to one.

    Args:
        model: the stored embedding to ask.
        sharpness: by how much a cosine counts; 0 gives all candidates the same.
    """
    if count < 1:
        raise UsageError(f"{count} candidates", allowed="1 or more")
    vector = embedder_of(searcher.catalog, model).embed_texts([text])[0]
    found = searcher.nearest(model, vector, count)
    if not found:
        return []
    cosines = np.array([cosine for _, cosine in found], np.float64)
    weight = np.exp(sharpness * (cosines - cosines.max()))
    shares = (weight / weight.sum()).tolist()
    return [(clip, share) for (clip, _), share in zip(found, shares, strict=True)]
