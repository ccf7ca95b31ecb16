"""What autoencoders of motion share: statistics in the artefact, losses of normalised features.

A motion model takes features as its data set gives them. It normalises them with statistics that it
keeps (`fit_normalizer`, before training) and gives features in the same units back. Its own losses
compare normalised features, where metres and contacts weigh alike, and their change over time.

`measure_bound` stores how far decoding was off on clips that matter, feature by feature; the bound
travels with the weights and leaves the spec hash alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from zoo.autoencoder import Autoencoder
from zoo.errors import UsageError
from zoo.layers.normalise import Normalizer
from zoo.tokenizer import Reconstruction, State

__all__ = ["MotionAutoencoder", "motion_losses"]


class MotionAutoencoder(Autoencoder):
    """Features last, (B, T, D) or (B, T, J, C); both networks see them normalised, channels first.

    A family sets `normalizer`, `encoder`, `quantizer` and `decoder` and calls `_keep_bound`.
    """

    version = 2
    encode_side = ("normalizer", "encoder", "quantizer")
    pace = 16
    """Layers of motion are so small that calls, not sums, take the time: mostly 64 frames go in at
    once, and a stream gives its tokens as often."""
    loss_weights: ClassVar[dict[str, float]] = {
        "commitment": 0.02,
        "kl": 1e-4,
        "features": 1.0,
        "velocity": 0.5,
    }

    normalizer: Normalizer
    error_bound: Tensor
    """Largest absolute error of every feature on the measured clips; infinite before."""

    def fit_normalizer(self, samples: Iterable[Tensor]) -> None:
        """Take mean and deviation from clips of the training set: (..., T, *features) each."""
        self.normalizer.fit(samples)

    def measure_bound(self, clips: Iterable[Tensor]) -> Tensor:
        """Store and return the largest error of decoded `clips`, (T, *features) each."""
        worst = None
        for clip in clips:
            made = self.decode(self.encode(clip[None]))
            error = (made - clip[None].to(made)).abs().flatten(0, 1).amax(0)
            worst = error if worst is None else torch.maximum(worst, error)
        if worst is None:
            raise UsageError("no clips to measure the bound on", allowed="one clip or more")
        self.error_bound.copy_(worst)
        return self.error_bound

    def encode_piece(self, x: Tensor, state: State) -> dict[str, Tensor]:
        return super().encode_piece(self.normalizer(x).movedim(-1, 1), state)

    def decode_piece(
        self, streams: dict[str, Tensor], state: State, size: tuple[int, ...]
    ) -> Tensor:
        return self.normalizer.back(super().decode_piece(streams, state, size).movedim(1, -1))

    def forward(self, x: Tensor) -> Reconstruction:
        wanted = self.normalizer(x)
        made = super().forward(wanted.movedim(-1, 1))
        assert made.output is not None
        output = made.output.movedim(1, -1)
        losses = {**made.losses, **motion_losses(output, wanted)}
        return Reconstruction(self.normalizer.back(output), losses, made.ids)

    def _keep_bound(self) -> None:
        self.register_buffer("error_bound", torch.full_like(self.normalizer.mean, torch.inf))


def motion_losses(made: Tensor, wanted: Tensor, weight: Tensor | None = None) -> dict[str, Tensor]:
    """Distance of normalised features, and of their change from frame to frame.

    `weight`, of the same shape, says how much each value counts; all alike if None.
    """
    if weight is not None:
        made, wanted = made * weight, wanted * weight
    losses = {"features": functional.smooth_l1_loss(made, wanted)}
    if wanted.shape[1] > 1:
        losses["velocity"] = functional.smooth_l1_loss(made.diff(dim=1), wanted.diff(dim=1))
    return losses
