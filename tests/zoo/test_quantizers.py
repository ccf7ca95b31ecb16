"""The contract that every kind of quantizer keeps; the table of kinds is the list of tests."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor

from zoo.errors import UsageError
from zoo.layers.quantizers import (
    KINDS,
    KL,
    Bsq,
    Centroids,
    Continuous,
    Dual,
    Factorised,
    Fsq,
    Lfq,
    MultiScale,
    Product,
    Quantizer,
    QuantizerConfig,
    ResidualFsq,
    Rvq,
    SimVq,
    Stochastic,
    Vocabulary,
    Vq,
    build,
    config_of,
)

DIM = 12
CONFIGS: dict[str, QuantizerConfig] = {
    "vq": Vq(dim=DIM, size=32),
    "vq_cosine": Vq(dim=DIM, size=32, code_dim=4, cosine=True),
    "vq_learned": Vq(dim=DIM, size=32, learned=True),
    "rvq": Rvq(dim=DIM, size=16, depth=3, dropout=0.5),
    "rvq_shared": Rvq(dim=DIM, size=16, depth=3, shared=True),
    "product": Product(dim=DIM, parts=3, part=Vq(dim=4, size=16)),
    "product_of_rvq": Product(dim=DIM, parts=2, part=Rvq(dim=6, size=16, depth=2)),
    "fsq": Fsq(dim=DIM, levels=(8, 8, 8, 5, 5, 5)),
    "fsq_symmetric": Fsq(dim=DIM, levels=(2, 3, 4), symmetric=True),
    "residual_fsq": ResidualFsq(dim=DIM, levels=(8, 5, 5, 5), depth=2),
    "lfq": Lfq(dim=DIM, bits=18),
    "bsq": Bsq(dim=DIM, bits=36),
    "simvq": SimVq(dim=DIM, size=64),
    "multiscale": MultiScale(dim=DIM, size=32, scales=((1, 1), (2, 2), (4, 4))),
    "dual": Dual(dim=DIM, semantic=4, size=32),
    "factorised": Factorised(dim=DIM, size=16, code_dim=4),
    "stochastic": Stochastic(dim=DIM, size=32),
    "vocabulary": Vocabulary(dim=DIM, size=40, word_dim=10, depth=2),
    "vocabulary_cosine": Vocabulary(dim=DIM, size=40, word_dim=10, cosine=True),
    "centroids": Centroids(dim=DIM, size=16),
    "kl": KL(dim=DIM, channels=4, normalise=True),
    "continuous": Continuous(dim=DIM, channels=4, bound="tanh"),
}
DISCRETE = [name for name, config in CONFIGS.items() if config.kind not in ("kl", "continuous")]
TRAINABLE = [name for name, config in CONFIGS.items() if config.kind != "centroids"]


def latents(seed: int = 0, batch: int = 6) -> Tensor:
    """Clustered latents whose two halves are unit vectors, which every kind can represent."""
    draw = torch.Generator().manual_seed(seed)
    centres = torch.randn(9, DIM, generator=torch.Generator().manual_seed(99))
    picked = centres[torch.randint(0, 9, (batch, 4, 4), generator=draw)]
    z = picked + 0.1 * torch.randn(batch, 4, 4, DIM, generator=draw)
    return torch.cat(
        [torch.nn.functional.normalize(half, dim=-1) for half in z.split([4, 8], -1)], -1
    )


def made(name: str) -> Quantizer:
    torch.manual_seed(1)
    quantizer = build(CONFIGS[name])
    if isinstance(CONFIGS[name], Vocabulary):
        quantizer.load_words(torch.randn(quantizer.words.shape) * 0.4)
    if isinstance(CONFIGS[name], Centroids):
        quantizer.fit(latents())
    return quantizer


def trained(name: str, steps: int = 3) -> Quantizer:
    quantizer = made(name).train()
    for step in range(steps):
        quantizer(latents(step))
    return quantizer.eval()


def test_every_kind_is_tested() -> None:
    assert {config.kind for config in CONFIGS.values()} == set(KINDS)


@pytest.mark.parametrize("name", CONFIGS)
def test_what_is_stored_decodes_to_what_the_decoder_read(name: str) -> None:
    quantizer, z = trained(name), latents(7)

    quantized, stored = quantizer(z), quantizer.encode(z)

    assert torch.equal(quantizer.decode(stored), quantized.values)
    assert quantized.values.shape == z.shape
    if quantized.ids is None:
        assert not quantizer.levels
        assert stored.shape == (*z.shape[:-1], quantizer.channels)
    else:
        assert torch.equal(stored, quantized.ids)
        assert stored.dtype == torch.int64
        several = () if len(quantizer.levels) == 1 else (len(quantizer.levels),)
        grid = (21,) if quantizer.scales else (4, 4)
        assert stored.shape == (len(z), *grid, *several)


@pytest.mark.parametrize("name", CONFIGS)
def test_encoding_is_deterministic_and_changes_nothing(name: str) -> None:
    quantizer, z = trained(name), latents(7)
    before = {key: value.clone() for key, value in quantizer.state_dict().items()}

    first = quantizer.encode(z)
    quantizer(z)
    in_training = quantizer.train().encode(z)

    assert torch.equal(first, in_training)
    assert all(torch.equal(before[key], value) for key, value in quantizer.state_dict().items())


@pytest.mark.parametrize("name", CONFIGS)
def test_training_without_gradients_changes_nothing(name: str) -> None:
    quantizer = trained(name).train()
    before = {key: value.clone() for key, value in quantizer.state_dict().items()}

    with torch.no_grad():
        quantizer(latents(7))

    assert all(torch.equal(before[key], value) for key, value in quantizer.state_dict().items())


@pytest.mark.parametrize("name", DISCRETE)
def test_ids_do_not_depend_on_the_batch(name: str) -> None:
    quantizer, z = trained(name), latents(7, batch=9)

    together = quantizer.encode(z)

    assert torch.equal(together, torch.cat([quantizer.encode(part) for part in z.split(2)]))
    assert torch.equal(together, torch.cat([quantizer.encode(part) for part in z.split(1)]))


@pytest.mark.parametrize("name", CONFIGS)
def test_gradients_reach_the_latents(name: str) -> None:
    quantizer, z = made(name).train(), latents().requires_grad_()

    (quantizer(z).values * torch.randn(z.shape)).sum().backward()

    assert z.grad is not None
    assert torch.isfinite(z.grad).all()
    assert (z.grad.abs().sum(-1) > 0).float().mean() > 0.5


@pytest.mark.parametrize("name", CONFIGS)
def test_losses_are_finite_scalars_of_the_same_names_in_eval(name: str) -> None:
    quantizer = made(name).train()

    losses = quantizer(latents().requires_grad_()).losses

    for loss in losses.values():
        assert loss.shape == ()
        assert torch.isfinite(loss)
        assert loss.requires_grad
    with torch.no_grad():
        assert quantizer.eval()(latents()).losses.keys() == losses.keys()


@pytest.mark.parametrize("name", CONFIGS)
def test_two_passes_before_one_backward(name: str) -> None:
    """A codebook that moves in between must not spoil the first pass's gradients."""
    quantizer = made(name).train()
    z = latents().requires_grad_()
    passes = [quantizer(z), quantizer(latents(1))]
    total = sum(one.values.sum() + sum(one.losses.values()) for one in passes)
    total.backward()
    assert z.grad is not None


