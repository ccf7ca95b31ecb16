"""Whatever is killed, and whenever: run it again, and the tokens are those of a quiet run.

`CLIPMILL_KILLS` says how many times the reader, the encoder and the driver are killed each.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
import torch

import zoo
from catalogs.catalog import Catalog
from catalogs.schema import view_name
from catalogs.testing import Shot, render_video
from catalogs.testing.kills import Killer, processes_below
from curation.jobs.run import curate
from curation.jobs.settings import MillSettings
from tokenize_jobs.job import Report, tokenize
from tokenize_jobs.transform import Transform

KILLS = int(os.environ.get("CLIPMILL_KILLS", "1"))
KILLS_PER_RUN = 3
"""More, and a run would rightly say that its workers die as soon as they start."""

pytestmark = pytest.mark.timeout(300 + 60 * KILLS)
ASKED = Transform(fps=Fraction(12), size=(32, 32), window=9, stride=3)
Tokens = dict[tuple[str, int], bytes]

DRIVER = """
import sys
from fractions import Fraction
from tokenize_jobs import job, share
from tokenize_jobs.transform import Transform
job.COMMIT_EVERY_S, share.FIRST_FRAMES, share.SHARE_S = 0.1, 64, 0.5
asked = Transform(fps=Fraction(12), size=(32, 32), window=9, stride=3)
job.TELL_EVERY_S = 0
job.tokenize(sys.argv[1], sys.argv[2], transform=asked, workers=1, address=sys.argv[3],
             progress=sys.stdout)
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kills")
    for number in range(4):
        shots = [Shot("pan_left", 40, seed=number), Shot("zoom_in", 40, seed=number + 9)]
        render_video(folder / f"{number}.mp4", shots, size=(64, 48), seed=number)
    settings = MillSettings(operators=())
    curate([folder], folder / "corpus", settings=settings, workers=0, progress=None)
    return folder / "corpus"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    zoo.create("video/causal_cnn_fsq_tiny").save(folder)
    return f"local-dir:{folder}"


@pytest.fixture(scope="module")
def quiet(template: Path, model: str, tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    """The tokens of an undisturbed run."""
    folder = tmp_path_factory.mktemp("quiet") / "corpus"
    shutil.copytree(template, folder)
    return stored(folder, encode(folder, model, workers=0).table)


def encode(folder: Path, model: str, **options) -> Report:
    return tokenize(str(folder), model, transform=ASKED, progress=None, **options)


def stored(folder: Path, table: str) -> Tokens:
    rows = Catalog.open(folder).sql(
        f'select clip_id, window_index, tokens from "{view_name(table)}"'
    )
    found = {(clip, index): tokens for clip, index, tokens in rows.rows()}
    assert len(found) == len(rows.rows()), "no window is stored twice"
    return found


@pytest.mark.parametrize(
    "needle", ["curation.media.guard_child", "ray::_Seat.work"], ids=["reader", "encoder"]
)
def test_killed_helpers(
    needle: str,
    template: Path,
    model: str,
    quiet: Tokens,
    cluster: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tokenize_jobs.job.COMMIT_EVERY_S", 0.1)
    monkeypatch.setattr("tokenize_jobs.share.FIRST_FRAMES", 64)
    killed = 0
    while killed < KILLS:
        folder = tmp_path / f"corpus{killed}"
        if not folder.exists():
            shutil.copytree(template, folder)
        most = min(KILLS_PER_RUN, KILLS - killed)
        with Killer(lambda: processes_below(needle), most, seed=killed) as killer:
            disturbed = encode(folder, model, workers=1, address=cluster)
        killed += killer.killed
    report = encode(folder, model, workers=0)
    assert report.present >= disturbed.windows
    assert stored(folder, report.table) == quiet
    assert Catalog.open(folder).rows("quarantine") == 0


def test_killed_driver(
    template: Path, model: str, quiet: Tokens, cluster: str, tmp_path: Path
) -> None:
    """Every second kill falls into the start, the others into the work."""
    chance = random.Random(3)
    folder = tmp_path / "corpus"
    shutil.copytree(template, folder)
    command = [sys.executable, "-c", DRIVER, str(folder), model, cluster]
    killed = 0
    while killed < KILLS:
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            if killed % 2 == 0:
                assert process.stdout is not None
                process.stdout.readline()  # the first progress
            try:
                process.wait(timeout=chance.uniform(0, 1.5))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                killed += 1
            else:  # it was done: the next one begins anew
                shutil.rmtree(folder)
                shutil.copytree(template, folder)
    report = encode(folder, model, workers=0)
    assert stored(folder, report.table) == quiet
