"""Notices with every call, in some microseconds, whether a model is still the one it was.

`encode` must know that no weight changed since its spec was made, and that nothing is in training
mode. Walking over modules by name takes as long as a short clip takes in the network. Here the
dictionaries in which modules keep their parts are found once; what they hold is then compared by
address and, of tensors, by the version that every change in place raises.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from itertools import chain
from typing import Any

from torch import Tensor, nn

__all__ = ["Watch"]

_VERSION = operator.attrgetter("_version")


class Watch:
    """One model as it is now; `whole` are all its modules, `deciding` those whose tensors count."""

    def __init__(self, whole: Iterable[nn.Module], deciding: Iterable[nn.Module]):
        modules = list(whole)
        self._modes = [vars(module) for module in modules]
        self._holders: list[dict[str, Any]] = [module._modules for module in modules]
        for module in deciding:
            self._holders += [module._parameters, module._buffers]
        self._held = list(chain.from_iterable(map(dict.values, self._holders)))
        """The things themselves, so that no other one can take an address."""
        self._addresses = list(map(id, self._held))
        self._tensors = [item for item in self._held if isinstance(item, Tensor)]
        self._versions = list(map(_VERSION, self._tensors))

    @property
    def training(self) -> bool:
        """Whether any module is in training mode."""
        return any(mode["training"] for mode in self._modes)

    @property
    def unchanged(self) -> bool:
        """Whether modules and deciding tensors are the same ones with the same values."""
        held = chain.from_iterable(map(dict.values, self._holders))
        if list(map(id, held)) != self._addresses:
            return False
        return list(map(_VERSION, self._tensors)) == self._versions
