"""The demo's captions: said by rules, a wrong one found out, and clips found by them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from catalogs import Catalog
from catalogs.testing import CorpusTruth
from clipmill.checks import Check
from clipmill.demo_trust import PART, PART_OF
from curation.captions.imports import import_labels
from curation.captions.qa import check_captions
from curation.captions.registry import Maker
from curation.embed import embed
from curation.jobs.captioning import caption
from curation.search import Searcher

__all__ = ["words_of"]

MISLABELLED, CLAIM = "pan.mp4", "The camera is static and looks at a wall."
"""A film, and what a label beside it says of it, wrongly."""

MOVES = {"pan_left": "pan left", "pan_right": "pan right", "zoom_in": "zoom in", "shake": "shake"}
"""Rendered camera moves, and what the captioner calls them."""

VIDEO, MOCAP = "kind = 'video'", "kind = 'mocap'"
QUERIES = (
    ("the camera pans to the left", VIDEO, "pan_left"),
    ("the camera pans to the right", VIDEO, "pan_right"),
    ("the camera zooms in", "shake_px < 1", "zoom_in"),
    ("a shaky camera", VIDEO, "shake"),
    ("black bars above and below", VIDEO, "letterbox"),
    ("a slide with much text", "text_area > 0.02", "slide_text"),
    ("a person walks", MOCAP, "walk"),
    ("somebody jumps", MOCAP, "jump"),
    ("turning to the left", MOCAP, "turn"),
    ("waving a hand", MOCAP, "wave"),
)
"""Written queries, where to look, and what the first clip must have been rendered as."""


def words_of(corpus: Path, truth: CorpusTruth) -> Iterator[Check]:
    """Caption every clip, check the captions, and find clips by what they say and look like."""
    catalog = Catalog.open(corpus)
    clips = catalog.sql("select count(*) from clips where kind = 'video'").value()
    report = caption(catalog, Maker("rules"), workers=0, progress=None)
    yield Check("clips of video captioned", str(clips), str(report.captioned))
    yield Check("camera moves, each with its name", *_moves(catalog.refresh(), truth))
    yield Check("faults in captions", f"contradiction: {CLAIM}", _faults(catalog, truth))
    for embedder in ("words", "visual"):
        embed(catalog.refresh(), embedder, workers=0, progress=None)
    yield from _found(catalog.refresh(), truth)


def _moves(catalog: Catalog, truth: CorpusTruth) -> tuple[str, str]:
    """How many clips show a rendered camera move, and of how many of them captions say so."""
    clips = catalog.sql(
        "select uri, clips.start_s, clips.end_s, evidence->>'label' "
        "from captions join clips using (clip_id) "
        "where captions.model = 'video-rules' and captions.kind = 'camera'"
    ).rows()
    moves = [
        (MOVES[rendered], label)
        for uri, start_s, end_s, label in clips
        if (rendered := _rendered_as(truth, uri, start_s, end_s)) in MOVES
        if not _is_mixed(truth, uri)
    ]
    return str(len(moves)), str(sum(move == label for move, label in moves))


def _is_mixed(truth: CorpusTruth, uri: str) -> bool:
    """Whether a film dissolves or fades, so that a clip may show more than its shot."""
    video = truth[Path(uri).name].video
    return video is not None and bool(video.dissolves or video.fades)


def _faults(catalog: Catalog, truth: CorpusTruth) -> str:
    """What is wrong with the captions, once a film has a label that is not true."""
    label = truth.path(MISLABELLED).with_suffix(".txt")
    label.write_text(CLAIM, encoding="utf-8")
    import_labels(catalog, [label])
    found = check_captions(catalog.refresh()).findings
    return ", ".join(f"{fault.check}: {fault.text}" for fault in found)


def _found(catalog: Catalog, truth: CorpusTruth) -> Iterator[Check]:
    """The first clip of each query, and the film that looks most like a part of it."""
    with Searcher(catalog) as searcher:
        for text, where, expected in QUERIES:
            (hit,) = searcher.search(text, where=where, limit=1)
            found = _rendered_as(truth, hit.uri or "", hit.start_s or 0.0, hit.end_s or 0.0)
            yield Check(f"found by {text!r}", expected, found)
        part = catalog.sql("select clip_id from clips where uri like ?", [f"%/{PART}"]).value()
        (twin,) = searcher.search(like=part, limit=1)
        yield Check(f"most like {PART}", PART_OF, Path(twin.uri or "").name)


def _rendered_as(truth: CorpusTruth, uri: str, start_s: float, end_s: float) -> str:
    """What the middle of a clip was rendered as: a kind of shot, or the action of a take."""
    file = truth[Path(uri).name]
    if file.take is not None:
        return file.take.action
    assert file.video is not None
    middle = (start_s + end_s) / 2
    frame = sum(at <= middle for at in file.video.seconds) - 1
    return next(shot.kind for shot in file.video.shots if shot.start <= frame < shot.end)
