"""The training loop on several processes or GPUs, by Ray Train.

Every worker builds the model and the feed, then runs the loop of `fit`; torch.distributed joins
them. A worker that dies takes the others down; Ray starts them again, up to `max_failures` times,
and the loop continues from its checkpoint. `out_dir` must be visible to all workers.

    fit_on_ray(make, settings, "runs/first", workers=8, gpu=True)
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from zoo.generator import Generator
from zoo.training.generate import fit_generator
from zoo.training.loop import fit
from zoo.training.run import Outcome
from zoo.training.settings import Training

__all__ = ["fit_on_ray"]


def fit_on_ray(
    make: Callable[[], tuple[Any, Any]],
    settings: Training,
    out_dir: str | Path,
    *,
    workers: int,
    gpu: bool = False,
    max_failures: int = 0,
    train: Callable[..., Outcome] | None = None,
    **options: Any,
) -> Outcome:
    """Train what `make` gives on `workers` processes of the running or a new Ray cluster.

    `make` gives a tokenizer with its feed, or a generator with its own; `options` are those of
    `fit` or `fit_generator`, or of another function, `train`. The workers share the batch.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    folder = Path(out_dir).absolute()

    def work() -> None:
        from ray.train import report

        model, feed = make()
        usual: Any = fit_generator if isinstance(model, Generator) else fit
        way = train or usual
        report(way(model, feed, settings, folder, **{"progress": False, **options}).losses)

    trainer = TorchTrainer(
        work,
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpu),
        run_config=RunConfig(
            name="ray",
            storage_path=str(folder),
            failure_config=FailureConfig(max_failures=max_failures),
        ),
    )
    trainer.fit()
    # Ray keeps the metrics of checkpoints that it stores itself; ours are in the run's own log.
    last = json.loads((folder / "log.jsonl").read_text().splitlines()[-1])
    return Outcome(last.pop("step"), last, folder / "model")
