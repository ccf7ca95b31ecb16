"""A model divided among two processes learns what one process learns, also after a stop."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed as dist

from zoo.artefact import load
from zoo.errors import UsageError
from zoo.generator import Batch
from zoo.generators.autoregressive import Autoregressive
from zoo.grammar import examples
from zoo.registry import preset
from zoo.training import GeneratorSettings, fit_generator

SETTINGS = GeneratorSettings(
    steps=3,
    batch=4,
    warmup_steps=1,
    log_every=1,
    save_every=1,
    ema_decay=0.9,
    checkpoint_blocks=True,
    shard="fsdp",
)


def fresh() -> Autoregressive:
    torch.manual_seed(0)
    return Autoregressive(replace(preset("motion/autoregressive_delay_tiny").config, drop=0.0))


class Lessons:
    """Batches of the grammar, of which each worker reads its rows; may end in an error."""

    def __init__(self, model: Autoregressive, fatal: int = -1, rows: tuple[int, int] = (0, 1)):
        self.model, self.fatal, self.rows, self.seen = model, fatal, rows, 0

    def __iter__(self) -> Iterator[Batch]:
        while self.seen != self.fatal:
            batch, _ = examples(self.model, 4, seed=self.seen)
            self.seen += 1
            yield batch.split(self.rows[1])[self.rows[0]]
        raise KeyboardInterrupt

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seen = state["seen"]

    def shard(self, rank: int, world: int) -> Lessons:
        return Lessons(self.model, self.fatal, (rank, world))


def train(folder: Path, fatal: int = -1) -> Autoregressive:
    model = fresh()
    apart = [examples(model, 4, seed=99)[0]]
    feed = Lessons(fresh(), fatal)
    fit_generator(model, feed, SETTINGS, folder, validation=apart, device="cpu", progress=False)
    return model


def work(rank: int, port: int, folder: str) -> None:
    """One of two processes: a whole run, then one that is stopped and goes on."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        f"tcp://127.0.0.1:{port}",
        timedelta(minutes=2),
        rank=rank,
        world_size=2,
    )
    divided = train(Path(folder, "whole"))
    kept = sum(p.to_local().numel() for p in divided.parameters())
    assert kept < 0.6 * sum(p.numel() for p in fresh().parameters())
    with pytest.raises(KeyboardInterrupt):
        train(Path(folder, "stopped"), fatal=2)
    train(Path(folder, "stopped"))
    dist.destroy_process_group()


def logged(folder: Path, name: str) -> list[float]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line[name] for line in lines if name in line]


def test_two_divided_processes_learn_what_one_learns(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    alone = train(tmp_path / "one")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    other = subprocess.Popen([sys.executable, __file__, str(port), str(tmp_path)])
    work(0, port, str(tmp_path))
    assert other.wait() == 0

    for name in ("loss", "gradient_norm", "validation_loss", "validation_nll"):
        expected = logged(tmp_path / "one", name)
        assert expected
        for run in ("whole", "stopped"):
            assert logged(tmp_path / run, name) == pytest.approx(expected, rel=1e-4), (run, name)
    whole, stopped = (load(tmp_path / run / "model") for run in ("whole", "stopped"))
    for name, value in whole.state_dict().items():
        assert torch.equal(stopped.state_dict()[name], value), name
    # Single weights differ more: AdamW takes whole steps along gradients that are mere rounding.
    apart = [(alone.state_dict()[n] - v).abs().mean() for n, v in whole.state_dict().items()]
    assert float(torch.stack(apart).mean()) < 2e-5
    assert isinstance(whole, Autoregressive)
    assert whole.sample(1, seed=1).x.shape == whole.space.shape(1)


def test_a_divided_model_is_not_compiled(tmp_path: Path) -> None:
    model = fresh()
    with pytest.raises(UsageError, match="not compiled"):
        fit_generator(model, Lessons(model), replace(SETTINGS, compile=True), tmp_path)


if __name__ == "__main__":
    work(1, int(sys.argv[1]), sys.argv[2])
