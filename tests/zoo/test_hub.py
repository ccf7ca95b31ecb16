"""Models go to the Hub and back with the real client, against a Hub on the loopback interface."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import zoo
from catalogs.testing.hub import HubServer
from zoo.artefact import load as load_folder
from zoo.artefact import save
from zoo.card import Facts
from zoo.errors import (
    NotFoundError,
    SpecMismatchError,
    UnsafeFileError,
    UsageError,
    ZooError,
)
from zoo.generator import Space
from zoo.generators.autoregressive import Autoregressive
from zoo.hub import pull, push
from zoo.metrics import Report
from zoo.metrics.base import Measurement, MetricInfo
from zoo.registry import preset

pytestmark = pytest.mark.filterwarnings(
    "ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning"
)
NAME = "video/causal_cnn_fsq_tiny"
PSNR = MetricInfo("psnr", "dB", True, "mean over frames, 8-bit")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with HubServer() as server, server.client():
        yield server


def facts() -> Facts:
    report = Report("reconstruction", "me/clips", split="test", revision="1a2b3c")
    report.add(Measurement(PSNR, 25.4, 12, "clips"))
    return Facts(
        licence="Apache-2.0",
        data=("rendered footage",),
        training={"steps": 100},
        limits=("small",),
        reports=(report,),
    )


def test_a_model_goes_to_the_hub_and_back(hub: HubServer) -> None:
    tokenizer = zoo.create(NAME)
    url = push(tokenizer, "me/tiny", facts=facts())
    assert url.startswith(hub.endpoint)
    assert hub.repo("me/tiny", "model").private
    again = zoo.load("hf-hub:me/tiny")
    assert again.spec.hash == tokenizer.spec.hash
    clip = torch.rand(tokenizer.example_shape(1)) * 2 - 1
    assert torch.equal(again.encode(clip).ids, tokenizer.encode(clip).ids)


def test_a_generator_goes_to_the_hub_and_finds_its_tokenizer_there(hub: HubServer) -> None:
    torch.manual_seed(0)
    tokenizer = zoo.create("motion/conv_fsq_tiny")
    push(tokenizer, "me/tokens", facts=facts())
    spec = tokenizer.spec
    size = (spec.length.padded(16),)
    config = replace(preset("motion/autoregressive_tiny").config, space=Space.of(spec, size))
    model = Autoregressive(config).bind(spec, size, "hf-hub:me/tokens")
    push(model, "me/takes", facts=facts())

    again = zoo.load("hf-hub:me/takes")
    assert torch.equal(again.sample(2, seed=3).x, model.sample(2, seed=3).x)
    found = again.tokenizer()
    assert found.spec.hash == spec.hash
    push(zoo.create("motion/conv_fsq_tiny"), "me/tokens")  # other weights under the same name
    with pytest.raises(SpecMismatchError, match="learned those of"):
        zoo.load("hf-hub:me/takes").tokenizer()
    with pytest.raises(ZooError, match="forbid to give it away"):
        push(model, "me/other", facts=replace(facts(), forbids=("no",)))


def test_the_card_says_what_was_measured(tmp_path: Path) -> None:
    from huggingface_hub import ModelCard

    folder = save(zoo.create(NAME), tmp_path, facts())
    text = (folder / "README.md").read_text()
    card = ModelCard(text)
    assert card.data.license == "apache-2.0"
    results = card.data.eval_results
    assert results is not None
    assert [(r.metric_type, r.metric_value) for r in results] == [("psnr", 25.4)]
    for told in ("rendered footage", "25.4 dB", "small", zoo.create(NAME).spec.family):
        assert told in text
    assert "me/clips" in (folder / ".eval_results/clipmill.yaml").read_text()


def test_a_card_without_facts_says_so(tmp_path: Path) -> None:
    text = (save(zoo.create(NAME), tmp_path) / "README.md").read_text()
    assert "Nothing was recorded" in text
    assert "No licence was recorded" in text


def test_what_was_fetched_is_there_without_the_hub(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(zoo.create(NAME), "me/tiny")
    pull("me/tiny")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert zoo.load("hf-hub:me/tiny").spec.streaming
    with pytest.raises(NotFoundError, match="not in the cache"):
        zoo.load("hf-hub:me/other")


def test_pickled_weights_are_refused(hub: HubServer) -> None:
    from huggingface_hub import HfApi

    api = HfApi(endpoint=hub.endpoint)
    api.create_repo("me/old", exist_ok=True)
    for name in ("config.json", "model.ckpt"):
        api.upload_file(path_or_fileobj=io.BytesIO(b"{}"), path_in_repo=name, repo_id="me/old")
    with pytest.raises(UnsafeFileError, match=r"model\.ckpt"):
        zoo.load("hf-hub:me/old")


def test_a_pickle_called_safetensors_is_refused(tmp_path: Path) -> None:
    import hashlib
    import json

    folder = save(zoo.create(NAME), tmp_path)
    torch.save({"weights": torch.zeros(3)}, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    config["weights_file_sha256"] = hashlib.sha256(
        (folder / "model.safetensors").read_bytes()
    ).hexdigest()
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnsafeFileError, match="not a safetensors file"):
        load_folder(folder)


def test_a_missing_repository_is_explained(hub: HubServer) -> None:
    with pytest.raises(ZooError, match="failed") as error:
        zoo.load("hf-hub:me/nothing")
    assert "check the name" in str(error.value)


def test_an_unknown_name_shows_its_readings() -> None:
    with pytest.raises(NotFoundError) as error:
        zoo.load("video/causal_cnn_fsq_tyni")
    assert "video/causal_cnn_fsq_tiny" in str(error.value)
    assert "hf-hub:video/causal_cnn_fsq_tyni" in str(error.value)
    assert "local-dir:" in str(error.value)


def test_a_preset_without_weights_says_how_to_get_some() -> None:
    with pytest.raises(NotFoundError, match="without trained weights"):
        zoo.load(NAME)


def test_an_unknown_fact_is_refused() -> None:
    with pytest.raises(UsageError, match="lisence") as error:
        Facts.from_json({"lisence": "MIT"})
    assert "licence" in str(error.value)
