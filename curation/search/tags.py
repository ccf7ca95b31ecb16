"""Tags of clips from a vocabulary, by the likeness of texts and clips.

    tag(catalog, read_vocabulary("tags.txt"), "clip-vit-base-patch32")

A vocabulary is a text file with a tag on each line, and after a colon the text that stands for it
where the tag alone says too little: `dolly: the camera moves towards the subject`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from catalogs.catalog import Catalog
from catalogs.errors import UsageError
from catalogs.query import Session
from catalogs.schema import Column
from curation.embed.registry import embedder_of
from curation.search.clusters import chosen_model, replace_scores
from curation.search.vectors import stored_vectors

__all__ = ["TAG_COLUMNS", "read_vocabulary", "tag"]

TABLE = "scores/tags"
TAG_COLUMNS = (
    Column("tags", pa.list_(pa.string()), "tags of the vocabulary, the most alike first"),
    Column("tag", pa.string(), "the most alike of them"),
    Column("tag_cosine", pa.float32(), "how alike that one is", "-1..1"),
)


def read_vocabulary(path: str | Path) -> dict[str, str]:
    """Tags with the texts that stand for them; empty lines and those after # are left out."""
    found: dict[str, str] = {}
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        name, _, text = line.partition(":")
        if name.strip() and not name.lstrip().startswith("#"):
            found[name.strip()] = text.strip() or name.strip()
    if not found:
        raise UsageError(f"{path} has no tags", allowed="a tag on each line")
    return found


def tag(
    catalog: Catalog,
    vocabulary: Mapping[str, str],
    model: str | None = None,
    *,
    most: int = 3,
    least: float | None = None,
) -> dict[str, int]:
    """Tag the clips of the newest cutting; returns how many clips have each tag.

    Args:
        model: an embedding that knows texts; by default the only one there is.
        most: tags of one clip at most.
        least: cosine below which a tag is not given; by default what the model calls unrelated.
    """
    chosen = chosen_model(catalog.refresh(), model)
    embedder = embedder_of(catalog, chosen)
    names = list(vocabulary)
    texts = embedder.embed_texts([vocabulary[name] for name in names])
    with Session(catalog) as session:
        ids, vectors = stored_vectors(session, chosen)
    floor = embedder.least_cosine if least is None else least
    cosines = np.nan_to_num(vectors @ texts.T, nan=-2.0)
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :most]
    given = [
        [names[k] for k in row if cosines[clip, k] >= floor]
        for clip, row in enumerate(order.tolist())
    ]
    rows = {
        "tags": pa.array(given, pa.list_(pa.string())),
        "tag": pa.array([tags[0] if tags else None for tags in given], pa.string()),
        "tag_cosine": pa.array(
            [float(c.max()) if tags else None for c, tags in zip(cosines, given, strict=True)],
            pa.float32(),
        ),
    }
    replace_scores(catalog, TABLE, ids, rows, TAG_COLUMNS, f"tag {len(ids)} clips by {chosen}")
    return {name: sum(name in tags for tags in given) for name in names}
