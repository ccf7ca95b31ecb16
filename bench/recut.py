"""How fast stored signals are cut again.

    python bench/recut.py [HOURS]

Synthetic signals of HOURS (1,000) hours of 25 fps video, in sources of ten minutes, go through
detector and rules. Sources repeat after the first two hundred so that the signals fit in memory;
every one is cut. The figure is hours of video per CPU second, which is per second on one free core.
"""

from __future__ import annotations

import json
import sys
import time
from fractions import Fraction

import numpy as np

from curation.segment import SegmentSettings, segment
from curation.signals import VideoSignals

FPS = 25
SOURCE_S = 600
DISTINCT = 200
SHOT_S = 5.0
SETTINGS = {
    "content": SegmentSettings(detector="content", min_s=2, max_s=60),
    "adaptive": SegmentSettings(detector="adaptive", min_s=2, max_s=60),
    "shots": SegmentSettings(detector="shots", min_s=2, max_s=60),
}


def synthetic_source(seed: int) -> VideoSignals:
    """Ten minutes of restless pictures with a hard cut every five seconds or so."""
    random = np.random.default_rng(seed)
    frames = FPS * SOURCE_S
    cuts = random.random(frames) < 1 / (SHOT_S * FPS)
    cuts[0] = False
    pixels = 96 * 56
    change = np.where(cuts, random.uniform(40, 90, frames), random.gamma(2.0, 1.5, frames))
    steps = random.normal(0, 1.0, (frames, 7, 12))
    steps[cuts] *= 60
    columns = {
        name: (np.rint(change * scale * pixels) / pixels).astype(np.float32)
        for name, scale in (("hue_delta", 0.8), ("sat_delta", 1.1), ("lum_delta", 1.0))
    }
    columns["unexplained"] = np.where(cuts, 30, 0.3).astype(np.float32)
    columns["unexplained_share"] = np.where(cuts, 0.7, 0.01).astype(np.float32)
    for name in ("pan", "tilt", "zoom", "roll"):
        columns[name] = np.zeros(frames, np.float32)
    return VideoSignals(
        time_base=Fraction(1, 12800),
        pts=np.arange(frames, dtype=np.int64) * 512,
        end_pts=frames * 512,
        small_size=(96, 56),
        columns=columns,
        thumbs=np.clip(128 + np.cumsum(steps, axis=0) % 100, 0, 255).astype(np.uint8),
    )


def main() -> None:
    """Cut all hours with each detector, and print the rates."""
    hours = float(sys.argv[1]) if len(sys.argv) > 1 else 1000.0
    sources = [synthetic_source(seed) for seed in range(DISTINCT)]
    count = round(hours * 3600 / SOURCE_S)
    figures = {}
    print(f"{'detector':<12}{'clips':>10}{'seconds':>10}{'hours/s/core':>15}")
    for name, settings in SETTINGS.items():
        shown = count if name != "shots" else max(1, count // 50)
        started = time.process_time()
        clips = sum(len(segment(sources[index % DISTINCT], settings)) for index in range(shown))
        seconds = time.process_time() - started
        rate = shown * SOURCE_S / 3600 / seconds
        figures[name] = round(rate)
        print(f"{name:<12}{clips:>10}{seconds:>10.2f}{rate:>15.0f}")
    print(json.dumps({"recut_hours_per_second_and_core": figures, "hours": hours}))


if __name__ == "__main__":
    main()
