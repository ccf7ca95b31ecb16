"""Low-rank layers in pretrained generators: what learns, what stays, what is saved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

pytest.importorskip("diffusers")
pytest.importorskip("accelerate")

import zoo
from zoo.adapters.diffusers_lora import Config, DiffusersLora
from zoo.adapters.pipelines import Pipeline
from zoo.adapters.tiny_pipelines import tiny_pipeline
from zoo.artefact import WEIGHTS
from zoo.errors import InputError, SpecMismatchError, UsageError
from zoo.generator import Batch, Decoding, Known, Space
from zoo.hub import load_tokenizer
from zoo.layers.lora import LowRank, adapt, merge
from zoo.training import GeneratorSettings, fit_generator

SIZES = {"WanPipeline": (5, 16, 16), "LTXPipeline": (5, 32, 32)}
TEXTS = ["a red cat runs", "a blue dog falls"]
DECODING = Decoding(steps=2, guidance=2.0)


def test_fresh_layers_change_nothing_and_merging_is_the_same() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Linear(6, 8), nn.GELU(), nn.ModuleDict({"to_q": nn.Linear(8, 4)}).to_q
    )
    x = torch.randn(5, 6)
    before = network(x)
    layers = adapt(network, ("2",), rank=2, alpha=4.0)
    assert list(layers) == ["2"]
    assert torch.equal(network(x), before)
    nn.init.normal_(layers["2"].lora_B.weight)
    after = network(x)
    assert not torch.allclose(after, before)
    merge(network, layers)
    torch.testing.assert_close(network(x), after)
    assert isinstance(network[2], nn.Linear)
    with pytest.raises(UsageError, match="merged already"):
        merge(network, layers)


def test_targets_that_are_not_there_are_refused() -> None:
    with pytest.raises(UsageError, match="no linear layer is called 'to_k'") as caught:
        adapt(nn.ModuleDict({"to_q": nn.Linear(2, 2)}), ("to_k",), 2, 2.0)
    assert "to_q" in str(caught.value)
    assert LowRank(3, 4, 2, 1.0).product().shape == (4, 3)


@pytest.fixture(scope="module", params=SIZES)
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bases") / str(request.param)
    tiny_pipeline(request.param).save_pretrained(folder)
    return folder


def fresh(base: Path, **changed: Any) -> DiffusersLora:
    vae = load_tokenizer(f"diffusers:{base}:vae")
    size = SIZES[base.name]
    config = Config(
        base=f"diffusers:{base}",
        space=Space.of(vae.spec, size),
        rank=4,
        alpha=8.0,
        precision="float32",
    )
    torch.manual_seed(0)
    pipeline = zoo.load(config.base, dtype="float32")
    model = DiffusersLora.of(pipeline, replace(config, **changed))
    return model.bind(vae.spec, size, f"diffusers:{base}:vae")


def latents(model: DiffusersLora) -> Tensor:
    dice = torch.Generator().manual_seed(7)
    return torch.randn(model.space.shape(2), generator=dice)


class Feed:
    """The same two examples, for ever."""

    def __init__(self, model: DiffusersLora):
        self.batch = Batch(latents(model), model.given(text=TEXTS))
        self.seen = 0

    def __iter__(self) -> Iterator[Batch]:
        while True:
            self.seen += 1
            yield self.batch

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seen = state["seen"]

    def shard(self, rank: int, world: int) -> Feed:
        return self


def settings(steps: int, **changed: Any) -> GeneratorSettings:
    known = {
        "batch": 2,
        "learning_rate": 2e-2,
        "warmup_steps": 0,
        "save_every": 10,
        "log_every": 10,
    }
    return GeneratorSettings(steps=steps, ema_decay=0.0, **{**known, **changed})


@torch.no_grad()
def measured(model: DiffusersLora) -> float:
    """The loss, over many times."""
    batch = Batch(latents(model), model.given(text=TEXTS))
    found = []
    for seed in range(16):
        torch.manual_seed(seed)
        found.append(float(model.losses(batch)["flow"]))
    return sum(found) / len(found)


def frozen(model: DiffusersLora) -> dict[str, Tensor]:
    return {n: p.clone() for n, p in model.trunk.named_parameters() if not p.requires_grad}


def test_a_fine_tune_learns_saves_and_samples(base: Path, tmp_path: Path) -> None:
    model = fresh(base)
    plain = zoo.load(f"diffusers:{base}")
    own = model.sample(1, model.given(text=TEXTS[:1]), DECODING, seed=1).x
    before, loss = frozen(model), measured(model)
    outcome = fit_generator(
        model, Feed(model), settings(20), tmp_path / "run", progress=False, device="cpu"
    )
    assert measured(model) < 0.9 * loss
    for name, value in frozen(model).items():
        assert torch.equal(value, before[name]), name
    learned = {n for n, p in model.trunk.named_parameters() if p.requires_grad}
    assert learned
    assert all("lora_" in name for name in learned)

    made = model.sample(1, model.given(text=TEXTS[:1]), DECODING, seed=1).x
    assert not torch.allclose(made, own)
    again = zoo.load(f"local-dir:{outcome.folder}")
    assert isinstance(again, DiffusersLora)
    assert torch.equal(again.sample(1, again.given(text=TEXTS[:1]), DECODING, seed=1).x, made)
    assert again.tokenizer().spec.hash == model.source.spec_hash  # type: ignore[union-attr]

    _check_peft_reads(plain, outcome.folder, made, model)
    merged = again.save_merged(tmp_path / "merged")
    whole = DiffusersLora.of(zoo.load(f"diffusers:{merged}"), model.config)
    torch.testing.assert_close(
        whole.sample(1, whole.given(text=TEXTS[:1]), DECODING, seed=1).x,
        made,
        rtol=1e-3,
        atol=1e-4,
    )


def _check_peft_reads(plain: Pipeline, folder: Path, made: Tensor, model: DiffusersLora) -> None:
    """Names and header are those of peft; where it is installed, diffusers makes the same."""
    with safe_open(folder / WEIGHTS, "pt") as file:
        names = set(file.keys())
        assert "lora_adapter_metadata" in file.metadata()
    places = {name.rsplit(".lora_", 1)[0] for name in names}
    assert names == {f"{p}.lora_{side}.weight" for p in places for side in "AB"}
    assert all(place.startswith("transformer.") for place in places)
    pytest.importorskip("peft")
    plain.pipe.load_lora_weights(folder, weight_name=WEIGHTS)
    seed = int(torch.randint(2**62, (), generator=torch.Generator().manual_seed(1)))
    asked = {"prompt": TEXTS[0], "negative_prompt": "", "output_type": "latent"}
    packed = plain.call(SIZES[plain.name.rsplit("/")[-1]], DECODING, seed, **asked)
    theirs = model.flow.unpacked(packed, made.shape[1:4]).movedim(1, -1)
    torch.testing.assert_close(theirs, made, rtol=1e-3, atol=1e-4)


def test_a_stopped_run_ends_as_an_undisturbed_one(base: Path, tmp_path: Path) -> None:
    """Also when its blocks are computed again instead of kept, which changes no weight."""
    whole = fresh(base)
    fit_generator(whole, Feed(whole), settings(8), tmp_path / "a", progress=False, device="cpu")
    first = fresh(base)
    stopping = Stopping(first, 5)
    with pytest.raises(KeyboardInterrupt):
        fit_generator(
            first, stopping, settings(8, save_every=2), tmp_path / "b", progress=False, device="cpu"
        )
    second = fresh(base)
    rest = settings(8, save_every=2, checkpoint_blocks=True)
    fit_generator(second, Feed(second), rest, tmp_path / "b", progress=False, device="cpu")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


class Stopping(Feed):
    """A feed that is interrupted."""

    def __init__(self, model: DiffusersLora, after: int):
        super().__init__(model)
        self.after = after

    def __iter__(self) -> Iterator[Batch]:
        for number, batch in enumerate(super().__iter__()):
            if number == self.after:
                raise KeyboardInterrupt
            yield batch


def test_foreign_tokens_and_bases_are_refused(base: Path, tmp_path: Path) -> None:
    model = fresh(base)
    foreign = zoo.create("video/diffusers_wan_tiny")
    with torch.no_grad():
        next(foreign.vae.encoder.parameters()).add_(1.0)
    with pytest.raises(SpecMismatchError, match="the VAE of"):
        model.bind(foreign.spec, SIZES[base.name])
    folder = model.save(tmp_path / "model")
    other = tiny_pipeline(base.name, seed=1)
    other.save_pretrained(base.parent / "other")
    config = replace(model.config, base=f"diffusers:{base.parent / 'other'}")
    with pytest.raises(SpecMismatchError, match="the layers were learned on"):
        DiffusersLora(config)
    assert (folder / WEIGHTS).exists()


def test_texts_are_embedded_once_and_the_encoder_goes(base: Path, tmp_path: Path) -> None:
    model = fresh(base)
    batch = Batch(latents(model), model.given(text=TEXTS))
    torch.manual_seed(3)
    expected = model.losses(batch)["flow"]
    model.keep_texts(TEXTS, tmp_path / "texts")
    assert len(list((tmp_path / "texts").glob("*.safetensors"))) == 3
    assert model.pipeline.pipe.text_encoder is None
    torch.manual_seed(3)
    assert torch.equal(model.losses(batch)["flow"], expected)
    made = model.sample(1, model.given(text=TEXTS[:1]), DECODING, seed=1)
    assert bool(torch.isfinite(made.x).all())
    second = fresh(base)
    second.pipeline.pipe.text_encoder = None
    second.keep_texts(TEXTS, tmp_path / "texts")
    torch.manual_seed(3)
    assert torch.equal(second.losses(batch)["flow"], expected)
    with pytest.raises(UsageError, match="were embedded before the run"):
        second.texts("a bird")


def test_noise_follows_the_shift_of_the_base(base: Path) -> None:
    shift = fresh(base).flow.shift((3, 16, 16))
    if base.name == "WanPipeline":
        assert shift == 3.0
    else:  # between 0.95 at 1024 places and 2.05 at 4096, in the exponent
        assert shift == pytest.approx(2.7183 ** (0.95 - 1.1 * (1024 - 768) / 3072), rel=1e-3)


def test_what_cannot_be_asked_for_is_refused(base: Path) -> None:
    model = fresh(base)
    x = latents(model)
    with pytest.raises(InputError, match="differ in length"):
        model.check(Batch(x, lengths=torch.tensor([1, x.shape[1]])))
    known = Known(x, torch.ones(x.shape[:-1], dtype=torch.bool))
    with pytest.raises(InputError, match="makes whole clips"):
        model.sample(2, known=known)
    odd = replace(model.space, grid=(model.space.grid[0], 3, 3))
    with pytest.raises(UsageError, match="makes no frames of"):
        fresh(base, space=odd)


def test_only_some_classes_are_fine_tuned(tmp_path: Path) -> None:
    tiny_pipeline("MochiPipeline").save_pretrained(tmp_path)
    config = Config(f"diffusers:{tmp_path}", Space("video", (1, 2, 2), channels=12))
    with pytest.raises(UsageError, match="MochiPipeline is not fine-tuned") as caught:
        DiffusersLora(config, zoo.load(f"diffusers:{tmp_path}"))
    assert "LTXPipeline, WanPipeline" in str(caught.value)
