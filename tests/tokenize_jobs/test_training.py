"""From tokens of a catalog to a generator and its samples: recipes, batches, media, verbs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

import zoo
from catalogs.catalog import Catalog
from catalogs.errors import NotFoundError, UsageError
from clipmill.cli import app
from tokenize_jobs.plan import table_of
from tokenize_jobs.testing import clip_name, record_tokens
from tokenize_jobs.training.known import known_of_clip, parse_keep
from tokenize_jobs.training.media import decoded
from tokenize_jobs.training.prepare import prepare
from tokenize_jobs.training.recipe import Recipe
from tokenize_jobs.training.train import train
from zoo.artefact import load, read_config
from zoo.errors import SpecMismatchError, ZooError
from zoo.errors import UsageError as ZooUsageError
from zoo.generator import Generator

CLIPS = 12
TOKENIZER = "motion/starter"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """Clips of two collections with texts; odd ones are shorter."""
    spec = zoo.load(TOKENIZER).spec
    stream = spec.streams[0]

    def arrays(number: int) -> dict[str, Any]:
        length = stream.first + (2 + number % 2) * stream.step
        shape = (length, *([len(stream.levels)] if len(stream.levels) > 1 else []))
        dice = np.random.default_rng(number)
        return {stream.name: dice.integers(0, min(stream.levels), shape)}

    folder = tmp_path_factory.mktemp("catalogs") / "corpus"
    made = record_tokens(folder, clips=CLIPS, table=table_of(spec, {}), arrays=arrays)
    made.catalog.append(
        "captions",
        [
            {
                "caption_id": clip_name(n),
                "clip_id": clip_name(n),
                "kind": "brief",
                "text": f"take {n}",
            }
            for n in range(CLIPS)
        ],
    )
    return made.catalog.refresh()


@pytest.fixture
def recipe(corpus: Catalog) -> dict[str, Any]:
    return {
        "data": {
            "catalog": corpus.storage.root,
            "tokenizer": TOKENIZER,
            "conditions": {"text": "captions", "label": "classes:collection"},
        },
        "model": {
            "preset": "motion/autoregressive_delay_tiny",
            "change": {"backbone": {"depth": 1}},
        },
        "run": {"steps": 2, "batch": 4, "log_every": 1, "save_every": 1},
    }


def test_the_data_decide_space_and_classes(recipe: dict[str, Any]) -> None:
    ready = prepare(Recipe.from_json(recipe))
    config = ready.model.config
    assert config.backbone.depth == 1
    assert [c.names for c in config.conditions] == [(), ("even", "odd")]
    assert ready.model.source is not None
    first = next(iter(ready.batches))
    ready.model.check(first)
    assert first.lengths is not None
    label = first.conditions.values["label"]
    assert torch.equal(first.lengths == first.lengths.max(), label == 1)
    assert "12 clips under CC0-1.0" in ready.facts.data


def test_two_workers_share_the_batch_of_one(recipe: dict[str, Any]) -> None:
    """The union of their examples, which is what makes the averaged gradients those of one."""
    alone = prepare(Recipe.from_json(recipe)).batches
    whole = sorted(map(tuple, next(iter(alone)).x.flatten(1).tolist()))
    halves = [next(iter(alone.shard(rank, 2))).x.flatten(1).tolist() for rank in range(2)]
    padded = sorted(tuple(row + [0] * (len(whole[0]) - len(row))) for h in halves for row in h)
    assert padded == whole


def test_a_recipe_becomes_a_generator_that_makes_media(
    recipe: dict[str, Any], tmp_path: Path
) -> None:
    outcome = train(Recipe.from_json(recipe), tmp_path / "run", progress=False)
    model = load(outcome.folder)
    assert isinstance(model, Generator)
    assert model.source is not None
    made = model.sample(2, model.given(text=["take 1", None], label=["odd", "even"]), seed=1)
    media = decoded(model, made)
    assert [item.is_body for item in media] == [True, True]
    for name in ("a.bvh", "a.npy", "a.png"):
        assert media[0].write(tmp_path / name).stat().st_size > 100
    with pytest.raises(UsageError, match=r"cannot write a body as a\.wav"):
        media[0].write(tmp_path / "a.wav")
    card = (outcome.folder / "README.md").read_text()
    assert "take" not in card
    assert "12 clips under CC0-1.0" in card
    assert model.source.spec_hash in card


def test_a_changed_tokenizer_is_refused(recipe: dict[str, Any], tmp_path: Path) -> None:
    model = prepare(Recipe.from_json(recipe)).model
    torch.manual_seed(1)
    other = zoo.create("motion/conv_fsq_tiny").save(tmp_path / "other")
    assert model.source is not None
    model.source = type(model.source).from_json(
        {**model.source.to_json(), "address": f"local-dir:{other}"}
    )
    with pytest.raises(SpecMismatchError, match="learned those of"):
        model.tokenizer()


def test_a_run_goes_on_under_its_own_recipe_alone(recipe: dict[str, Any], tmp_path: Path) -> None:
    train(Recipe.from_json(recipe), tmp_path, progress=False)
    changed = {**recipe, "model": {"preset": "motion/autoregressive_depth_tiny"}}
    with pytest.raises(UsageError, match="begun with another model"):
        train(Recipe.from_json(changed), tmp_path, progress=False)


def test_few_steps_are_taught_by_a_generator_that_denoises(
    recipe: dict[str, Any], tmp_path: Path
) -> None:
    recipe["distil"] = {"teacher": TOKENIZER, "steps": 4}
    with pytest.raises(UsageError, match="motion/starter cannot teach motion/autoregressive"):
        train(Recipe.from_json(recipe), tmp_path / "run", progress=False)
    with pytest.raises(ZooUsageError, match="steps is 17"):
        Recipe.from_json({**recipe, "distil": {"steps": 17}})


def test_what_is_wrong_is_said_before_any_work(recipe: dict[str, Any]) -> None:
    with pytest.raises(ZooUsageError, match="no setting 'tokeniser'"):
        Recipe.from_json({**recipe, "data": {**recipe["data"], "tokeniser": "x"}})
    data = recipe["data"]
    wrong = {
        "no generator is called": {"model": {"preset": "motion/nothing"}},
        "holds no tokens of video/starter": {"data": {**data, "tokenizer": "video/starter"}},
        "both trained and validated": {"data": {**data, "split": "a", "validation": "a"}},
        "do not fill a batch": {"run": {"steps": 1, "batch": 64}},
    }
    for message, change in wrong.items():
        with pytest.raises((UsageError, NotFoundError), match=message):
            prepare(Recipe.from_json({**recipe, **change}))


def test_a_licence_that_forbids_keeps_the_model_at_home(
    recipe: dict[str, Any], corpus: Catalog, tmp_path: Path
) -> None:
    ready = prepare(Recipe.from_json(recipe))
    assert ready.facts.forbids == ()
    closed = replace(ready.facts, forbids=("CC-BY-ND-4.0 does not permit derived works",))
    with pytest.raises(ZooError, match="licences forbid to give it away"):
        ready.model.push_to_hub("org/name", facts=closed)


def test_a_part_of_a_clip_can_be_kept(recipe: dict[str, Any], corpus: Catalog) -> None:
    model = prepare(Recipe.from_json(recipe)).model
    known = known_of_clip(model, corpus, clip_name(1), "first:2", count=3)
    made = model.sample(3, known=known, seed=0).x
    assert torch.equal(made[:, :2], known.x[:, :2])
    assert known.mask.sum() == 3 * 2
    assert parse_keep("ends:1", 5) == [slice(0, 1), slice(4, 5)]
    with pytest.raises(UsageError, match="--keep is 'last:1'"):
        parse_keep("last:1", 5)
    with pytest.raises(NotFoundError, match="no window of clip"):
        known_of_clip(model, corpus, "f" * 32, "first:1", count=1)


def test_the_verbs_train_and_sample(recipe: dict[str, Any], tmp_path: Path) -> None:
    def clipmill(*words: str) -> Any:
        return CliRunner().invoke(app, list(words))

    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    plan = clipmill("train", str(path), "--to", str(tmp_path / "run"), "--dry-run")
    assert plan.exit_code == 0, plan.output
    assert not (tmp_path / "run").exists()
    done = clipmill(
        "train", str(path), "--to", str(tmp_path / "run"), "--set", "steps=1", "--quiet"
    )
    assert done.exit_code == 0, done.output
    model = f"local-dir:{tmp_path / 'run' / 'model'}"
    made = clipmill(
        "sample", model, "--text", "take 3", "--label", "odd", "--to", str(tmp_path / "one.bvh")
    )
    assert made.exit_code == 0, made.output
    assert (tmp_path / "one.bvh").read_text().startswith("HIERARCHY")
    several = clipmill("sample", model, "--count", "2", "--to", str(tmp_path / "some.npy"))
    assert several.exit_code == 0, several.output
    assert np.load(tmp_path / "some-001.npy").shape[1:] == (22, 3)
    wrong = clipmill("sample", model, "--label", "strange", "--to", str(tmp_path / "x.bvh"))
    assert wrong.exit_code != 0
    settings = read_config(tmp_path / "run" / "model")["facts"]["training"]
    assert settings["steps"] == 1
