"""Backbones whose layers also read earlier layers: long skips, or features of the layers before."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo.errors import UsageError
from zoo.layers.backbone import Backbone, BackboneConfig, Given, View
from zoo.tokenizer import State

__all__ = ["GatheredBackbone", "SkippedBackbone"]


class _Layered(Backbone):
    """A backbone that changes what goes into its blocks."""

    def __init__(self, config: BackboneConfig, *, context: bool = False, modulated: bool = False):
        super().__init__(config, context=context, modulated=modulated)
        if self.prefixed:
            raise UsageError("layers that read others take no prefix", allowed='reads="cross"')

    def forward(
        self, x: Tensor, view: View, given: Given | None = None, state: State | None = None
    ) -> Tensor:
        given = given or Given()
        if given.track is not None:
            x = x + given.track[:, view.positions[:, 0].clamp(0, given.track.shape[1] - 1)]
        made: list[Tensor] = []
        for layer, block in enumerate(self.blocks):
            x = block(self.into(x, layer, made), view, given, state)
            made.append(x)
        return self.norm(x)

    def into(self, x: Tensor, layer: int, made: list[Tensor]) -> Tensor:
        """What block `layer` reads; `made` are the outputs of the blocks before it."""
        raise NotImplementedError


class SkippedBackbone(_Layered):
    """The second half reads the first half's outputs in reverse, as a U-ViT does."""

    def __init__(self, config: BackboneConfig, *, context: bool = False, modulated: bool = False):
        super().__init__(config, context=context, modulated=modulated)
        self.skips = nn.ModuleList(
            nn.Linear(2 * config.dim, config.dim) for _ in range(config.depth // 2)
        )

    def into(self, x: Tensor, layer: int, made: list[Tensor]) -> Tensor:
        late = layer - (len(self.blocks) - len(self.skips))
        if late < 0:
            return x
        return self.skips[late](torch.cat([x, made[len(self.skips) - 1 - late]], dim=-1))


class GatheredBackbone(_Layered):
    """Each block also reads the mean of the layers before it, through a gate that begins closed."""

    reach = 4
    """How many layers are gathered."""

    def __init__(self, config: BackboneConfig, *, context: bool = False, modulated: bool = False):
        super().__init__(config, context=context, modulated=modulated)
        self.gathered = nn.ModuleList(nn.Linear(config.dim, config.dim) for _ in self.blocks)
        self.gates = nn.Parameter(torch.zeros(config.depth))

    def into(self, x: Tensor, layer: int, made: list[Tensor]) -> Tensor:
        if layer == 0:
            return x
        mean = torch.stack(made[-self.reach :]).mean(0)
        return x + self.gates[layer] * self.gathered[layer](mean)
