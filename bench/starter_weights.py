"""Make the starter weights that come with the zoo, and measure them on footage they never saw.

    python bench/starter_weights.py video FOOTAGE_FOLDER RUN_FOLDER --out zoo/pretrained
    python bench/starter_weights.py motion MOCAP_FOLDER RUN_FOLDER --out zoo/pretrained

The folders are those of real media; training uses rendered media and of the real files only those
named here with their licence, and every other file is held out for measuring. A run that was
stopped continues. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("video", "motion"))
    parser.add_argument("media", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, help="folder of shipped weights to write to")
    parser.add_argument("--steps", type=int, help="steps of training")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.what == "video":
        import starter_video as starter
    else:
        import starter_motion as starter  # type: ignore[no-redef]
    print(json.dumps(starter.make(given.media, given.run, given.out, given.steps)))


if __name__ == "__main__":
    main()
