"""The recipes that ship, on rendered footage: what they ask for is measured, good clips pass."""

from __future__ import annotations

from dataclasses import replace

import pytest

from catalogs import Catalog
from catalogs.explain import why
from catalogs.recipe import NearDuplicates, load_recipe
from catalogs.select import select
from catalogs.testing import Shot, render_copy, render_video
from curation.dedup import find_near
from curation.jobs.run import curate
from curation.jobs.settings import MillSettings

FOOTAGE = ("web-video", "high-quality", "human")
SMALL = {"size": "short_side_px >= 100"}
"""So that footage that is rendered quickly is large enough."""


@pytest.fixture(scope="module")
def curated(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """Moving shapes and another encoding of them, with all that the recipes score."""
    folder = tmp_path_factory.mktemp("recipes")
    (folder / "media").mkdir()
    film = render_video(
        folder / "media" / "film.mp4", [Shot("moving_shapes", 40)], size=(320, 180), fps=12
    )
    render_copy(film, folder / "media" / "copy.mp4", crf=23)
    recipes = [load_recipe(name) for name in FOOTAGE]
    scores = {score.operator: score for recipe in recipes for score in recipe.score}
    settings = MillSettings.of(replace(recipes[0], score=tuple(scores.values())))
    curate([folder / "media"], folder / "corpus", settings=settings, workers=0, progress=None)
    catalog = Catalog.open(folder / "corpus")
    find_near(catalog, NearDuplicates())
    return catalog.refresh()


@pytest.mark.parametrize("name", FOOTAGE)
def test_all_gates_are_measured_and_a_good_clip_passes_once(curated: Catalog, name: str) -> None:
    result = select(curated, load_recipe(name), name, set_gates=SMALL)
    gates = [step for step in result.funnel.steps if step.stage == "gate"]
    assert len(gates) == len(load_recipe(name).gates)
    assert {step.gate: step.null_clips for step in gates if step.null_clips} == {}
    catalog = curated.refresh()
    clips = [row[0] for row in catalog.sql("select clip_id from clips").rows()]
    refused = sorted([v.gate for v in why(catalog, clip, name).failed] for clip in clips)
    assert (result.clips, refused) == (1, [[], ["duplicates"]])
