"""The processes that train one model together, as the loop sees them.

Gradients are averaged after the backward pass in one flat message. That is simpler than hooks in
the backward pass and right for several backward passes a step, unused parameters and a
discriminator; tokenizers are small enough that the message is short beside the work. Nobody else
here knows `torch.distributed`, and alone everything is a no-op.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.tensor import DTensor

__all__ = ["Workers"]


@dataclass(frozen=True)
class Workers:
    """This process among all."""

    rank: int = 0
    world: int = 1

    @classmethod
    def current(cls) -> Workers:
        """Those of the process group that is initialised, or a single one."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls()

    @property
    def leads(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def same_weights(self, *modules: nn.Module) -> None:
        """Give every process the weights and buffers of the first."""
        if self.world == 1:
            return
        for module in modules:
            for tensor in module.state_dict().values():
                dist.broadcast(tensor, src=0)

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace gradients by their mean over all processes; divided ones are means already."""
        if self.world == 1:
            return
        trained = [p for p in parameters if p.requires_grad and not isinstance(p, DTensor)]
        for p in trained:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        self._average([p.grad for p in trained if p.grad is not None])

    def average(self, values: dict[str, float], device: torch.device) -> dict[str, float]:
        """Means over all processes of numbers that each has under the same names."""
        if self.world == 1:
            return values
        names = sorted(values)
        means = torch.tensor([values[name] for name in names], device=device)
        self._average([means])
        return dict(zip(names, means.tolist(), strict=True))

    def wait(self) -> None:
        """Until all processes are here."""
        if self.world > 1:
            dist.barrier()

    def _average(self, tensors: list[Tensor]) -> None:
        for group in _by_dtype(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in group])
            dist.all_reduce(flat)
            flat /= self.world
            for tensor, mean in zip(group, flat.split([t.numel() for t in group]), strict=True):
                tensor.copy_(mean.view_as(tensor))


def _by_dtype(tensors: list[Tensor]) -> Iterator[list[Tensor]]:
    for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
        yield [tensor for tensor in tensors if tensor.dtype == dtype]
