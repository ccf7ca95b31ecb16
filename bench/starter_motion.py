"""Training and measuring of `motion/starter`; see starter_weights.py."""

from __future__ import annotations

import time
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


def make(media: Path, run: Path, out: Path | None, steps: int | None) -> dict[str, Any]:
    """Train, measure and, with `out`, write the artefact; returns the figures."""
    settings = Settings(
        steps=steps or 1800,
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
    takes = _takes(media)
    feed = Clips(takes, Window(SHORTEST), seed=SEED)
    torch.manual_seed(SEED)
    model = zoo.create("motion/starter")
    assert isinstance(model, MotionFolded)
    if not (run / "checkpoints").is_dir():
        model.fit_normalizer([torch.from_numpy(take) for take in takes])
        sample = torch.stack([feed.clip(2**40 + number) for number in range(1200)])
        model.start_linear(sample)
        model.train()(sample)  # the codebooks start from k-means of this large batch
    started = time.process_time()
    fit(model, feed, settings, run, joints=humanml_joints, progress=False)
    figures = measure(model, media)
    figures["cpu_seconds"] = round(time.process_time() - started)
    if out:
        model.measure_bound([torch.from_numpy(take) for take in takes[::8]])
        save(model, out / "motion-starter", _facts(settings, figures))
    return {name: value for name, value in figures.items() if name != "report"}


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


def _takes(media: Path) -> list[np.ndarray]:
    dice = np.random.default_rng(SEED)
    takes = [
        features
        for motion in rendered_takes(RENDERED, SEED)
        for features in variations(motion, dice, VARIED)
    ]
    for name in TRAINED_ON:
        takes += variations(read_motion(media / name).motion, dice, REAL_VARIED)
    return takes


def _held_out(media: Path) -> list[Path]:
    return sorted(path for pattern in HELD_OUT for path in media.glob(pattern))


def _facts(settings: Settings, figures: dict[str, Any]) -> Facts:
    return Facts(
        licence="Apache-2.0",
        data=(
            f"{RENDERED} rendered takes of walking, running, jumping and other actions, each also "
            f"{VARIED} times varied (mirrored, retimed, joints swayed), by bench/starter_takes.py.",
            *(f"{name}: {licence}" for name, licence in TRAINED_ON.items()),
            "Held out and measured: " + ", ".join(figures["by_file"]) + ".",
        ),
        training={
            "steps": settings.steps,
            "clips a step": f"{settings.batch} of {SHORTEST} frames",
            "cost": f"{round(figures['cpu_seconds'] / 60)} minutes of one CPU core",
            "made by": "bench/starter_weights.py",
        },
        limits=(
            "HumanML3D's 263 features at 20 frames a second; other features need another model.",
            "Floor work, acrobatics and props are hardly in the training takes.",
            "16 ids for 4 frames are 720 bits a second, against 270 of MoMask: few takes were "
            "there to learn from, and more levels make up for poses that they do not show. The "
            "first levels alone decode too, coarser.",
            "Positions in the world drift over long takes, since features store velocities.",
        ),
        reports=(figures["report"],),
    )
