"""The demo's duplicates: planted copies, found with their spans, and a leak that is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from catalogs import Catalog
from catalogs.duplicates import DuplicateGroup, Pair, duplicate_groups
from catalogs.export import export_dataset
from catalogs.leaks import LeakError
from catalogs.recipe import Dedup, Recipe, Splits, load_recipe
from catalogs.select import select
from catalogs.testing import CorpusFile, CorpusTruth, VideoTruth, render_copy
from clipmill.checks import Check
from curation.dedup import find_near

__all__ = ["PART", "PART_OF", "planted", "searched", "trust_of"]

COPY, PART = "cuts_copy.mp4", "pan_part.mp4"
PART_OF, PART_FRAMES = "pan.mp4", (13, 61)
LEAKING = Recipe(
    "leaking",
    {"kind": "kind = 'video'"},
    splits=Splits(
        0.5, test=0.5, group_by="case when uri like '%copy.%' then 'copies' else 'originals' end"
    ),
)
"""Puts copies and originals into different splits, and knows nothing of duplicates."""


def planted(truth: CorpusTruth) -> CorpusTruth:
    """The corpus with two seconds of one of its films as a smaller file of their own."""
    part = render_copy(_original(truth), truth.folder / PART, size=(240, 136), trim=PART_FRAMES)
    file = CorpusFile(PART, "video", duplicate_of=PART_OF, video=part)
    return replace(truth, files=[*truth.files, file])


def searched(corpus: Path) -> Catalog:
    """The catalog after a search for what the demo's recipe calls duplicates."""
    near = _dedup().near
    assert near is not None
    find_near(Catalog.open(corpus), near)
    return Catalog.open(corpus)


def trust_of(
    corpus: Path, folder: Path, truth: CorpusTruth, cutting: str | None, selected: set[str]
) -> Iterator[Check]:
    """What is there twice, what of it was selected, and a split that leaks.

    Args:
        cutting: whose clips are compared.
        selected: names of the files that the demo's selection has clips of.
    """
    catalog = Catalog.open(corpus)
    pairs = list(_pairs(duplicate_groups(catalog, _dedup(), cutting=cutting)))
    twice = sorted(f"{f.duplicate_of} = {f.name}" for f in truth.files if f.duplicate_of)
    found = sorted({f"{name} = {other}" for name, other, _ in pairs})
    yield Check("footage that is there twice", ", ".join(twice), ", ".join(found))
    rate = _original(truth).fps
    first, end = (float(frame / rate) for frame in PART_FRAMES)
    spans = [
        f"{pair.start_s:.2f}-{pair.end_s:.2f} s"
        for name, other, pair in pairs
        if (name, other) == (PART_OF, PART)
    ]
    yield Check(f"{PART} shows, of {PART_OF}", f"{first:.2f}-{end:.2f} s", ", ".join(spans))
    copies = ", ".join(sorted(selected & {COPY, PART}))
    yield Check("copies selected beside their originals", "none", copies or "none")
    yield Check("an export whose splits share footage", "refused", _exported(catalog, folder))


def _original(truth: CorpusTruth) -> VideoTruth:
    video = truth[PART_OF].video
    assert video is not None
    return video


def _dedup() -> Dedup:
    dedup = load_recipe("demo").dedup
    assert dedup is not None
    return dedup


def _pairs(groups: list[DuplicateGroup]) -> Iterator[tuple[str, str, Pair]]:
    """Two films that share something, by name, and the pair as the first of them tells it.

    Takes are left out: some of them repeat the same walk with a defect.
    """
    for group in groups:
        names = {m.clip_id: Path(m.uri or "").name for m in group.members}
        for pair in group.pairs:
            told = min(pair, pair.swapped(), key=lambda one: names[one.clip_id])
            name, other = names[told.clip_id], names[told.other_clip]
            if not name.endswith(".bvh"):
                yield name, other, told


def _exported(catalog: Catalog, folder: Path) -> str:
    """What became of a selection that leaks; the pair that the refusal names is shown."""
    select(catalog, LEAKING, "demo-leaking")
    try:
        export_dataset(catalog.refresh(), folder / "leaking", selection="demo-leaking")
    except LeakError as error:
        print(str(error).splitlines()[1].strip())
        return "refused"
    return "written"
