"""`export`, `publish` and `pull`, the last two with the real client on a loopback Hub."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from catalogs import Catalog
from catalogs.testing.hub import HubServer

pytestmark = pytest.mark.filterwarnings(
    "ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning"
)

OPEN_CLIPS = 6
"""Clips 0, 3, 6 and 9 are of a source without a licence."""


def exported(folder: Path) -> Any:
    return pq.read_table(sorted((folder / "data").glob("*.parquet")))


def test_export_leaves_out_what_licences_keep(
    clipmill: Any, corpus_path: Path, tmp_path: Path
) -> None:
    result = clipmill("export", corpus_path, tmp_path / "out", "--about", "title=Ten clips")

    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"split\tclips\ntrain\t{OPEN_CLIPS}\n"
    assert "left out: (none): unknown whether it permits redistribution (4 clips" in result.stderr
    assert exported(tmp_path / "out").num_rows == OPEN_CLIPS
    assert "# Ten clips" in (tmp_path / "out" / "README.md").read_text()


def test_export_of_a_condition_and_columns(
    clipmill: Any, corpus_path: Path, tmp_path: Path
) -> None:
    result = clipmill(
        "export", corpus_path, tmp_path / "out", "--where", "duration_s > 7", "--format",
        "parquet", "--columns", "duration_s, uri", "--json",
    )  # fmt: skip

    rows = exported(tmp_path / "out")
    assert json.loads(result.stdout)["clips"] == rows.num_rows == 2
    assert set(rows.column_names) == {"clip_id", "split", "duration_s", "uri"}


@pytest.mark.parametrize("options", [["--for-myself"], ["--acknowledge", "(none)"]])
def test_export_of_everything_is_a_decision(
    clipmill: Any, corpus_path: Path, tmp_path: Path, options: list[str]
) -> None:
    clipmill("export", corpus_path, tmp_path / "out", *options)

    assert exported(tmp_path / "out").num_rows == 10


def test_export_can_refuse(clipmill: Any, corpus_path: Path, tmp_path: Path) -> None:
    result = clipmill("export", corpus_path, tmp_path / "out", "--refused", "error")

    assert result.exit_code == 1
    assert "forbids it" in result.stderr
    assert not (tmp_path / "out").exists()


def test_export_overwrites_only_when_told(clipmill: Any, corpus_path: Path, tmp_path: Path) -> None:
    def export(*options: str) -> Any:
        return clipmill("export", corpus_path, tmp_path / "out", "--format", "csv", *options)

    assert export().exit_code == 0
    assert export().exit_code == 2
    assert export("--overwrite").exit_code == 0


def test_for_myself_is_not_commercial(clipmill: Any, corpus_path: Path, tmp_path: Path) -> None:
    result = clipmill("export", corpus_path, tmp_path / "o", "--for-myself", "--commercial")

    assert result.exit_code == 2


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_PROGRESS_BARS", True)
    with HubServer() as server, server.client():
        yield server


def test_publish_and_pull(clipmill: Any, hub: HubServer, corpus_path: Path, tmp_path: Path) -> None:
    refused = clipmill("publish", corpus_path, "me/corpus")
    published = clipmill("publish", corpus_path, "me/corpus", "--refused", "drop")
    pulled = clipmill("pull", "me/corpus", tmp_path / "copy", "--json")

    assert refused.exit_code == 1
    assert published.exit_code == 0, published.stderr
    assert published.stdout.strip().endswith("/datasets/me/corpus")
    assert json.loads(pulled.stdout)["kind"] == "catalog"
    copy = Catalog.open(tmp_path / "copy")
    assert copy.sql("select count(*) from clips").value() == OPEN_CLIPS


def test_publish_a_condition_openly(clipmill: Any, hub: HubServer, corpus_path: Path) -> None:
    where = ["--where", "source_id <> '" + "0" * 32 + "'"]

    result = clipmill("publish", corpus_path, "me/open", *where, "--public", "--json")

    about = json.loads(result.stdout)
    assert (about["repo"], about["private"], about["refused"]) == ("me/open", False, [])


def test_pull_of_nothing(clipmill: Any, hub: HubServer, tmp_path: Path) -> None:
    result = clipmill("pull", "me/nothing", tmp_path / "copy")

    assert result.exit_code == 1
    assert "Next: " in result.stderr
    assert not (tmp_path / "copy").exists()
