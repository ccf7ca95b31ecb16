"""Quantizers: what turns latents into ids or few numbers, one kind a file.

    quantizer = build(Fsq(dim=256, levels=(8, 8, 8, 5, 5, 5)))
    quantizer(z)                       # training: values, ids, losses
    quantizer.decode(quantizer.encode(z))

A config names the kind and goes through JSON (`config_of(config.to_json())`); `KINDS` maps each
kind to the class that serves it. `base` has the contract, `packing` stores ids in exactly their
bits, `hold_updates` is for gradient accumulation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from zoo.errors import UsageError
from zoo.layers.quantizers._bits import factor_ids, join_ids
from zoo.layers.quantizers._ranks import hold_updates
from zoo.layers.quantizers.base import Quantized, Quantizer, QuantizerConfig
from zoo.layers.quantizers.bsq import Bsq, BsqQuantizer
from zoo.layers.quantizers.centroids import Centroids, CentroidsQuantizer
from zoo.layers.quantizers.continuous import Continuous, ContinuousQuantizer
from zoo.layers.quantizers.dual import Dual, DualQuantizer
from zoo.layers.quantizers.factorised import Factorised, FactorisedQuantizer
from zoo.layers.quantizers.fsq import Fsq, FsqQuantizer
from zoo.layers.quantizers.kl import KL, KLQuantizer
from zoo.layers.quantizers.lfq import Lfq, LfqQuantizer
from zoo.layers.quantizers.multiscale import MultiScale, MultiScaleQuantizer
from zoo.layers.quantizers.packing import bits_per_position, pack_ids, unpack_ids
from zoo.layers.quantizers.product import Product, ProductQuantizer
from zoo.layers.quantizers.residual_fsq import ResidualFsq, ResidualFsqQuantizer
from zoo.layers.quantizers.rvq import Rvq, RvqQuantizer
from zoo.layers.quantizers.simvq import SimVq, SimVqQuantizer
from zoo.layers.quantizers.stochastic import Stochastic, StochasticQuantizer
from zoo.layers.quantizers.vocabulary import Vocabulary, VocabularyQuantizer
from zoo.layers.quantizers.vq import Vq, VqQuantizer

__all__ = [
    "KINDS",
    "KL",
    "Bsq",
    "Centroids",
    "Continuous",
    "Dual",
    "Factorised",
    "Fsq",
    "Lfq",
    "MultiScale",
    "Product",
    "Quantized",
    "Quantizer",
    "QuantizerConfig",
    "ResidualFsq",
    "Rvq",
    "SimVq",
    "Stochastic",
    "Vocabulary",
    "Vq",
    "bits_per_position",
    "build",
    "config_of",
    "factor_ids",
    "hold_updates",
    "join_ids",
    "pack_ids",
    "unpack_ids",
]


def build(config: QuantizerConfig) -> Quantizer:
    """The quantizer of a config, with random weights."""
    if config.kind not in KINDS:
        raise UsageError(f"no quantizer of kind {config.kind!r}", allowed=", ".join(sorted(KINDS)))
    return KINDS[config.kind](config)


def config_of(data: Mapping[str, Any]) -> QuantizerConfig:
    """The config that `to_json` wrote; unknown kinds and settings are refused."""
    return QuantizerConfig.from_json(data)


def _product(config: Product) -> ProductQuantizer:
    return ProductQuantizer(config, [build(config.part) for _ in range(config.parts)])


KINDS: dict[str, Callable[[Any], Quantizer]] = {
    Bsq.kind: BsqQuantizer,
    Centroids.kind: CentroidsQuantizer,
    Continuous.kind: ContinuousQuantizer,
    Dual.kind: DualQuantizer,
    Factorised.kind: FactorisedQuantizer,
    Fsq.kind: FsqQuantizer,
    KL.kind: KLQuantizer,
    Lfq.kind: LfqQuantizer,
    MultiScale.kind: MultiScaleQuantizer,
    Product.kind: _product,
    ResidualFsq.kind: ResidualFsqQuantizer,
    Rvq.kind: RvqQuantizer,
    SimVq.kind: SimVqQuantizer,
    Stochastic.kind: StochasticQuantizer,
    Vocabulary.kind: VocabularyQuantizer,
    Vq.kind: VqQuantizer,
}
"""What serves each kind."""
