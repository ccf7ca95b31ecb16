"""The one pass: each frame of a source is measured once, and the measurements are kept."""

from curation.signals.declare import (
    DETAILS_PER_SECOND,
    NUMBERS_VERSION,
    READABLE_VERSIONS,
    SET_VERSION,
    SIGNALS,
    Signal,
)
from curation.signals.pairs import hash_bits
from curation.signals.pictures import (
    CROPS,
    PICTURE_COLUMNS,
    PictureHashes,
    join_pictures,
)
from curation.signals.shrink import shrink_planes, small_size
from curation.signals.store import VideoSignals, join_signals
from curation.signals.transnet import TransNet, load_transnet
from curation.signals.video import VideoMeter

__all__ = [
    "CROPS",
    "DETAILS_PER_SECOND",
    "NUMBERS_VERSION",
    "PICTURE_COLUMNS",
    "READABLE_VERSIONS",
    "SET_VERSION",
    "SIGNALS",
    "PictureHashes",
    "Signal",
    "TransNet",
    "VideoMeter",
    "VideoSignals",
    "hash_bits",
    "join_pictures",
    "join_signals",
    "load_transnet",
    "shrink_planes",
    "small_size",
]
