"""A pretrained generator learns the latents of a catalog by low-rank layers, from a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

pytest.importorskip("diffusers")
pytest.importorskip("accelerate")

from catalogs.errors import UsageError
from tokenize_jobs.plan import table_of
from tokenize_jobs.testing import clip_name, record_tokens
from tokenize_jobs.training.media import decoded
from tokenize_jobs.training.prepare import prepare
from tokenize_jobs.training.recipe import Recipe
from tokenize_jobs.training.train import train
from zoo.adapters.diffusers_lora import DiffusersLora
from zoo.adapters.tiny_pipelines import tiny_pipeline
from zoo.artefact import read_config
from zoo.errors import SpecMismatchError
from zoo.errors import UsageError as ZooUsageError
from zoo.generator import Decoding
from zoo.hub import load, load_tokenizer

CLIPS, GRID = 4, (2, 4, 4)
TEXTS = ("a red cat runs", "a blue dog falls")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "wan"
    tiny_pipeline("WanPipeline").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def recipe(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Latents of the base's own VAE, with captions."""
    spec = load_tokenizer(f"diffusers:{base}:vae").spec

    def latents(number: int) -> dict[str, Any]:
        shape = (*GRID, spec.streams[0].channels)
        return {"tokens": np.random.default_rng(number).normal(size=shape).astype("float16")}

    folder = tmp_path_factory.mktemp("catalogs") / "corpus"
    made = record_tokens(folder, clips=CLIPS, table=table_of(spec, {}), arrays=latents)
    captions = [
        {
            "caption_id": clip_name(n),
            "clip_id": clip_name(n),
            "kind": "brief",
            "text": TEXTS[n % 2],
        }
        for n in range(CLIPS)
    ]
    made.catalog.append("captions", captions)
    return {
        "data": {
            "catalog": str(folder),
            "tokenizer": f"diffusers:{base}:vae",
            "conditions": {"text": "captions"},
        },
        "model": f"diffusers:{base}",
        "lora": {"rank": 2, "precision": "float32"},
        "run": {"steps": 2, "batch": 2, "log_every": 1, "save_every": 1, "warmup_steps": 0},
    }


def read(recipe: dict[str, Any], folder: Path) -> Recipe:
    path = folder / "recipe-in.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return Recipe.read(path)


def test_a_recipe_fine_tunes_and_the_model_makes_clips(
    recipe: dict[str, Any], base: Path, tmp_path: Path
) -> None:
    asked = read(recipe, tmp_path)
    assert asked.model.preset == f"diffusers:{base}"
    outcome = train(asked, tmp_path / "run", progress=False)
    assert outcome.steps == 2
    assert len(list((tmp_path / "run" / "texts").glob("*.safetensors"))) == 3
    training = read_config(outcome.folder)["facts"]["training"]
    assert (training["lora rank"], training["asked by text"]) == ("2", "captions")

    model = load(f"local-dir:{outcome.folder}")
    assert isinstance(model, DiffusersLora)
    assert float(next(iter(model.layers.values())).lora_B.weight.detach().abs().max()) > 0
    drawing = Decoding(steps=1, guidance=2.0)
    made = model.sample(1, model.given(text=TEXTS[:1]), drawing, seed=1)
    assert made.x.shape == (1, *GRID, 4)
    assert decoded(model, made)[0].values.shape == (5, 16, 16, 3)
    again = model.sample(1, model.given(text=TEXTS[:1]), drawing, seed=1)
    assert torch.equal(again.x, made.x)
    with pytest.raises(UsageError, match="begun with another lora"):
        train(read({**recipe, "lora": {"rank": 3}}, tmp_path), tmp_path / "run")


def test_a_dit_of_ours_trains_on_the_same_latents(recipe: dict[str, Any], tmp_path: Path) -> None:
    """As Latte does: a factored transformer on a pretrained VAE's latents."""
    native = {**recipe, "model": {"preset": "video/latent_dit_factored_tiny"}, "lora": None}
    outcome = train(Recipe.from_json(native), tmp_path / "run", progress=False)
    model = load(f"local-dir:{outcome.folder}")
    assert model.space.grid == GRID
    assert model.source is not None
    assert model.source.address == recipe["data"]["tokenizer"]
    assert np.isfinite(outcome.losses["loss"])


def test_tokens_of_another_vae_are_refused(
    recipe: dict[str, Any], base: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    tiny_pipeline("WanPipeline", seed=1).save_pretrained(other)
    with pytest.raises(SpecMismatchError, match="the VAE of diffusers") as caught:
        prepare(Recipe.from_json({**recipe, "model": {"preset": f"diffusers:{other}"}}))
    assert f"--tokenizer diffusers:{other}:vae" in str(caught.value)


def test_a_recipe_that_does_not_fit_is_refused(recipe: dict[str, Any], base: Path) -> None:
    model = {"preset": f"diffusers:{base}"}
    without = {**recipe, "model": model, "lora": None}
    with pytest.raises(UsageError, match="is pretrained"):
        prepare(Recipe.from_json(without))
    with pytest.raises(UsageError, match="trained as a whole"):
        prepare(Recipe.from_json({**recipe, "model": {"preset": "video/latent_dit_tiny"}}))
    label = {**recipe["data"], "conditions": {"label": "classes:collection"}}
    with pytest.raises(UsageError, match="cannot be asked for 'label'"):
        prepare(Recipe.from_json({**recipe, "model": model, "data": label}))
    divided = {**recipe, "model": model, "run": {**recipe["run"], "shard": "fsdp"}}
    with pytest.raises(UsageError, match="is not divided"):
        prepare(Recipe.from_json(divided))
    with pytest.raises(ZooUsageError, match="rank is 0"):
        Recipe.from_json({**recipe, "model": model, "lora": {"rank": 0}})
