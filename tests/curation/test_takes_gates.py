"""Takes through `curate` and `select`: what is planted is refused by its gate, the rest is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from catalogs import Catalog
from catalogs.explain import why
from catalogs.recipe import Segment, load_recipe
from catalogs.select import select
from catalogs.testing import ACTIONS, TakeTruth, render_take
from curation.jobs.run import curate, recut

REFUSED_BY = {
    "nan": "complete",
    "left_right_swap": "sides",
    "scale_2x": "stature",
    "jump_cut": "jumps",
    "frozen": "frozen",
    "bone_drift": "bones",
    "foot_skate": "feet",
}
SPOILT = ("walk", "wave", "squat")


GRADUAL = {"bone_drift", "foot_skate"}
"""Defects of a whole take that a short piece of it may not show."""
LET_THROUGH_S = 0.3
"""Of any other defect in a kept clip: shorter freezes are allowed."""


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TakeTruth]:
    """Every action clean, and three actions with every defect, by name."""
    folder = tmp_path_factory.mktemp("spoilt")
    names = {f"clean_{action}": (action, None) for action in ACTIONS}
    names |= {f"{defect}_{action}": (action, defect) for defect in REFUSED_BY for action in SPOILT}
    return {
        name: render_take(folder / f"{name}.bvh", action, defect=defect, seed=2)
        for name, (action, defect) in names.items()
    }


@pytest.fixture(scope="module")
def judged(spoilt: dict[str, TakeTruth], tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """The takes selected by the shipped recipe: cut as it says (sound), and whole (whole)."""
    folder = tmp_path_factory.mktemp("judged") / "catalog"
    recipe = load_recipe("mocap")
    paths = [truth.path for truth in spoilt.values()]
    curate(paths, folder, recipe=recipe, workers=0, progress=None)
    uncut = replace(recipe, segment=Segment("none"))
    recut(folder, recipe=uncut, workers=0, progress=None)
    catalog = Catalog.open(folder)
    select(catalog, recipe, "sound")
    select(catalog, uncut, "whole")
    return catalog


def failures(catalog: Catalog, name: str, selection: str) -> set[str]:
    """Gates that any clip of the take called `name` failed."""
    clips = catalog.sql(
        "select distinct clip_id from decisions join clips_all using (clip_id) "
        "join sources using (source_id) where uri like ? and selection_id = "
        "(select any_value(selection_id) from selections where selection = ?)",
        [f"%/{name}.bvh", selection],
    ).rows()
    assert clips, name
    return {verdict.gate for (clip,) in clips for verdict in why(catalog, clip, selection).failed}


@pytest.mark.parametrize("defect", REFUSED_BY)
@pytest.mark.parametrize("action", SPOILT)
def test_a_planted_defect_is_refused_by_its_gate(judged: Catalog, defect: str, action: str) -> None:
    assert REFUSED_BY[defect] in failures(judged, f"{defect}_{action}", "whole")


def test_no_clip_that_is_kept_holds_a_defect(judged: Catalog, spoilt: dict[str, TakeTruth]) -> None:
    kept = judged.sql(
        "select uri, start_frame, end_frame from selections s join clips_all c using (clip_id) "
        "join sources on sources.source_id = c.source_id where selection = 'sound' group by all"
    ).rows()
    assert kept
    for uri, start, end in kept:
        truth = spoilt[Path(uri).stem]
        if truth.defect_span and truth.defect not in GRADUAL:
            first, last = truth.defect_span
            shared = min(end, last) - max(start, first)
            assert shared / truth.fps <= LET_THROUGH_S, uri


@pytest.mark.parametrize("action", ACTIONS)
def test_a_clean_take_passes_every_gate(judged: Catalog, action: str) -> None:
    for selection in ("sound", "whole"):
        assert failures(judged, f"clean_{action}", selection) == set()


def test_clean_real_takes_pass_and_the_sliding_pair_is_ordered(
    shared_data: Path, tmp_path: Path
) -> None:
    recipe = load_recipe("mocap")
    curate([shared_data / "mocap"], tmp_path / "c", recipe=recipe, workers=0, progress=None)
    catalog = Catalog.open(tmp_path / "c")
    select(catalog, recipe, "sound")
    refused = catalog.sql(
        "select distinct uri from clips semi join decisions d "
        "on clips.clip_id = d.clip_id and not d.passed"
    ).rows()
    # the one slides, the other has markers and no body
    assert {Path(uri).name for (uri,) in refused} == {
        "dme_demo_3d_1_raw.bvh",
        "markers_analogs.c3d",
    }
    skate = dict(
        catalog.sql(
            "select uri[-9:], foot_skate_h_s from clips where uri like '%dme_demo_3d_1_%'"
        ).rows()
    )
    assert skate["1_raw.bvh"] == pytest.approx(0.92, abs=0.02)
    assert skate["fixed.bvh"] == pytest.approx(0.56, abs=0.02)
