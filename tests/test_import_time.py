"""Help answers at once because nothing heavy is imported for it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {
    "av", "cv2", "decord", "deltalake", "duckdb", "huggingface_hub", "numpy", "obstore", "pandas",
    "pyarrow", "ray", "rich", "scenedetect", "torch", "yaml",
}  # fmt: skip

EVERY_HELP = """
from typer.main import get_command
from typer.testing import CliRunner
from clipmill.cli import app

for verb in get_command(app).commands:
    result = CliRunner().invoke(app, [verb, "--help"])
    assert result.exit_code == 0 and "Examples" in result.stdout, verb
"""


def modules_after(program: str, folder: Path) -> set[str]:
    """Top-level names of everything that is loaded after a program ran."""
    report = "import json, sys; print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\n{report}"],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=120,
        check=True,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "program",
    [
        "import clipmill",
        "from clipmill.cli import app; app(['--help'], standalone_mode=False)",
        EVERY_HELP,
    ],
    ids=["import", "help", "help of every verb"],
)
def test_help_loads_nothing_heavy(program: str, tmp_path: Path) -> None:
    loaded = modules_after(program, tmp_path)

    assert "clipmill" in loaded
    assert not loaded & HEAVY


def test_the_record_needs_neither_torch_nor_ray(tmp_path: Path) -> None:
    parts = ("select", "explain", "export", "publish", "fetch", "maintenance", "migrate")
    program = "import " + ", ".join(f"catalogs.{part}" for part in parts)

    assert not modules_after(program, tmp_path) & {"torch", "ray", "av", "cv2"}
