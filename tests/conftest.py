"""Fixtures that every test folder shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real footage and mocap kept outside the project, or a skip that names what is missing."""
    folder = Path(os.environ.get("CLIPMILL_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "ground_truth.json").is_file():
        pytest.skip(f"real media not found at {folder} (set CLIPMILL_SHARED_DATA)")
    return folder
