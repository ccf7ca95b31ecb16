"""A run whose process is killed, and a run over two workers, end like an undisturbed one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import zoo
from zoo.tokenizer import Tokenizer
from zoo.training import Clips, Settings, Window, fit
from zoo.training.ray import fit_on_ray

SETTINGS = Settings(steps=6, batch=4, warmup_steps=2, log_every=1, save_every=1)

KILLED = """
import os, signal, sys
import numpy as np
import torch
import zoo
from zoo.training import Clips, Settings, Window, fit

class Fatal(Clips):
    def clip(self, position):
        if position == 22:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().clip(position)

torch.set_num_threads(1)
torch.manual_seed(0)
model = zoo.create("motion/conv_fsq_tiny")
feed = Fatal(list(np.load(sys.argv[1])), Window(16))
fit(model, feed, Settings.read(sys.argv[2]), sys.argv[3], progress=False)
"""


def takes() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((5, 24, 24)).astype(np.float32)


def parts() -> tuple[Tokenizer, Clips]:
    torch.manual_seed(0)
    return zoo.create("motion/conv_fsq_tiny"), Clips(list(takes()), Window(16))


def trained(folder: Path) -> dict[str, Tensor]:
    model, feed = parts()
    fit(model, feed, SETTINGS, folder, progress=False)
    return model.state_dict()


def logged(folder: Path, name: str) -> list[float]:
    return [json.loads(line)[name] for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def test_a_killed_run_ends_like_an_undisturbed_one(tmp_path: Path) -> None:
    expected = trained(tmp_path / "undisturbed")
    np.save(tmp_path / "takes.npy", takes())
    (tmp_path / "settings.json").write_text(json.dumps(SETTINGS.to_json()))
    files = [str(tmp_path / name) for name in ("takes.npy", "settings.json", "killed")]
    ended = subprocess.run([sys.executable, "-c", KILLED, *files], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert list((tmp_path / "killed" / "checkpoints").glob("step-*"))
    assert not (tmp_path / "killed" / "model").exists()
    for name, value in trained(tmp_path / "killed").items():
        assert torch.allclose(value, expected[name], rtol=0, atol=1e-6), name


# Ray Data, which Ray Train imports, warns of its own defaults.
@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
def test_two_workers_take_the_gradients_of_one(cluster: str, tmp_path: Path) -> None:
    expected = trained(tmp_path / "one")
    outcome = fit_on_ray(parts, SETTINGS, tmp_path / "two", workers=2)
    assert outcome.steps == SETTINGS.steps
    for name in ("gradient_norm", "loss"):
        one, two = logged(tmp_path / "one", name), logged(tmp_path / "two", name)
        assert two == pytest.approx(one, rel=1e-3)
    made = zoo.load(f"local-dir:{outcome.folder}").state_dict()
    for name, value in made.items():
        assert torch.allclose(value, expected[name], rtol=0, atol=1e-4), name
