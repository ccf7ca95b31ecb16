"""`clipmill doctor`."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest

from catalogs.testing.hub import HubServer
from clipmill import doctor
from clipmill.doctor import Check, State, examine, is_broken

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def without_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_PROBES", {})


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run one of the probes and return its checks."""

    def run(name: str) -> dict[str, Check]:
        probe = doctor._PROBES[name]
        monkeypatch.setattr(doctor, "_PROBES", {name: probe})
        return found(examine())

    return run


def found(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def test_this_installation_is_sound(program: Any, tmp_path: Path) -> None:
    result = program("doctor", "--offline", "--json", cwd=tmp_path)

    report = json.loads(result.stdout)
    states = {(check["area"], check["name"]): check["state"] for check in report["checks"]}
    assert report["ok"] is True
    assert result.returncode == 0
    assert states["packages", "duckdb"] == states["decoders", "av"] == "ok"
    assert states["names", "zoo"] == "ok"
    assert ("network", "hub") not in states, "offline asks nobody"


@pytest.mark.usefixtures("without_probes")
def test_text_and_exit_code(clipmill: Any, tmp_path: Path) -> None:
    well = clipmill("doctor")
    ill = clipmill("doctor", tmp_path / "nowhere")

    assert well.exit_code == 0
    assert well.stdout.startswith("area\twhat\tstate\tdetail\tnext\n")
    assert ill.exit_code == 1
    assert "nowhere is not a catalog" in ill.stdout.splitlines()[-1]


@pytest.mark.usefixtures("without_probes")
def test_a_catalog_that_can_be_read(corpus_path: Path) -> None:
    check = examine(str(corpus_path))[-1]

    assert (check.state, check.detail) == (State.ok, "version 2, 4 tables")


@pytest.mark.usefixtures("without_probes")
def test_a_missing_package_is_broken_and_a_missing_extra_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    version = doctor._version
    gone = {"pandas"}
    monkeypatch.setattr(doctor, "_version", lambda name: None if name in gone else version(name))

    checks = examine()
    extra = found(checks)["pandas"]
    assert (extra.state, extra.hint) == (State.missing, "pip install 'clipmill[pandas]'")
    assert "data frames" in extra.detail
    assert not is_broken(checks)

    gone.add("duckdb")
    checks = examine()
    assert found(checks)["duckdb"].state is State.broken
    assert is_broken(checks)


def test_every_extra_is_explained() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]

    assert set(doctor.EXTRAS) == set(project["optional-dependencies"]) - {"dev"}


@pytest.mark.usefixtures("without_probes")
def test_another_distribution_with_our_name(monkeypatch: pytest.MonkeyPatch) -> None:
    providers = {"zoo": ["analytics-zoo", "clipmill"]}
    monkeypatch.setattr(doctor.metadata, "packages_distributions", lambda: providers)

    check = found(examine())["zoo"]

    assert check.state is State.broken
    assert "analytics-zoo" in check.detail
    assert check.hint.startswith("pip uninstall analytics-zoo")


def test_a_package_that_hides_ours(program: Any, tmp_path: Path) -> None:
    (tmp_path / "site" / "zoo").mkdir(parents=True)
    (tmp_path / "site" / "zoo" / "__init__.py").touch()
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}

    result = program("doctor", "--offline", "--json", cwd=tmp_path, env=environment)

    checks = {check["name"]: check for check in json.loads(result.stdout)["checks"]}
    assert result.returncode == 1
    assert checks["zoo"]["state"] == "broken"
    assert str(tmp_path / "site") in checks["zoo"]["detail"]
    assert checks["curation"]["state"] == "ok"


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("import time; time.sleep(600)", "no answer within"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "exit code -11"),
        ("raise ImportError('libcuda.so is missing')", "libcuda.so is missing"),
    ],
)
def test_probes_that_hang_or_crash_do_no_harm(
    monkeypatch: pytest.MonkeyPatch, program: str, words: str
) -> None:
    probe = doctor._Probe(program, doctor._decord, seconds=2)
    monkeypatch.setattr(doctor, "_PROBES", {"decord": probe})

    check = examine()[-1]

    assert (check.area, check.state) == ("decoders", State.missing)
    assert words in check.detail


def test_a_hub_that_is_not_there(only: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")

    check = only("hub")["hub"]

    assert check.state is State.info
    assert check.detail.startswith("not reachable")


def test_an_object_store_that_is_not_there(only: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")

    check = only("s3")["s3"]

    assert check.state is State.info
    assert "only s3:// catalogs need it" in check.detail


def test_a_hub_that_answers(only: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with HubServer() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        monkeypatch.setenv("HF_TOKEN", "hf_token")
        check = only("hub")["hub"]

    assert check.state is State.ok
    assert check.detail == f"{hub.endpoint} reachable, logged in"
