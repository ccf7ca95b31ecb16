"""The registry is the test list: every tiny preset does what the contract promises."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from zoo import create, list_models
from zoo.artefact import load
from zoo.docs import page
from zoo.errors import InputError, NotFoundError, SpecMismatchError, UnsafeFileError, UsageError
from zoo.registry import Preset, presets
from zoo.table import from_registry, listed
from zoo.tokenizer import Reconstruction, Tokenizer
from zoo.tokens import Tokens

TINY = [name for name, entry in presets().items() if entry.is_tiny]
FULL = [name for name, entry in presets().items() if not entry.is_tiny]
STREAMING = [name for name in TINY if presets()[name].spec.streaming]
TRAINABLE = [name for name in TINY if presets()[name].family.trainable]


def example(tokenizer: Tokenizer, batch: int = 2, seed: int = 0) -> Tensor:
    """Smooth structured input of the shape that the tokenizer takes: sums of moving waves."""
    shape = tokenizer.example_shape(batch)
    dice = torch.Generator().manual_seed(seed)
    axes = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in shape), indexing="ij")
    value = torch.zeros(shape)
    for _ in range(4):
        pace = torch.rand(len(shape), generator=dice) * 0.9
        phase = axes[0] * 2.1 + axes[-1 if len(shape) < 5 else 1] * 1.3
        value += torch.sin(phase + sum(a * p for a, p in zip(axes[1:], pace, strict=False)))
    low, high = tokenizer.spec.value_range or (-2.0, 2.0)
    value = value / value.abs().amax()
    return (low + high) / 2 + value * (high - low) / 2


def tiny(name: str) -> Tokenizer:
    torch.manual_seed(0)
    return create(name)


def same_tokens(one: Tokens, other: Tokens) -> None:
    assert one.size == other.size
    for name, value in one.streams.items():
        assert torch.equal(value, other.streams[name]), name


@pytest.mark.parametrize("name", TINY)
def test_what_is_encoded_comes_back_in_its_size(name: str) -> None:
    tokenizer = tiny(name)
    x = example(tokenizer)
    tokens = tokenizer.encode(x)
    grids = tokenizer.spec.grid(tokens.size)
    for stream in tokenizer.spec.streams:
        value = tokens[stream.name]
        assert len(value) == len(x)
        if all(axis.extent or axis.stride for axis in stream.axes):
            assert tokens.grid_of(stream.name) == grids[stream.name]
        if stream.discrete:
            assert not value.is_floating_point()
            assert int(value.min()) >= 0
            assert int(value.max()) < max(stream.levels)
    back = tokenizer.decode(tokens)
    assert back.shape == x.shape
    assert bool(torch.isfinite(back).all())


@pytest.mark.parametrize("name", TINY)
def test_any_length_comes_back(name: str) -> None:
    tokenizer = tiny(name)
    rule, time = tokenizer.spec.length, tokenizer.spec.layout.index("T")
    x = example(tokenizer, batch=1)
    for frames in {1, rule.first + 1, rule.first + rule.step - 1, rule.first + rule.step + 1}:
        index = torch.arange(frames) % x.shape[time]
        clip = x.index_select(time, index)
        assert tokenizer.decode(tokenizer.encode(clip)).shape == clip.shape


@pytest.mark.parametrize("name", TINY)
def test_ids_do_not_depend_on_the_batch(name: str) -> None:
    tokenizer = tiny(name)
    x = example(tokenizer, batch=3)
    together = tokenizer.encode(x)
    alone = Tokens.stack([tokenizer.encode(clip) for clip in x.flip(0).split(1)])
    for stream, value in alone.streams.items():
        assert torch.equal(value.flip(0), together.streams[stream])


@pytest.mark.parametrize("name", STREAMING)
@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_a_stream_gives_the_ids_of_the_whole(name: str, chunk: int) -> None:
    tokenizer = tiny(name)
    rule, time = tokenizer.spec.length, tokenizer.spec.layout.index("T")
    x = example(tokenizer, batch=1)
    frames = rule.first + 5 * rule.step + rule.step // 2
    clip = x.index_select(time, torch.arange(frames) % x.shape[time])
    streamed = Tokens.join(list(tokenizer.encode_stream(clip.split(chunk, dim=time))))
    same_tokens(streamed, tokenizer.encode(clip))


@pytest.mark.parametrize("name", [n for n in STREAMING if presets()[n].spec.causal])
def test_ids_of_a_prefix_are_a_prefix_of_the_ids(name: str) -> None:
    tokenizer = tiny(name)
    rule, time = tokenizer.spec.length, tokenizer.spec.layout.index("T")
    x = example(tokenizer, batch=1)
    frames = rule.first + 4 * tokenizer.pace * rule.step
    clip = x.index_select(time, torch.arange(frames) % x.shape[time])
    short = rule.first + 2 * tokenizer.pace * rule.step
    if rule.first == rule.step:
        short -= rule.first
    whole, prefix = tokenizer.encode(clip), tokenizer.encode(clip.narrow(time, 0, short))
    for stream, value in prefix.streams.items():
        assert torch.equal(value, whole.streams[stream][:, : value.shape[1]])


@pytest.mark.parametrize("name", TRAINABLE)
def test_one_batch_can_be_learned(name: str) -> None:
    tokenizer = tiny(name).train()
    x = example(tokenizer)
    if hasattr(tokenizer, "fit_normalizer"):
        tokenizer.fit_normalizer(x)
    optimizer = torch.optim.AdamW(tokenizer.parameters(), lr=1e-3, weight_decay=0.0, fused=True)
    first = lowest = math.inf
    for step in range(400):
        torch.manual_seed(step % 4)
        loss = training_loss(tokenizer, tokenizer(x), x)
        value = float(loss.detach())
        first = value if step == 0 else first
        lowest = min(lowest, value)
        if lowest < first / 5:
            return
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(tokenizer.parameters(), 1.0)
        optimizer.step()
    pytest.fail(f"the loss went from {first:.4g} to {lowest:.4g} only")


def training_loss(tokenizer: Tokenizer, made: Reconstruction, x: Tensor) -> Tensor:
    """What is to fall: the error of the output, or the family's own objective."""
    weights = tokenizer.loss_weights
    own = sum(
        (weights.get(key, 1.0) * value for key, value in made.losses.items()), torch.zeros(())
    )
    if made.output is None:
        return own
    scale = 1.0 if not hasattr(tokenizer, "fit_normalizer") else float(x.var())
    return (made.output - x).square().mean() / scale + 0.1 * own


