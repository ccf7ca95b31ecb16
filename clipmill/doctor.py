"""What works on this machine: `clipmill doctor`.

A check is a small fact with a state: fine, worth knowing, missing, or broken. Only `broken` means
that clipmill cannot do its work here. Whatever might be slow, crash or hang (GPU libraries,
decoders, networks) is probed in a process of its own with a time limit, all of them at once.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib import metadata, util
from pathlib import Path
from typing import Any

__all__ = ["EXTRAS", "PACKAGES", "Check", "State", "examine", "is_broken"]

PACKAGES = ("catalogs", "curation", "tokenize_jobs", "zoo", "clipmill")
"""The import names that belong to clipmill."""

EXTRAS = {
    "adapters": "pretrained tokenizers, encoders and captioners of diffusers and transformers",
    "mocap": "reads C3D motion capture",
    "ocr": "finds and reads text in pictures with a detector",
    "pandas": "query results as pandas data frames",
    "tensorboard": "training curves for TensorBoard",
    "transnet": "finds cuts with TransNetV2, a learned detector",
}
"""What each optional extra gives."""

WANTED_DECODERS = ("h264", "hevc", "av1", "vp8", "vp9", "mpeg4", "prores", "mjpeg")
LOW_DISK_BYTES = 10 << 30
LOW_MEMORY_BYTES = 4 << 30
_DEVELOPERS_EXTRAS = {"dev"}
_GIB = 1 << 30


class State(StrEnum):
    """How a check came out."""

    ok = "ok"
    info = "info"
    missing = "missing"
    broken = "broken"


@dataclass(frozen=True, slots=True)
class Check:
    """One fact about this machine; `hint` is what to do about it."""

    area: str
    name: str
    state: State
    detail: str
    hint: str = ""

    def to_dict(self) -> dict[str, str]:
        return asdict(self)


def examine(catalog: str | None = None, *, offline: bool = False) -> list[Check]:
    """All checks, in the order in which they are shown."""
    probes = _start_probes(offline)
    checks = [
        *_python(),
        *_required_packages(),
        *_name_collisions(),
        *_resources(),
        *_extras(),
    ]
    for name, probe in probes.items():
        checks += _PROBES[name].checks(probe.answer())
    if catalog is not None:
        checks.append(_catalog(catalog))
    return checks


def is_broken(checks: Sequence[Check]) -> bool:
    """Whether something is broken that clipmill cannot do without."""
    return any(check.state is State.broken for check in checks)


# -- python and packages -----------------------------------------------------------------------


def _python() -> Iterator[Check]:
    detail = f"{platform.python_version()} on {platform.platform()}"
    yield Check("python", "python", State.ok, detail)
    try:
        yield Check("python", "clipmill", State.ok, metadata.version("clipmill"))
    except metadata.PackageNotFoundError:
        detail = "runs from a folder that is not installed"
        yield Check("python", "clipmill", State.broken, detail, "pip install -e .")


def _required_packages() -> Iterator[Check]:
    for name in _requirements(extra=None):
        version = _version(name)
        if version is None:
            hint = f"pip install {name}"
            yield Check("packages", name, State.broken, "not installed", hint)
        else:
            yield Check("packages", name, State.ok, version)


def _extras() -> Iterator[Check]:
    for extra, gives in EXTRAS.items():
        missing = [name for name in _requirements(extra) if _version(name) is None]
        if missing:
            detail = f"{gives}; lacks {', '.join(missing)}"
            yield Check("extras", extra, State.missing, detail, f"pip install 'clipmill[{extra}]'")
        else:
            yield Check("extras", extra, State.ok, gives)


def _requirements(extra: str | None) -> list[str]:
    """Names of the packages that clipmill, or one of its extras, wants on this platform."""
    from packaging.requirements import Requirement

    try:
        stated = metadata.requires("clipmill") or []
    except metadata.PackageNotFoundError:
        return []
    wanted = []
    for requirement in map(Requirement, stated):
        marker = requirement.marker
        without = marker is None or marker.evaluate({"extra": ""})
        if (extra is None and without) or (
            extra is not None and not without and marker and marker.evaluate({"extra": extra})
        ):
            wanted.append(requirement.name)
    return wanted


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _name_collisions() -> Iterator[Check]:
    """Whether somebody else's package hides one of ours, or could."""
    home = Path(__file__).resolve().parents[1]
    providers = metadata.packages_distributions()
    for name in PACKAGES:
        spec = util.find_spec(name)
        found = Path(spec.origin).resolve().parent.parent if spec and spec.origin else None
        others = sorted(set(providers.get(name, [])) - {"clipmill"})
        if found != home:
            detail = f"`import {name}` gives {spec.origin if spec else 'nothing'}, not ours"
            hint = "remove the folder or package in front of it on PYTHONPATH"
            yield Check("names", name, State.broken, detail, hint)
        elif others:
            detail = f"{', '.join(others)} also installs a package called {name}"
            hint = f"pip uninstall {others[0]}, or use a virtual environment for clipmill"
            yield Check("names", name, State.broken, detail, hint)
        else:
            yield Check("names", name, State.ok, "ours alone")


