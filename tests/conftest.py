"""Fixtures that every test folder shares."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from catalogs.testing import CorpusTruth, render_corpus
from curation.jobs.cluster import start_local

if "PYTEST_XDIST_WORKER" in os.environ:  # there is a process of tests for each core
    os.environ.setdefault("OMP_NUM_THREADS", "1")

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests on the cluster first: they take longest, and should not be what is left at the end."""
    items.sort(key=lambda item: "cluster" not in getattr(item, "fixturenames", ()))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """In a parallel run files whose tests share the cluster, or the browser, go to one process.

    Groups (`--dist loadgroup`) would be the way, but xdist 3.8 forgets them with pytest 9.2.
    """
    from xdist.scheduler import LoadScopeScheduling

    @cache
    def scope(file: str) -> str:
        if "/web/" in file:
            return "browser"
        shares = "cluster: str" in (config.rootpath / file).read_text(encoding="utf-8")
        return "cluster" if shares else file

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return scope(nodeid.partition("::")[0])

    return ByFile(config, log)


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

    address = start_local(2)["gcs_address"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", address)
        yield address
    ray.shutdown()
