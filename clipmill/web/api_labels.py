"""Keep and drop labels of the person who reviews: the one thing that the viewer writes.

Nothing is stored unless the viewer was started with `--label --reviewer NAME`, and only for
requests of its own page (see `clipmill.web.security`).
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from catalogs.catalog import Catalog
from catalogs.errors import UsageError
from catalogs.recipe import Recipe
from catalogs.reviews import remove_label, reviewers, store_label, stored_labels
from catalogs.sampling import sample
from clipmill.cli.options import known_operators
from clipmill.web.answers import answer
from clipmill.web.api_bench import load_asked
from clipmill.web.state import Viewer, ViewerState

__all__ = ["router"]

router = APIRouter(prefix="/api")

MOST_DRAWN = 60
_writing = threading.Lock()


class Said(BaseModel):
    """What a reviewer says of a clip; without a label, the stored one is taken back."""

    model_config = ConfigDict(extra="forbid")

    clip_id: str = Field(pattern="^[0-9a-f]{32}$")
    label: Literal["keep", "drop"] | None


@router.get("/labels")
def labels(viewer: ViewerState) -> Response:
    """How many labels everybody stored, and whether this viewer may store more."""
    catalog = viewer.catalog
    found = []
    for reviewer in reviewers(catalog):
        stored = stored_labels(catalog, reviewer).by_gate[None]
        keep = sum(stored.values())
        found.append({"reviewer": reviewer, "keep": keep, "drop": len(stored) - keep})
    return answer({"reviewer": viewer.reviewer, "stored": found})


@router.get("/labels/queue")
def queue(
    viewer: ViewerState,
    recipe: Annotated[str, Query(max_length=200)] = "",
    gate: Annotated[str, Query(max_length=64)] = "",
    count: Annotated[int, Query(ge=1, le=MOST_DRAWN)] = 20,
    seed: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> Response:
    """Clips that the reviewer has not labelled: near the limits of a gate, or drawn anywhere."""
    reviewer = _reviewer(viewer)
    edition = viewer.edition
    chosen = load_asked(viewer, edition, recipe) if recipe else Recipe("all")
    catalog = edition.catalog.at(edition.version)
    done = set(stored_labels(catalog, reviewer).clips) if reviewer in reviewers(catalog) else set()
    wanted = count + len(done)
    drawn = sample(
        catalog,
        chosen,
        gate=gate or None,
        near=wanted if gate else 0,
        anywhere=0 if gate else wanted,
        seed=seed,
        operators=known_operators(),
    )
    clips = [
        {
            **{name: item.row[name] for name in ("clip_id", "kind", "start_s", "end_s")},
            "name": Path(item.uri or "").name,
            "value": item.value,
        }
        for item in drawn
        if item.clip_id not in done
    ]
    return answer({"clips": clips[:count], "labelled": len(done)})


@router.post("/labels")
def say(viewer: ViewerState, said: Said) -> Response:
    """Store a label, or take it back."""
    reviewer = _reviewer(viewer)
    with _writing:
        catalog = Catalog.open(viewer.path)
        if said.label is None:
            remove_label(catalog, reviewer, said.clip_id)
        else:
            store_label(catalog, reviewer, said.clip_id, said.label)
    return answer({"clip_id": said.clip_id, "label": said.label})


def _reviewer(viewer: Viewer) -> str:
    if viewer.reviewer is None:
        raise UsageError(
            "this viewer stores no labels",
            hint="clipmill browse CATALOG --label --reviewer NAME",
        )
    return viewer.reviewer
