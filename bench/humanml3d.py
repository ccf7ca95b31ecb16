"""Parity of our motion vectors with the published ones, part by part.

    python bench/humanml3d.py HUMANML3D_FOLDER

The folder holds `new_joints/X.npy` and `new_joint_vecs/X.npy`. Published vectors were made from
one frame of joints more than was published; that frame follows from the last row's velocities,
so every row can be compared. Prints a table and ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from curation.mocap import features
from curation.mocap import rotations as rot
from curation.mocap.layouts import HUMANML22

Array = npt.NDArray[np.floating]
TOLERANCES = {
    "root": 1e-4,
    "positions": 1e-4,
    "rotations": 1e-3,
    "velocities": 1e-4,
    "contacts": 1e-4,
    "joints_from_positions": 1e-6,
    "joints_from_rotations": 1e-4,
    "round_trip": 1e-6,
}


def compare(joints: Array, vectors: Array) -> dict[str, float]:
    """The largest difference of each part."""
    recovered = features.recover_joints(vectors)
    made = features.extract(with_last_frame(recovered, vectors))
    again = features.recover_joints(features.extract(with_last_frame(recovered, made)))
    parts = features.columns(HUMANML22)
    differences = {
        part: float(np.abs(made[:, where] - vectors[:, where]).max())
        for part in ("root", "positions", "rotations", "velocities", "contacts")
        if (where := getattr(parts, part))
    }
    by_rotation = features.recover_from_rotations(vectors)
    differences["joints_from_positions"] = float(np.abs(recovered - joints).max())
    differences["joints_from_rotations"] = float(np.abs(by_rotation - joints).max())
    differences["round_trip"] = float(np.abs(again - recovered).max())
    return differences


def with_last_frame(joints: Array, vectors: Array) -> Array:
    """The joints and the frame after them, from the last row's velocities."""
    heading, _ = features.recover_root(vectors)
    steps = vectors[-1, features.columns(HUMANML22).velocities].reshape(-1, 3)
    after = joints[-1] + rot.rotate(rot.conjugate(heading[-1])[None], steps)
    return np.concatenate([joints, after[None]])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    worst = dict.fromkeys(TOLERANCES, 0.0)
    pairs = 0
    for path in sorted((folder / "new_joint_vecs").glob("*.npy")):
        joints = np.load(folder / "new_joints" / path.name).astype(np.float64)
        for part, difference in compare(joints, np.load(path).astype(np.float64)).items():
            worst[part] = max(worst[part], difference)
        pairs += 1
    print(f"{'part':24}{'largest difference':>20}{'allowed':>12}")
    for part, difference in worst.items():
        print(f"{part:24}{difference:20.2e}{TOLERANCES[part]:12.0e}")
    passed = pairs > 0 and all(worst[part] <= TOLERANCES[part] for part in worst)
    print(json.dumps({"bench": "humanml3d", "pairs": pairs, "passed": passed, "worst": worst}))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
