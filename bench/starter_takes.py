"""Takes for the starter motion tokenizer: rendered ones, varied ones, and real ones by licence.

Few recorded takes show few poses. So every take also comes varied: each joint turns by a smooth
random curve, which reaches poses that no take shows, beside mirrored, faster and slower copies.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from catalogs.testing.mocap import render_take
from catalogs.testing.take_truth import ACTIONS
from curation.mocap import rotations as rot
from curation.mocap.augment import Mirror, Speed, Transform, apply
from curation.mocap.read import read_motion
from curation.mocap.skeleton import Motion
from curation.mocap.vectors import encode

Features = npt.NDArray[np.float32]
Dice = np.random.Generator

FORMAT = "humanml263"
SHORTEST = 64


def rendered_takes(count: int, seed: int) -> Iterator[Motion]:
    """Takes of every action in turn, each of another person and pace."""
    dice = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            action = ACTIONS[number % len(ACTIONS)]
            turns = action in ("walk", "run", "turn")
            path = Path(folder) / f"{number}.bvh"
            render_take(
                path,
                action,
                seconds=float(dice.uniform(5, 8)),
                seed=seed * 100_000 + number,
                side="left" if dice.random() < 0.5 else "right",
                direction=dice.choice(["forward", "forward", "backward", "left", "right"]),
                turn_deg=float(dice.uniform(-180, 180)) if turns else None,
                heading_deg=float(dice.uniform(-180, 180)),
            )
            yield read_motion(path).motion


def variations(motion: Motion, dice: Dice, count: int) -> Iterator[Features]:
    """The take as features, as it is and `count` times varied; too short ones are left out."""
    yield from _features(motion)
    for _ in range(count):
        changes: list[Transform] = [Speed(round(float(dice.uniform(0.75, 1.3)), 3))]
        if dice.random() < 0.5:
            changes.append(Mirror())
        yield from _features(_swayed(apply(motion, changes), dice))


def read_features(path: Path) -> Features:
    """Features of a take, or of a file that holds them already."""
    if path.suffix == ".npy":
        return np.load(path, allow_pickle=False).astype(np.float32)
    return encode(read_motion(path).motion, FORMAT)


def _features(motion: Motion) -> Iterator[Features]:
    features = encode(motion, FORMAT)
    if len(features) >= SHORTEST and np.isfinite(features).all():
        yield features


def _swayed(motion: Motion, dice: Dice) -> Motion:
    """Every joint turned by a random angle and a smooth random curve; the root only a little."""
    if motion.rotations is None:
        return motion
    frames, joints = motion.rotations.shape[:2]
    pace = float(motion.fps) * dice.uniform(0.3, 1.5)
    curves = _smooth(dice.standard_normal((frames, joints, 3)), pace)
    curves = 0.7 * curves + 0.7 * dice.standard_normal((1, joints, 3))
    strength = dice.uniform(0.05, 0.9) * dice.uniform(0.2, 1.0, (1, joints, 1))
    strength[:, 0] *= 0.3
    turns = rot.from_axis_angle(curves * strength)
    return replace(motion, rotations=rot.normalised(rot.multiply(motion.rotations, turns)))


def _smooth(noise: npt.NDArray[np.float64], frames: float) -> npt.NDArray[np.float64]:
    """Noise of deviation 1 that changes over about so many frames."""
    reach = int(3 * frames)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / frames) ** 2)
    kernel /= np.sqrt(np.sum(kernel**2))
    spectrum = np.fft.rfft(noise, len(noise) + len(kernel), axis=0)
    shaped = spectrum * np.fft.rfft(kernel, len(noise) + len(kernel))[:, None, None]
    return np.fft.irfft(shaped, len(noise) + len(kernel), axis=0)[reach : reach + len(noise)]