# -- resources ---------------------------------------------------------------------------------


def _resources() -> Iterator[Check]:
    yield Check("machine", "cpu", State.ok, f"{len(os.sched_getaffinity(0))} cores usable")
    memory = _memory_bytes()
    low = memory < LOW_MEMORY_BYTES
    hint = "use fewer workers" if low else ""
    state = State.info if low else State.ok
    yield Check("machine", "memory", state, f"{memory / _GIB:.1f} GiB", hint)
    for name, folder in (("disk", Path.cwd()), ("temporary disk", Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(folder).free
        low = free < LOW_DISK_BYTES
        state = State.info if low else State.ok
        hint = "make room, or work elsewhere" if low else ""
        yield Check("machine", name, state, f"{free / _GIB:.1f} GiB free at {folder}", hint)


def _memory_bytes() -> int:
    """Memory of the machine, or what a container allows if that is less."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        file = Path(path)
        if file.is_file() and (text := file.read_text().strip()).isdigit():
            total = min(total, int(text))
    return total


def _catalog(path: str) -> Check:
    from catalogs import Catalog, ClipmillError

    try:
        catalog = Catalog.open(path)
        detail = f"version {catalog.version}, {len(catalog.tables())} tables"
    except (ClipmillError, OSError) as error:
        hint = getattr(error, "hint", None) or "check the address and the credentials"
        problem = getattr(error, "problem", None) or str(error)
        return Check("catalog", path, State.broken, problem, hint)
    return Check("catalog", path, State.ok, detail)


# -- probes: what may be slow, crash or hang ---------------------------------------------------

Answer = dict[str, Any]
"""What a probe printed, or {"error": ...}."""


@dataclass(frozen=True, slots=True)
class _Probe:
    """A small Python program that prints JSON, and what its answer means."""

    program: str
    checks: Any
    seconds: float
    needs_network: bool = False


class _Running:
    """A probe under way."""

    def __init__(self, probe: _Probe):
        self._seconds = probe.seconds
        self._process = subprocess.Popen(
            [sys.executable, "-c", probe.program],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def answer(self) -> Answer:
        try:
            out, err = self._process.communicate(timeout=self._seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            return {"error": f"no answer within {self._seconds:.0f} s"}
        lines = out.strip().splitlines()
        if self._process.returncode == 0 and lines:
            answer: Answer = json.loads(lines[-1])
            return answer
        last_words = err.strip().splitlines()[-1:] or [f"exit code {self._process.returncode}"]
        return {"error": last_words[0]}


def _start_probes(offline: bool) -> dict[str, _Running]:
    return {
        name: _Running(probe)
        for name, probe in _PROBES.items()
        if not (offline and probe.needs_network)
    }


_PYAV = """
import av, json
wanted = "WANTED".split()
def can(name):
    try:
        av.codec.Codec(name, "r")
    except Exception:
        return False
    return True
print(json.dumps({"missing": [name for name in wanted if not can(name)],
    "ffmpeg": ".".join(map(str, av.library_versions["libavcodec"]))}))
""".replace("WANTED", " ".join(WANTED_DECODERS))

_DECORD = """
import decord, json
print(json.dumps({"version": decord.__version__}))
"""

_TORCH = """
import json, torch
gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
print(json.dumps({"version": torch.__version__,
    "gpus": ["%s, %.0f GiB" % (gpu.name, gpu.total_memory / 2**30) for gpu in gpus]}))
"""

_HUB = """
import json, urllib.error, urllib.request
from huggingface_hub import constants, get_token
endpoint = constants.ENDPOINT
try:
    urllib.request.urlopen(endpoint + "/api/models?limit=1", timeout=4).read(1)
    problem = None
except urllib.error.HTTPError:
    problem = None
except Exception as error:
    problem = str(error)
print(json.dumps({"endpoint": endpoint, "token": bool(get_token()), "problem": problem}))
"""

_STORE = """
import json, os, urllib.error, urllib.request
import obstore
endpoint = os.environ.get("AWS_ENDPOINT_URL")
keys = any(os.environ.get(name) for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_ROLE_ARN"))
try:
    urllib.request.urlopen(endpoint or "https://s3.amazonaws.com", timeout=4).read(1)
    problem = None
except urllib.error.HTTPError:
    problem = None
except Exception as error:
    problem = str(error)
print(json.dumps({"endpoint": endpoint or "AWS", "keys": keys, "problem": problem}))
"""


def _pyav(answer: Answer) -> Iterator[Check]:
    if "error" in answer:
        hint = "pip install --force-reinstall av"
        yield Check("decoders", "av", State.broken, answer["error"], hint)
    elif answer["missing"]:
        detail = f"libavcodec {answer['ffmpeg']} lacks {', '.join(answer['missing'])}"
        hint = "pip install --force-reinstall av (its wheels have them)"
        yield Check("decoders", "av", State.info, detail, hint)
    else:
        detail = f"libavcodec {answer['ffmpeg']} with {', '.join(WANTED_DECODERS)}"
        yield Check("decoders", "av", State.ok, detail)


def _decord(answer: Answer) -> Iterator[Check]:
    if "error" in answer:
        detail = f"{answer['error']}; av decodes everything instead"
        yield Check("decoders", "decord", State.missing, detail, "pip install decord")
    else:
        yield Check("decoders", "decord", State.ok, answer["version"])


def _torch(answer: Answer) -> Iterator[Check]:
    if "error" in answer:
        detail = "torch cannot be imported: no tokenizers, no training"
        hint = "pip install torch -c constraints.txt"
        yield Check("gpu", "torch", State.missing, f"{detail} ({answer['error']})", hint)
        return
    yield Check("gpu", "torch", State.ok, answer["version"])
    if answer["gpus"]:
        yield Check("gpu", "cuda", State.ok, "; ".join(answer["gpus"]))
    else:
        yield Check("gpu", "cuda", State.info, "no GPU that torch can use; everything runs on CPU")


def _hub(answer: Answer) -> Iterator[Check]:
    if problem := answer.get("error") or answer["problem"]:
        detail = f"not reachable ({problem}); only publish and pull need it"
        yield Check("network", "hub", State.info, detail, "go online, or set HF_ENDPOINT")
        return
    token = "logged in" if answer["token"] else "no token: reading works, publishing needs one"
    hint = "" if answer["token"] else "hf auth login"
    yield Check("network", "hub", State.ok, f"{answer['endpoint']} reachable, {token}", hint)


def _store(answer: Answer) -> Iterator[Check]:
    if problem := answer.get("error") or answer["problem"]:
        detail = f"not reachable ({problem}); only s3:// catalogs need it"
        yield Check("network", "s3", State.info, detail, "go online, or set AWS_ENDPOINT_URL")
        return
    keys = (
        "credentials in the environment" if answer["keys"] else "no credentials in the environment"
    )
    hint = "" if answer["keys"] else "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    yield Check(
        "network",
        "s3",
        State.ok,
        f"{answer['endpoint']} reachable, {keys} in the environment",
        hint,
    )


_PROBES = {
    "av": _Probe(_PYAV, _pyav, 20),
    "decord": _Probe(_DECORD, _decord, 20),
    "torch": _Probe(_TORCH, _torch, 60),
    "hub": _Probe(_HUB, _hub, 8, needs_network=True),
    "s3": _Probe(_STORE, _store, 8, needs_network=True),
}
