"""Features of mean 0 and deviation 1, by statistics that travel with the model.

Motion features mix metres, radians, speeds and contacts, so nothing learns on them as they are. A
model that keeps its own statistics cannot be fed with those of another data set by mistake.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from zoo.errors import UsageError

__all__ = ["Normalizer"]

_STILL = 1e-5
"""A feature whose deviation is below this does not move; dividing by it would amplify noise."""


class Normalizer(nn.Module):
    """Statistics of values that end in `shape`; the identity until `fit`.

    `groups` are widths of runs of features that share one deviation, their mean one, as HumanML3D
    does for the features of one kind.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, shape: tuple[int, ...], groups: tuple[int, ...] = ()):
        super().__init__()
        if groups and sum(groups) != shape[-1]:
            raise UsageError(
                f"groups of {groups} cover {sum(groups)} features", allowed=f"{shape[-1]}"
            )
        self.groups = groups
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("deviation", torch.ones(shape))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.deviation

    def back(self, x: Tensor) -> Tensor:
        return x * self.deviation + self.mean

    @torch.no_grad()
    def fit(self, samples: Iterable[Tensor]) -> None:
        """Take the statistics of `samples (..., *shape)`, of any lengths, all frames alike."""
        count, total, squares = 0, 0.0, 0.0
        for sample in samples:
            rows = sample.to(self.mean.device).double().reshape(-1, *self.mean.shape)
            count += len(rows)
            total, squares = total + rows.sum(0), squares + rows.square().sum(0)
        if not isinstance(total, Tensor):
            raise UsageError("no samples to fit the normaliser to", allowed="one clip or more")
        mean = total / count
        deviation = (squares / count - mean.square()).clamp_min(0).sqrt()
        if self.groups:
            deviation = torch.cat(
                [run.mean(-1, keepdim=True).expand_as(run) for run in deviation.split(self.groups)]
            )
        self.mean.copy_(mean)
        self.deviation.copy_(torch.where(deviation < _STILL, 1.0, deviation))
