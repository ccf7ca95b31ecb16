"""Embedders by name: the built-in ones, models of the Hub, and what other packages register."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points

from catalogs.catalog import Catalog
from catalogs.errors import NotFoundError, UsageError, nearest
from curation.embed.base import Embedder
from curation.embed.hub import Hub
from curation.embed.visual import Visual
from curation.embed.words import Words

__all__ = ["BUILT_IN", "GROUP", "create", "embedder_of"]

GROUP = "clipmill.embedders"

BUILT_IN: Mapping[str, type[Embedder]] = {"hf": Hub, "visual": Visual, "words": Words}


def create(address: str) -> Embedder:
    """`visual`, `words`, `hf:REPOSITORY-OR-FOLDER[@REVISION]`, or a registered `NAME[:ADDRESS]`."""
    name, _, rest = address.partition(":")
    if name == "hf":
        if not rest:
            raise UsageError("hf: names no model", allowed="hf:ORG/NAME or hf:FOLDER")
        return Hub(rest)
    if name in BUILT_IN:
        return BUILT_IN[name]()
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name not in found:
        known = sorted({*BUILT_IN, *found})
        raise NotFoundError(
            f"no embedder is called {name!r}",
            allowed=", ".join("hf:REPOSITORY" if item == "hf" else item for item in known),
            hint=nearest(name, known),
        )
    make: Callable[[str], Embedder] = found[name].load()
    return make(rest)


def embedder_of(catalog: Catalog, model: str) -> Embedder:
    """What made the table `embeddings/<model>`, to embed a query in the same way."""
    if model in BUILT_IN and model != "hf":
        return create(model)
    rows = catalog.sql(
        "select settings from runs where verb = 'embed' and name = ? order by started desc limit 1",
        [model],
    ).rows()
    if not rows:
        raise NotFoundError(
            f"nothing is recorded of how the embeddings of {model!r} were made",
            hint=f"clipmill embed {catalog.storage.root} --with hf:REPOSITORY",
        )
    return create(json.loads(rows[0][0])["with"])