@pytest.mark.parametrize("name", TRAINABLE)
def test_training_lowers_the_error(name: str) -> None:
    quantizer = made(name)
    quantizer.train()
    optimizer = torch.optim.Adam(
        [*quantizer.parameters(), torch.nn.Parameter(torch.zeros(1))], 0.02
    )
    before = _error(quantizer)
    for step in range(60):
        z = latents(step)
        quantized = quantizer(z.requires_grad_())
        loss = (quantized.values - z.detach()).square().mean()
        loss = loss + sum(quantized.losses.get(part, 0.0) for part in ("commitment", "codebook"))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    assert _error(quantizer) < 0.7 * before


def _error(quantizer: Quantizer) -> float:
    quantizer.eval()
    z = latents(1000)
    with torch.no_grad():
        error = float((quantizer(z).values - z).square().mean())
    quantizer.train()
    return error


@pytest.mark.parametrize("name", CONFIGS)
def test_a_saved_state_gives_equal_ids(name: str) -> None:
    quantizer, other, z = trained(name), build(CONFIGS[name]), latents(7)

    other.load_state_dict(quantizer.state_dict())

    assert torch.equal(other.eval().encode(z), quantizer.encode(z))


@pytest.mark.parametrize("name", CONFIGS)
def test_decisions_are_made_in_float32(name: str) -> None:
    quantizer, z = trained(name), latents(7).bfloat16()

    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast, quantized = quantizer.encode(z), quantizer(z)

    assert torch.equal(under_autocast, quantizer.encode(z.float()))
    assert quantized.values.dtype == torch.bfloat16
    assert quantizer(z.double()).values.dtype == torch.float64


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_goes_through_json(name: str) -> None:
    config = CONFIGS[name]
    text = json.dumps(config.to_json())

    again = config_of(json.loads(text))

    assert again == config
    assert json.dumps(again.to_json()) == text