@pytest.mark.parametrize("name", TINY)
def test_a_saved_model_gives_equal_ids(name: str, tmp_path) -> None:
    tokenizer = tiny(name)
    x = example(tokenizer, batch=1)
    tokenizer.save(tmp_path)
    again = load(tmp_path)
    assert again.spec.hash == tokenizer.spec.hash
    same_tokens(again.encode(x), tokenizer.encode(x))


@pytest.mark.parametrize("name", TINY)
def test_wrong_input_is_refused_with_its_mend(name: str) -> None:
    tokenizer = tiny(name)
    x = example(tokenizer, batch=1)
    with pytest.raises(InputError, match="axes"):
        tokenizer.encode(x[0])
    with pytest.raises(InputError, match="floats"):
        tokenizer.encode(x.to(torch.uint8))
    with pytest.raises(InputError, match="NaN"):
        tokenizer.encode(torch.full_like(x, float("nan")))
    if tokenizer.spec.value_range:
        with pytest.raises(InputError, match="values run from"):
            tokenizer.encode(x * 255)
    wide = torch.cat([x, x], dim=1 if tokenizer.spec.layout == "BCTHW" else -1)
    with pytest.raises(InputError, match="takes"):
        tokenizer.encode(wide)


@pytest.mark.parametrize("name", FULL)
def test_a_full_size_preset_describes_itself(name: str) -> None:
    entry = presets()[name]
    assert presets()[entry.tiny].is_tiny
    assert presets()[entry.tiny].family is entry.family
    assert entry.paper
    assert entry.spec.grid(tuple(extents(entry)))


def extents(entry: Preset) -> list[int]:
    spec = entry.spec
    frames = spec.length.padded(17)
    if spec.layout == "BCTHW":
        return [frames, *(spec.size or (128, 128))]
    return [frames, spec.joints] if spec.joints else [frames]


def test_every_preset_that_serves_a_system_stands_on_a_tested_one() -> None:
    for name, entry in presets().items():
        assert entry.is_tiny == name.endswith("_tiny"), name


def test_names_are_found_by_wildcard_and_capability() -> None:
    names = list_models("video/*", discrete=True, streaming=True)
    assert "video/causal_cnn_fsq_tiny" in names
    assert all(name.startswith("video/") for name in names)
    assert "video/causal_cnn_kl_tiny" not in names


def test_an_unknown_name_shows_the_nearest() -> None:
    with pytest.raises(NotFoundError, match="causal_cnn_fsq_tin") as error:
        create("video/causal_cnn_fsq_tin")
    assert "video/causal_cnn_fsq_tiny" in str(error.value)


