"""`zoo` and `systems`: find, show, publish and fetch models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import zoo
from catalogs.testing.hub import HubServer
from clipmill.systems import serving, systems

pytestmark = pytest.mark.filterwarnings(
    "ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning"
)
NAME = "video/causal_cnn_fsq_tiny"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with HubServer() as server, server.client():
        yield server


def test_list_by_capability(clipmill: Any) -> None:
    result = clipmill("zoo", "list", "video/causal_*", "--discrete", "--json")

    names = [row["name"] for row in json.loads(result.stdout)]
    assert NAME in names
    assert "video/causal_cnn_kl_tiny" not in names


def test_show_tells_the_contract_and_the_paper(clipmill: Any) -> None:
    result = clipmill("zoo", "show", NAME, "--json")

    shown = json.loads(result.stdout)
    assert (shown["frames"], shown["compression"], shown["layout"]) == ("1+4k", "4x4x4", "BCTHW")
    assert "arXiv" in shown["paper"]


def test_an_unknown_model_is_a_wrong_usage_with_the_nearest_name(clipmill: Any) -> None:
    result = clipmill("zoo", "show", "video/causal_cnn_fsq_tyni")

    assert result.exit_code == 2
    assert NAME in result.stderr


def test_push_and_pull(clipmill: Any, hub: HubServer, tmp_path: Path) -> None:
    folder = zoo.create(NAME).save(tmp_path / "model")

    pushed = clipmill("zoo", "push", folder, "me/tiny")
    pulled = clipmill("zoo", "pull", "me/tiny", "--to", tmp_path / "back")

    assert pushed.stdout.strip() == f"{hub.endpoint}/me/tiny"
    assert pulled.stdout.strip() == str(tmp_path / "back")
    assert zoo.load(f"local-dir:{tmp_path / 'back'}").spec == zoo.load(f"local-dir:{folder}").spec


def test_systems_say_what_makes_them_work(clipmill: Any) -> None:
    result = clipmill("systems", "magvit-v2", "--json")

    (row,) = json.loads(result.stdout)
    assert "video/magvit2_lfq_488.k262144" in row["served by"]
    assert zoo.preset(row["served by"][0]).serves == ("magvit-v2",)


def test_a_wrong_lane_is_refused(clipmill: Any) -> None:
    result = clipmill("systems", "--lane", "tokeniser")

    assert result.exit_code == 2
    assert "tokenizer" in result.stderr


def test_every_served_system_is_known_and_stands_on_a_tested_preset() -> None:
    for name, entries in serving().items():
        assert name in systems()
        for entry in entries:
            if entry.kind != "tokenizer":
                continue
            preset = zoo.preset(entry.name)
            assert preset.is_tiny or zoo.preset(preset.tiny).is_tiny


def test_so_many_published_tokenizers_work() -> None:
    rows = [item for item in systems().values() if "tokenizer" in item.lanes]
    missing = {item.id for item in rows} - set(serving())
    assert len(rows) == 57
    assert missing == {"beit-v2", "cmvc", "consecutivebb-vfi", "trajvit"}