@pytest.mark.parametrize("name", DISCRETE)
@pytest.mark.parametrize("bad", [-1, 2**19])
def test_ids_without_a_code_are_refused(name: str, bad: int) -> None:
    quantizer = trained(name)
    ids = quantizer.encode(latents(7))
    ids.view(-1)[5] = bad

    with pytest.raises(UsageError, match=f"id {bad} at level"):
        quantizer.decode(ids)


@pytest.mark.parametrize("name", CONFIGS)
def test_latents_of_another_width_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="latents of shape"):
        made(name)(torch.zeros(2, 4, 4, DIM + 1))


@pytest.mark.parametrize("name", CONFIGS)
def test_levels_are_cut_only_where_a_prefix_is_meaningful(name: str) -> None:
    quantizer = trained(name)
    stored = quantizer.encode(latents(7))

    if not quantizer.nested:
        with pytest.raises(UsageError):
            quantizer.decode(stored, levels=len(quantizer.levels) + 1)
    elif len(quantizer.levels) > 1:
        assert torch.equal(quantizer.decode(stored, levels=1), quantizer.decode(stored[..., :1]))
        with pytest.raises(UsageError, match="levels"):
            quantizer.decode(stored[..., :1], levels=2)


def test_unknown_kinds_and_settings_are_refused_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match="unknown quantizer kind: fqs") as kind:
        config_of({"kind": "fqs", "dim": 4})
    with pytest.raises(UsageError, match="dacay") as setting:
        config_of({"kind": "vq", "dim": 4, "dacay": 0.5})
    assert "fsq" in str(kind.value.hint)
    assert "decay" in str(setting.value.hint)


@pytest.mark.parametrize(
    "data",
    [
        {"kind": "vq", "dim": 4, "size": "many"},
        {"kind": "vq", "dim": 4, "size": 1},
        {"kind": "vq", "dim": 4, "decay": 1.5},
        {"kind": "vq", "dim": True},
        {"kind": "vq"},
        {"kind": "fsq", "dim": 4, "levels": [8, 1]},
        {"kind": "fsq", "dim": 4, "levels": [2, 2]},
        {"kind": "fsq", "dim": 4, "levels": [8] * 8},
        {"kind": "dual", "dim": 8, "semantic": 8},
        {"kind": "product", "dim": 8, "parts": 3, "part": {"kind": "vq", "dim": 4}},
        {"kind": "vocabulary", "dim": 8, "cosine": True, "depth": 2},
        {"kind": "multiscale", "dim": 8, "scales": [[1], [2, 2]]},
        {"kind": "multiscale", "dim": 8, "upward": "bicubic"},
        {"kind": "continuous", "dim": 8, "bound": "relu"},
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_refused(data: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        config_of(data)


def test_a_whole_number_is_a_valid_float_and_hashes_alike() -> None:
    assert Vq(dim=4, decay=1).to_json() == Vq(dim=4, decay=1.0).to_json()
    assert json.dumps(Vq(dim=4, decay=1).to_json()) == json.dumps(Vq(dim=4, decay=1.0).to_json())


def test_a_product_takes_no_continuous_part() -> None:
    with pytest.raises(UsageError, match="product of kl"):
        build(Product(dim=8, part=KL(dim=4, channels=2)))
