"""Evaluation of generators on a catalog: what is compared, what is said, what the card keeps."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import zoo
from catalogs.catalog import Catalog
from catalogs.errors import ClipmillError, NotFoundError, UsageError
from clipmill.cli import app
from tokenize_jobs.plan import table_of
from tokenize_jobs.testing import clip_name, record_tokens
from tokenize_jobs.training.evaluate import Plan, asked_by, evaluate, write_on_card
from tokenize_jobs.training.judges import judge_of
from tokenize_jobs.training.prepare import prepare
from tokenize_jobs.training.recipe import Data, Recipe
from zoo.artefact import read_config, save
from zoo.errors import SpecMismatchError
from zoo.evaluators.text_motion import Config, TextMotion

CLIPS = 8
TOKENIZER = "motion/starter"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """Short takes of random tokens, each with a text of its own."""
    spec = zoo.load(TOKENIZER).spec
    stream = spec.streams[0]
    shape = (
        stream.first + 3 * stream.step,
        *([len(stream.levels)] if len(stream.levels) > 1 else []),
    )

    def arrays(number: int) -> dict[str, Any]:
        return {stream.name: np.random.default_rng(number).integers(0, min(stream.levels), shape)}

    folder = tmp_path_factory.mktemp("catalogs") / "corpus"
    made = record_tokens(folder, clips=CLIPS, commits=1, table=table_of(spec, {}), arrays=arrays)
    rows = [
        {"caption_id": clip_name(n), "clip_id": clip_name(n), "kind": "brief", "text": f"take {n}"}
        for n in range(CLIPS)
    ]
    made.catalog.append("captions", rows)
    return made.catalog.refresh()


@pytest.fixture(scope="module")
def model(corpus: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained generator as a recipe makes it."""
    recipe = {
        "data": {
            "catalog": corpus.storage.root,
            "tokenizer": TOKENIZER,
            "conditions": {"text": "captions"},
        },
        "model": {
            "preset": "motion/autoregressive_delay_tiny",
            "change": {"backbone": {"depth": 1}},
        },
        "run": {"steps": 1, "batch": 4},
    }
    ready = prepare(Recipe.from_json(recipe))
    return save(ready.model, tmp_path_factory.mktemp("run") / "model", ready.facts)


@pytest.fixture(scope="module")
def evaluator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return TextMotion(Config(dim=16, depth=1, heads=2, space=8)).save(
        tmp_path_factory.mktemp("judge")
    )


def data_of(corpus: Catalog, **change: Any) -> Data:
    return Data(
        **{
            "catalog": corpus.storage.root,
            "tokenizer": "",
            "conditions": {"text": "captions"},
            **change,
        }
    )


def test_the_card_remembers_how_a_model_is_asked(model: Path) -> None:
    assert asked_by(model) == {"text": "captions"}


def test_the_verb_measures_and_the_card_keeps_it(
    model: Path, corpus: Catalog, evaluator: Path
) -> None:
    words = ["evaluate", f"local-dir:{model}", corpus.storage.root, "--samples", "8"]
    words += ["--replications", "2", "--repeats", "2", "--evaluator", str(evaluator)]
    done = CliRunner().invoke(app, [*words, "--write-card", "--json", "--quiet"])
    assert done.exit_code == 0, done.output
    found = {m["info"]["name"]: m for m in json.loads(done.stdout)["measurements"]}
    for name in (
        "bits_per_token",
        "frechet_distance",
        "kernel_distance",
        "diversity",
        "multimodality",
        "matching_score",
        "r_precision_top1",
        "r_precision_top3",
        "jerk",
        "diversity_real",
        "r_precision_top1_real",
        "jerk_real",
    ):
        assert name in found, name
        assert np.isfinite(found[name]["value"])
        assert found[name]["info"]["protocol"]
    assert (found["frechet_distance"]["count"], found["frechet_distance"]["counted"]) == (2, "runs")
    assert found["frechet_distance"]["interval"] is not None
    assert "exact likelihood" in found["bits_per_token"]["info"]["protocol"]
    card = (model / "README.md").read_text()
    assert f"{found['jerk']['value']:.5g}" in card
    assert f"{found['bits_per_token']['value']:.5g}" in card
    assert "asked by text" in card
    zoo.load(f"local-dir:{model}")


def test_a_second_report_takes_the_place_of_the_first(model: Path, corpus: Catalog) -> None:
    generator = zoo.load(f"local-dir:{model}")
    plan = Plan(samples=4, measures=("likelihood",))
    report = evaluate(generator, data_of(corpus), plan)
    assert [m.info.name for m in report.measurements] == ["bits_per_token"]
    assert report.measurements[0].count == 4
    for _ in range(2):
        write_on_card(model, report)
    reports = read_config(model)["facts"]["reports"]
    assert sum(len(r["measurements"]) == 1 for r in reports) == 1


def test_samples_are_judged_alike_by_seed_alone(model: Path, corpus: Catalog) -> None:
    generator = zoo.load(f"local-dir:{model}")
    plan = Plan(samples=2, replications=1, measures=("diversity",), seed=3)

    def values(chosen: Plan) -> list[float]:
        return [m.value for m in evaluate(generator, data_of(corpus), chosen).measurements]

    first = values(plan)
    assert first == values(plan)
    assert first != values(replace(plan, seed=4))


def test_what_cannot_be_measured_is_said_before_any_work(model: Path, corpus: Catalog) -> None:
    with pytest.raises(UsageError, match="nothing to measure is called 'likelihoods'"):
        Plan(measures=("likelihoods",))
    with pytest.raises(UsageError, match="needs an evaluator"):
        Plan(measures=("text",))
    generator = zoo.load(f"local-dir:{model}")
    with pytest.raises(ClipmillError, match="no window of these clips"):
        evaluate(generator, data_of(corpus, split="nowhere"), Plan())
    generator.source = replace(generator.source, spec_hash="0" * 64)
    with pytest.raises(NotFoundError, match="no tokens of"):
        evaluate(generator, data_of(corpus), Plan())
    with pytest.raises(SpecMismatchError):
        generator.tokenizer()


def test_clips_are_seen_by_filters() -> None:
    from fractions import Fraction

    from tokenize_jobs.training.media import Media

    dice = np.random.default_rng(0)
    media = [Media(dice.integers(0, 255, (4, 16, 16, 3)).astype(np.uint8), Fraction(8))] * 2
    judge = judge_of(media[0])
    metrics = judge.metrics()
    judge.update(metrics, media)
    assert judge.vectors(media)["frames"].shape[0] == 2
    assert [m.compute().info.name for m in metrics] == [
        "temporal_flickering",
        "motion_smoothness",
        "dynamic_degree",
        "subject_constancy",
    ]
    with pytest.raises(UsageError, match="reads bodies"):
        judge_of(media[0], evaluator="x")
    with pytest.raises(UsageError, match="no features are called"):
        judge_of(media[0], features="i3d")
