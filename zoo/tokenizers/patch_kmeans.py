"""Patches named by the nearest of their k-means centroids: CCViT.

No network and no training: `fit` takes a sample of pictures and seconds, a frame is encoded by one
nearest-neighbour search, and an id decodes to the mean of the patches that it stood for.

    tokenizer = create("image/ccvit_16.k8192")
    tokenizer.fit(pictures)              # (B, 3, T, H, W); returns the error it leaves
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from zoo.layers.patches import cut, join
from zoo.layers.quantizers import Centroids
from zoo.layers.quantizers.centroids import CentroidsQuantizer
from zoo.layers.specs import grid_stream, image_spec
from zoo.registry import Preset
from zoo.spec import Axis, TokenizerSpec
from zoo.tokenizer import Reconstruction, State, Tokenizer

__all__ = ["PRESETS", "Config", "PatchKmeans"]


@dataclass(frozen=True)
class Config:
    """With `invented`, a new model has smooth made-up centroids and runs before it is fitted."""

    patch: int = 16
    size: int = 8192
    invented: bool = False


class PatchKmeans(Tokenizer):
    """A table of patch means."""

    config_class = Config
    trainable = False

    def __init__(self, config: Config):
        super().__init__(config)
        self.quantizer = CentroidsQuantizer(Centroids(dim=3 * config.patch**2, size=config.size))
        if config.invented:
            self._invent()

    def describe(self) -> TokenizerSpec:
        patch = self.config.patch
        grid = (Axis("h", stride=patch), Axis("w", stride=patch))
        return image_spec(grid_stream(self.quantizer, *grid), multiple=patch)

    def fit(self, pictures: Tensor, iterations: int = 20, seed: int = 0) -> float:
        """Centroids of the patches of `pictures`; returns the mean squared error they leave."""
        return self.quantizer.fit(self._patches(pictures), iterations, seed)

    def encode_piece(self, x: Tensor, state: State) -> dict[str, Tensor]:
        return {"tokens": self.quantizer.encode(self._patches(x))}

    def decode_piece(
        self, streams: dict[str, Tensor], state: State, size: tuple[int, ...]
    ) -> Tensor:
        return join(self.quantizer.decode(streams["tokens"]), 1, self.config.patch)

    def forward(self, x: Tensor) -> Reconstruction:
        ids = self.quantizer.encode(self._patches(x))
        return Reconstruction(
            join(self.quantizer.decode(ids), 1, self.config.patch), ids={"tokens": ids}
        )

    def _patches(self, x: Tensor) -> Tensor:
        return cut(x, 1, self.config.patch)

    @torch.no_grad()
    def _invent(self) -> None:
        centroids = self.quantizer.centroids
        coarse = torch.rand(len(centroids), 3, 2, 2, device=centroids.device) * 2 - 1
        smooth = functional.interpolate(
            coarse, size=(self.config.patch,) * 2, mode="bilinear", align_corners=True
        )
        centroids.copy_(smooth.flatten(1))
        self.quantizer.fitted.fill_(True)


_CCVIT = "Centroid-centered Modeling for Efficient Vision Transformer Pre-training"
_TINY = "image/patch_kmeans_tiny"

PRESETS = (
    Preset(_TINY, PatchKmeans, Config(8, 64, invented=True), f"{_CCVIT}, arXiv:2303.04664"),
    Preset(
        "image/ccvit_16.k8192",
        PatchKmeans,
        Config(),
        f"{_CCVIT}, arXiv:2303.04664",
        _TINY,
        serves=("ccvit",),
    ),
)
