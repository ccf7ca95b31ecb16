"""One rank of two: trains quantizers on its part of every batch, then saves what they learned.

Run by `test_quantizers_learning`: rank, folder with `configs.json` and `batches`.
"""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed as dist

from zoo.layers.quantizers import build, config_of


def main(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        store=dist.FileStore(str(folder / "store"), 2),
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=60),
    )
    for name, data in json.loads((folder / "configs.json").read_text()).items():
        torch.manual_seed(0)
        quantizer = build(config_of(data)).train()
        for batch in torch.load(folder / "batches", weights_only=True):
            losses = quantizer(batch[rank]).losses
        if "entropy" in losses:
            losses["entropy"].backward()
        gradients = [p.grad for p in quantizer.parameters() if p.grad is not None]
        torch.save((quantizer.state_dict(), gradients), folder / f"{name}.{rank}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
