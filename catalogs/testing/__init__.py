"""Rendered test media with known truth: the one source for the demo and the test suite.

Footage and mocap are procedural, deterministic by seed and need numpy, Pillow and PyAV only:

    >>> truth = render_video("a.mp4", [Shot("pan_left", 48), Shot("still", 48, seed=1)])
    >>> truth.cuts
    [48]
    >>> take = render_take("walk.bvh", "walk", seconds=3)
    >>> corpus = render_corpus("corpus")
"""

from catalogs.testing.bulk import render_long_video, render_many
from catalogs.testing.bvh import write_bvh
from catalogs.testing.copies import (
    corrupt_bytes,
    playlist_disguised,
    render_copy,
    truncate_file,
    zero_byte,
)
from catalogs.testing.corpus import CorpusFile, CorpusTruth, render_corpus
from catalogs.testing.mocap import render_take
from catalogs.testing.take_truth import ACTIONS, DEFECTS, TakeTruth
from catalogs.testing.video import render_video
from catalogs.testing.video_truth import (
    SHOT_KINDS,
    Boundary,
    Dissolve,
    Fade,
    Shot,
    ShotTruth,
    VideoTruth,
)

__all__ = [
    "ACTIONS",
    "DEFECTS",
    "SHOT_KINDS",
    "Boundary",
    "CorpusFile",
    "CorpusTruth",
    "Dissolve",
    "Fade",
    "Shot",
    "ShotTruth",
    "TakeTruth",
    "VideoTruth",
    "corrupt_bytes",
    "playlist_disguised",
    "render_copy",
    "render_corpus",
    "render_long_video",
    "render_many",
    "render_take",
    "render_video",
    "truncate_file",
    "write_bvh",
    "zero_byte",
]