def test_tokens_of_another_tokenizer_are_refused() -> None:
    one, other = tiny("video/causal_cnn_fsq_tiny"), create("video/causal_cnn_fsq_tiny")
    tokens = one.encode(example(one))
    with pytest.raises(SpecMismatchError, match="were made by"):
        other.decode(tokens)


def test_the_hash_changes_with_what_changes_ids_and_with_nothing_else() -> None:
    tokenizer = tiny("video/causal_cnn_fsq_tiny")
    before = tokenizer.spec.hash
    with torch.no_grad():
        next(tokenizer.decoder.parameters()).add_(1.0)
    assert tokenizer.spec.hash == before, "a decoder that was trained further keeps its tokens"
    tokenizer.name = "another name"
    assert tokenizer.spec.hash == before
    with torch.no_grad():
        next(tokenizer.encoder.parameters()).add_(1e-3)
    changed = tokenizer.spec.hash
    assert changed != before
    halved = tokenizer.to(torch.bfloat16)
    assert halved.spec.hash not in (before, changed)
    clip = example(halved, batch=1)
    assert halved.decode(halved.encode(clip)).shape == clip.shape


def test_the_hash_follows_weights_that_are_put_in_place_of_others() -> None:
    tokenizer = tiny("video/causal_cnn_fsq_tiny")
    hashes = [tokenizer.spec.hash]
    weight = next(tokenizer.encoder.parameters()).detach().clone()
    tokenizer.half().float()  # the same parameters with other, rounded data
    hashes.append(tokenizer.spec.hash)
    convolution = next(m for m in tokenizer.encoder.modules() if isinstance(m, nn.Conv3d))
    for _ in range(3):
        convolution.weight = nn.Parameter(torch.randn_like(convolution.weight))
        hashes.append(tokenizer.spec.hash)
    assert len(set(hashes)) == len(hashes)
    assert not torch.equal(weight, next(tokenizer.encoder.parameters()))


def test_encode_leaves_training_mode_of_every_part() -> None:
    tokenizer = tiny("video/causal_cnn_fsq_tiny")
    tokenizer.decoder.train()
    tokenizer.encode(example(tokenizer, batch=1))
    assert not any(module.training for module in tokenizer.modules())


def test_tampered_weights_are_refused(tmp_path) -> None:
    folder = tiny("video/causal_cnn_fsq_tiny").save(tmp_path)
    weights = folder / "model.safetensors"
    raw = bytearray(weights.read_bytes())
    raw[-1] ^= 1
    weights.write_bytes(raw)
    with pytest.raises(UnsafeFileError, match="are not the ones"):
        load(folder)


def test_a_tampered_spec_is_refused(tmp_path) -> None:
    folder = tiny("video/causal_cnn_fsq_tiny").save(tmp_path)
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"patch": 1', '"patchy": 1'))
    with pytest.raises(UsageError, match="patchy"):
        load(folder)


def test_another_frame_rate_is_refused() -> None:
    tokenizer = tiny("video/causal_cnn_fsq_tiny")
    assert tokenizer.encode(example(tokenizer, batch=1), fps=24.0)
    tokenizer.describe = _at_30_fps(tokenizer)
    with pytest.raises(InputError, match="resample"):
        tokenizer.encode(example(tokenizer, batch=1), fps=24.0)


def _at_30_fps(tokenizer: Tokenizer):
    from dataclasses import replace

    described = replace(tokenizer.describe(), fps=30.0)
    tokenizer._described = None
    return lambda: described


def test_the_list_of_models_is_in_step_with_the_registry() -> None:
    stored = {row.name: row for row in listed()}
    now = {row.name: row for row in from_registry()}
    assert stored == now, "make it anew: python -m zoo.table > zoo/models.tsv"


@pytest.mark.parametrize(
    "asked",
    [
        {"modality": "motion"},
        {"discrete": False},
        {"streaming": True, "discrete": True},
        {"ordered": True},
    ],
)
def test_the_list_finds_what_the_registry_finds(asked: dict[str, Any]) -> None:
    assert [row.name for row in listed("*_tiny", **asked)] == list_models("*_tiny", **asked)


def test_the_list_knows_what_comes_trained() -> None:
    assert [row.name for row in listed(weights=True)] == ["motion/starter", "video/starter"]


def test_the_page_of_models_is_in_step_with_the_registry() -> None:
    path = Path(__file__).resolve().parents[2] / "docs" / "models.md"
    assert path.read_text() == page(), "make it anew: python -m zoo.docs > docs/models.md"
