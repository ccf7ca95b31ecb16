"""Low-rank adaptation: frozen linear layers that learn a small product of two matrices beside them.

    layers = adapt(network, ("to_q", "to_v"), rank=16, alpha=16.0)     # by the layer's name
    save_file(tensors_of(layers, "transformer"), path, metadata=header_of(layers, "transformer"))
    merge(network, layers)                                             # into the frozen weights

Names of tensors and the header are those of peft, so `load_lora_weights` of diffusers reads them.
A fresh product is zero: nothing changes until something was learned.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from zoo.errors import SpecMismatchError, UsageError, nearest

__all__ = ["LowRank", "adapt", "header_of", "load_tensors", "merge", "tensors_of"]

_HEADER = "lora_adapter_metadata"


class LowRank(nn.Module):
    """(alpha / rank) B A, in float32 whatever the frozen weights are."""

    def __init__(self, inputs: int, outputs: int, rank: int, alpha: float):
        super().__init__()
        self.rank, self.alpha = rank, alpha
        self.lora_A = nn.Linear(inputs, rank, bias=False)
        self.lora_B = nn.Linear(rank, outputs, bias=False)
        nn.init.zeros_(self.lora_B.weight)

    def forward(self, x: Tensor) -> Tensor:
        made = self.lora_B(self.lora_A(x.to(self.lora_A.weight.dtype)))
        return (made * (self.alpha / self.rank)).to(x.dtype)

    def product(self) -> Tensor:
        """What is added to the frozen weight."""
        return self.lora_B.weight @ self.lora_A.weight * (self.alpha / self.rank)


class _Adapted(nn.Module):
    """A frozen layer with what it learns beside it."""

    def __init__(self, frozen: nn.Linear, learned: LowRank):
        super().__init__()
        self.frozen, self.learned = frozen, learned

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.frozen(x)
        return made + self.learned(x)


def adapt(
    network: nn.Module, targets: Sequence[str], rank: int, alpha: float
) -> dict[str, LowRank]:
    """Freeze a network and let the linear layers whose names end with a target learn; by name."""
    network.requires_grad_(False)
    linear = {n: m for n, m in network.named_modules() if isinstance(m, nn.Linear)}
    layers: dict[str, LowRank] = {}
    for target in targets:
        fitting = [name for name in linear if f".{name}".endswith(f".{target}")]
        if not fitting:
            known = sorted({_ending(name) for name in linear})
            raise UsageError(
                f"no linear layer is called {target!r}",
                allowed=", ".join(known),
                hint=nearest(target, known),
            )
        for name in fitting:
            layer = linear[name]
            layers[name] = LowRank(layer.in_features, layer.out_features, rank, alpha)
    for name, learned in layers.items():
        _replace(network, name, _Adapted(linear[name], learned))
    return layers


def merge(network: nn.Module, layers: Mapping[str, LowRank]) -> None:
    """Add what was learned to the frozen weights, and take the small layers out."""
    for name, learned in layers.items():
        layer = network.get_submodule(name)
        if not isinstance(layer, _Adapted):
            raise UsageError(f"{name} was merged already")
        with torch.no_grad():
            layer.frozen.weight += learned.product().to(layer.frozen.weight)
        _replace(network, name, layer.frozen)


def tensors_of(layers: Mapping[str, LowRank], part: str) -> dict[str, Tensor]:
    """What was learned, by the names that peft gives it in a part of a pipeline."""
    return {
        f"{part}.{name}.{which}.weight": getattr(layer, which).weight
        for name, layer in layers.items()
        for which in ("lora_A", "lora_B")
    }


@torch.no_grad()
def load_tensors(layers: Mapping[str, LowRank], part: str, tensors: Mapping[str, Tensor]) -> None:
    """Take what `tensors_of` gave; refuse what is missing, too much or of another shape."""
    own = tensors_of(layers, part)
    differ = sorted(
        name
        for name in {*own, *tensors}
        if name not in own or name not in tensors or own[name].shape != tensors[name].shape
    )
    if differ:
        raise SpecMismatchError(
            f"{len(differ)} tensors do not fit these layers, {differ[0]} among them",
            hint="use the base, rank and targets that they were learned with",
        )
    for name, value in own.items():
        value.copy_(tensors[name])


def header_of(layers: Mapping[str, LowRank], part: str) -> dict[str, str]:
    """What the header of the file tells peft."""
    first = next(iter(layers.values()))
    known = {"r": first.rank, "lora_alpha": first.alpha, "target_modules": sorted(layers)}
    return {_HEADER: json.dumps({f"{part}.{name}": value for name, value in known.items()})}


def _ending(name: str) -> str:
    """What of a layer's name can be a target: `to_q`, `to_out.0`."""
    *_, before, last = ["", *name.split(".")]
    return f"{before}.{last}" if last.isdecimal() else last


def _replace(network: nn.Module, name: str, layer: Any) -> None:
    parent, _, last = name.rpartition(".")
    setattr(network.get_submodule(parent), last, layer)
