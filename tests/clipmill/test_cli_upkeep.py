"""`compact`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from catalogs import Catalog
from catalogs.schema import FORMAT_VERSION


@pytest.fixture
def scattered(corpus_path: Path) -> Path:
    """The catalog with its quarantine in three files."""
    catalog = Catalog.open(corpus_path)
    for name in ("worse.mp4", "worst.mp4"):
        catalog.append("quarantine", [{"uri": name, "stage": "decode"}])
    return corpus_path


def test_compact_keeps_versions_and_vacuum_gives_them_up(clipmill: Any, scattered: Path) -> None:
    compacted = clipmill("compact", scattered)
    assert "quarantine\t3\t1" in compacted.stdout.splitlines()
    assert Catalog.open(scattered).at(2).rows("quarantine") == 1

    vacuumed = json.loads(clipmill("compact", scattered, "--vacuum", "--json").stdout)
    files = list((scattered / "quarantine").glob("*.parquet"))
    assert vacuumed["deleted_files"] >= 3
    assert pq.read_table(files).num_rows == 3
    assert clipmill("sql", scattered, "select 1", "--at", "2").exit_code == 2


def test_migrate_an_up_to_date_catalog(clipmill: Any, corpus_path: Path) -> None:
    result = clipmill("compact", corpus_path, "--migrate")

    assert result.exit_code == 0
    assert "newest already" in result.stderr


def test_a_newer_format_is_refused(clipmill: Any, corpus_path: Path) -> None:
    about = json.loads((corpus_path / "catalog.json").read_text())
    about["format_version"] = FORMAT_VERSION + 1
    (corpus_path / "catalog.json").write_text(json.dumps(about))

    result = clipmill("compact", corpus_path, "--migrate")

    assert result.exit_code == 1
    assert f"reads up to {FORMAT_VERSION}" in result.stderr
