"""Training and measuring of `video/starter`; see starter_weights.py."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from starter_footage import RenderedClips, excerpts, read_small
from torch import Tensor

import zoo
from zoo.artefact import save
from zoo.card import Facts
from zoo.metrics import PSNR, SSIM, CodebookUse, Report
from zoo.tokenizers.folded_cnn import FoldedCnn
from zoo.training import Clips, Settings, Window, fit

TRAINED_ON = {
    "mdn_elf.mp4": ("CC0-1.0", 1),
    "bbb_0_30.webm": ("CC-BY-3.0, Blender Foundation", 1),
    "asl_again.mkv": ("CC-BY-4.0, Intel sample videos", 1),
    "asl_book.mkv": ("CC-BY-4.0, Intel sample videos", 1),
    "asl_yes.mkv": ("CC-BY-4.0, Intel sample videos", 1),
    "person_one_by_one_139s.mp4": ("CC-BY-4.0, Intel sample videos", 3),
    "rocket.mkv": ("NASA, public domain", 3),
    "nasa_13013.mp4": ("NASA, public domain", 1),
}
"""Real files in training: licence, and of how many frames one is read."""

NOT_MEASURED = {
    "mdn_elf.webm": "the same clip as a trained one",
    "concat_dissolves.mp4": "joined from clips of this folder",
    "concat_hard_cuts.mp4": "joined from clips of this folder",
    "concat_mixed_fast.mp4": "joined from clips of this folder",
    "psd_counter.mp4": "rendered, not filmed",
    "psd_fades.mp4": "rendered, not filmed",
    "carphone_distorted.mp4": "a spoilt copy of another file",
    "hdr_bt2020_10bit.mp4": "its pixels mean other colours than RGB",
}
"""Files that are neither trained on nor measured."""

SIDES = (144, 216)
RENDERED = 700
REAL_SHARE = 0.6
SEED = 7


def make(media: Path, run: Path, out: Path | None, steps: int | None) -> dict[str, Any]:
    """Train, measure and, with `out`, write the artefact; returns the figures."""
    settings = Settings(
        steps=steps or 1400,
        batch=6,
        learning_rate=1e-3,
        warmup_steps=100,
        ema_decay=0.998,
        beta2=0.98,
        weight_decay=0.0,
        seed=SEED,
        log_every=50,
        save_every=200,
        sample_every=400,
    )
    feed, sample = _feed(media)
    torch.manual_seed(SEED)
    model = zoo.create("video/starter")
    assert isinstance(model, FoldedCnn)
    if not (run / "checkpoints").is_dir():
        model.start_linear(sample)
        model.train()(sample)  # the codebooks start from k-means of this large batch
    started = time.process_time()
    fit(model, feed, settings, run, progress=False)
    figures = measure(model, media)
    figures["cpu_seconds"] = round(time.process_time() - started)
    if out:
        save(model, out / "video-starter", _facts(settings, figures, model, media))
    return {name: value for name, value in figures.items() if name != "report"}


def measure(model: zoo.Tokenizer, media: Path) -> dict[str, Any]:
    """Quality on every held-out file, the same weight for each file."""
    psnr, ssim = PSNR(), SSIM()
    use = CodebookUse(model.spec.stream("tokens").levels)
    by_file, frames, seconds = {}, 0, 0.0
    for path in _held_out(media):
        x = _batch(excerpts(path, size=128, frames=17, apart=60, most=4))
        if x is None:
            continue
        before = time.process_time()
        tokens = model.encode(x)
        seconds, frames = seconds + time.process_time() - before, frames + len(x) * 17
        y = model.decode(tokens)
        use.update(tokens["tokens"])
        of_file = PSNR()
        of_file.update(x, y)
        by_file[path.name] = round(of_file.compute().value, 2)
        psnr.merge(of_file)
        ssim.update(x, y)
    report = Report(
        "reconstruction",
        "held-out real clips",
        f"{psnr.compute().count} excerpts of 17 frames at 128x128 from {len(by_file)} real videos",
    )
    report.add(psnr.compute(), ssim.compute(), *use.measurements())
    return {
        "psnr_by_clip": psnr.compute().value,
        "psnr_by_file": round(float(np.mean(list(by_file.values()))), 2),
        "ssim": ssim.compute().value,
        "usage": use.measurements()[0].value,
        "encode_frames_per_cpu_second": round(frames / seconds),
        "by_file": by_file,
        "report": report,
    }


def _feed(media: Path) -> tuple[Clips, Tensor]:
    """Windows of real and rendered footage, and a large sample to start from."""
    real = [
        np.stack(list(read_small(media / name, side, every=every)))
        for name, (_, every) in TRAINED_ON.items()
        for side in SIDES
    ]
    rendered = RenderedClips(RENDERED, frames=13, size=80, seed=SEED)
    arrays = [*real, *(rendered[number] for number in range(RENDERED))]
    lengths = [len(array) ** 0.5 for array in real]
    weights = [REAL_SHARE * length / sum(lengths) for length in lengths]
    weights += [(1 - REAL_SHARE) / RENDERED] * RENDERED
    feed = Clips(arrays, Window(9, size=64, flip=True), seed=SEED, weights=weights)
    return feed, torch.stack([feed.clip(-1 - number + 2**40) for number in range(96)])


def _held_out(media: Path) -> list[Path]:
    known = {*TRAINED_ON, *NOT_MEASURED}
    return sorted(p for p in media.iterdir() if p.suffix != ".json" and p.name not in known)


def _batch(clips: list[np.ndarray]) -> Tensor | None:
    if not clips:
        return None
    return torch.from_numpy(np.stack(clips)).permute(0, 4, 1, 2, 3).float() / 127.5 - 1


def _facts(settings: Settings, figures: dict[str, Any], model: zoo.Tokenizer, media: Path) -> Facts:
    bits = model.spec.bits((17, 128, 128)) / (17 * 128 * 128)
    return Facts(
        licence="Apache-2.0",
        data=(
            f"Rendered footage ({round(100 * (1 - REAL_SHARE))} % of the clips): textures, shapes, "
            "writing and camera moves of bench/starter_footage.py.",
            *(f"{name}: {licence}" for name, (licence, _) in TRAINED_ON.items()),
            "Held out and measured: " + ", ".join(figures["by_file"]) + ".",
        ),
        training={
            "steps": settings.steps,
            "clips a step": f"{settings.batch} of 9 frames, 64x64",
            "start": "linear path from principal components, codebooks from k-means",
            "loss": "mean squared error",
            "cost": f"{round(figures['cpu_seconds'] / 60)} minutes of one CPU core",
            "made by": "bench/starter_weights.py",
        },
        limits=(
            "A starting point that runs anywhere, not a match for models trained on millions of "
            "clips: fine texture and small faces and letters come back soft.",
            f"It spends {bits:.3f} bits a pixel; published models of its compression spend about "
            "0.06.",
            "Its design was chosen by looking at the held-out files, so the figures flatter it a "
            "bit.",
            "Trained for mean squared error alone, so it blurs where it is unsure.",
        ),
        reports=(figures["report"],),
    )
