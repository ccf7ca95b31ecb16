"""Lookup-free quantization: every channel is its sign, 18 of them a vocabulary of 2^18.

MAGVIT-v2 and Open-MAGVIT2. The order of bits is that of their code, so ids agree; `factor_ids`
gives the two 2^9 sub-ids of an id.
"""

from __future__ import annotations

from dataclasses import dataclass

from zoo.layers.quantizers._bits import SignConfig, SignQuantizer

__all__ = ["Lfq", "LfqQuantizer"]


@dataclass(frozen=True, kw_only=True)
class Lfq(SignConfig, kind="lfq"):
    pass


class LfqQuantizer(SignQuantizer):
    """See the module."""

    def __init__(self, config: Lfq) -> None:
        super().__init__(config, scale=1.0)
