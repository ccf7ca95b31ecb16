"""Fixtures that every test folder shares."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalogs.testing import CorpusTruth, render_corpus

if "PYTEST_XDIST_WORKER" in os.environ:  # there is a process of tests for each core
    os.environ.setdefault("OMP_NUM_THREADS", "1")

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests on the cluster first: they take longest, and should not be what is left at the end."""
    items.sort(key=lambda item: "cluster" not in getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real footage and mocap kept outside the project, or a skip that names what is missing."""
    folder = Path(os.environ.get("CLIPMILL_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "ground_truth.json").is_file():
        pytest.skip(f"real media not found at {folder} (set CLIPMILL_SHARED_DATA)")
    return folder


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> CorpusTruth:
    """The demo's footage and takes, rendered once; tests must not change the files."""
    return render_corpus(tmp_path_factory.mktemp("rendered") / "corpus")


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """The address of one local Ray cluster with two CPUs, shared by all tests that need one.

    Commands that tests start join it through `RAY_ADDRESS`.
    """
    import ray

    context = ray.init(
        "local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR"
    )
    address = context.address_info["gcs_address"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", address)
        yield address
    ray.shutdown()
