"""Another body for the same motion: bones keep their directions and get new lengths."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from catalogs.errors import UsageError
from curation.mocap.features import HUMANML_LENGTHS
from curation.mocap.layouts import HUMANML22, Layout

__all__ = ["bone_lengths", "retarget"]

Array = npt.NDArray[np.floating]


def bone_lengths(joints: Array, layout: Layout = HUMANML22) -> Array:
    """(T, J) distances of joints from their parents, 0 for the root."""
    return np.linalg.norm(joints - joints[:, np.maximum(layout.parents, 0)], axis=-1)


def retarget(joints: Array, layout: Layout = HUMANML22, lengths: Array = HUMANML_LENGTHS) -> Array:
    """The joints (T, J, 3) on a body with the given bone lengths.

    The root's path is scaled by the ratio of lower legs in the first frame, so that feet keep
    their relation to the floor. This is how HumanML3D brings every subject to one skeleton, and
    its lengths are the default.
    """
    if len(lengths) != len(layout) or joints.shape[1:] != (len(layout), 3):
        raise UsageError(
            f"{len(lengths)} lengths for joints of shape {joints.shape}",
            allowed=f"one per joint of {layout.name}",
        )
    legs = list(layout.lower_leg)
    own = bone_lengths(joints[:1], layout)[0, legs].sum()
    scale = np.asarray(lengths)[legs].sum() / max(float(own), 1e-9)
    out = np.empty_like(joints, dtype=np.float64)
    out[:, 0] = joints[:, 0] * scale
    for chain in layout.chains:
        for parent, child in pairwise(chain):
            bone = joints[:, child] - joints[:, parent]
            unit = bone / np.maximum(np.linalg.norm(bone, axis=-1, keepdims=True), 1e-9)
            out[:, child] = out[:, parent] + unit * lengths[child]
    return out
