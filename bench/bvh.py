"""How fast BVH files are read.

    python bench/bvh.py FOLDER [--frames 20000]

Reads every BVH of the folder, and one rendered take of 31 joints with the given number of frames,
which is repeated and whose best run counts. `numpy.fromstring` on the same motion block is the
measure beside it. Prints a table and ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from curation.mocap.bvh import parse_bvh
from curation.mocap.numerals import parse_numbers
from curation.mocap.problems import MocapFileError

JOINTS = 31


def rendered(frames: int) -> bytes:
    """A chain of 31 joints that turns at random, six decimals per value."""
    rng = np.random.default_rng(0)
    head = ["HIERARCHY"]
    for joint in range(JOINTS):
        indent = "\t" * joint
        word = "JOINT" if joint else "ROOT"
        place = "" if joint else "Xposition Yposition Zposition "
        head += [
            f"{indent}{word} joint{joint}",
            f"{indent}{{",
            f"{indent}\tOFFSET 0.0 10.0 0.0",
            f"{indent}\tCHANNELS {3 if joint else 6} {place}Zrotation Xrotation Yrotation",
        ]
    tail = ["\t" * joint + "}" for joint in reversed(range(JOINTS))]
    values = rng.normal(scale=50, size=(frames, 3 * JOINTS + 3))
    row = " ".join(["%.6f"] * values.shape[1])
    rows = [row % tuple(frame) for frame in values.tolist()]
    lines = [*head, *tail, "MOTION", f"Frames: {frames}", "Frame Time: 0.0083333", *rows]
    return ("\n".join(lines) + "\n").encode()


def best_of(times: int, work: Callable[[], Any]) -> float:
    """Seconds of the quickest run."""
    runs = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        runs.append(time.perf_counter() - start)
    return min(runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--frames", type=int, default=20_000)
    arguments = parser.parse_args()
    data = rendered(arguments.frames)
    block = data[data.index(b"Frame Time") :].split(b"\n", 1)[1]
    text = block.decode()
    rates = {
        "numbers_fps": arguments.frames / best_of(5, lambda: parse_numbers(block)),
        "bvh_fps": arguments.frames / best_of(3, lambda: parse_bvh(data)),
        "fromstring_fps": arguments.frames / best_of(2, lambda: np.fromstring(text, sep=" ")),
    }
    start, frames, files, broken = time.perf_counter(), 0, 0, 0
    for path in sorted(arguments.folder.rglob("*.bvh")):
        try:
            frames += len(parse_bvh(path.read_bytes()))
            files += 1
        except MocapFileError:
            broken += 1
    seconds = time.perf_counter() - start
    print(f"{'what':34}{'frames per second':>20}")
    print(f"{'numbers of the motion block':34}{rates['numbers_fps']:20,.0f}")
    print(f"{'whole file, to quaternions':34}{rates['bvh_fps']:20,.0f}")
    print(f"{'numpy.fromstring, numbers only':34}{rates['fromstring_fps']:20,.0f}")
    print(f"{files} files, {broken} broken, {frames} frames in {seconds:.2f} s")
    rounded = {name: round(rate) for name, rate in rates.items()}
    print(json.dumps({"bench": "bvh", "joints": JOINTS, "files": files, **rounded}))


if __name__ == "__main__":
    main()
