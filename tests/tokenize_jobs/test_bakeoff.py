"""The bake-off: equal clips for all, codecs inside the tokens' bits, measures that are right."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import zoo
from catalogs.catalog import Catalog
from catalogs.errors import NotFoundError, UsageError
from catalogs.testing import Shot, render_take, render_video
from curation.jobs.run import curate
from curation.jobs.settings import MillSettings
from tokenize_jobs.bakeoff import bakeoff
from tokenize_jobs.bakeoff.codec import CODECS, at_most_bits, available
from tokenize_jobs.bakeoff.picture import draw_chart, draw_sheet
from tokenize_jobs.work import as_input

TINY = ("video/causal_cnn_fsq_tiny", "video/causal_cnn_lfq_tiny")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, cluster: str) -> Catalog:
    folder = tmp_path_factory.mktemp("bakeoff")
    render_video(folder / "pan.mp4", [Shot("pan_left", 40), Shot("zoom_in", 40, seed=1)])
    render_take(folder / "walk.bvh", "walk", seconds=5)
    settings = MillSettings(operators=())
    curate([folder], folder / "corpus", settings=settings, address=cluster, progress=None)
    return Catalog.open(folder / "corpus")


def moving(frames: int = 9) -> np.ndarray:
    y, x = np.mgrid[:64, :64]
    waves = [128 + 100 * np.sin((x + 2 * t) / 7) * np.cos(y / 9) for t in range(frames)]
    return np.repeat(np.stack(waves)[..., None], 3, axis=-1).astype(np.uint8)


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
def test_a_codec_stays_inside_the_bits(codec) -> None:
    if codec not in available():
        pytest.skip(f"this FFmpeg cannot encode {codec.name}")
    frames = moving()
    few, many = (at_most_bits(codec, frames, Fraction(24), bits) for bits in (4_000, 40_000))
    assert few is not None
    assert many is not None
    assert few.bits <= 4_000 < many.bits <= 40_000
    assert few.frames.shape == frames.shape
    errors = [np.square(made.frames.astype(float) - frames).mean() for made in (few, many)]
    assert errors[1] < errors[0]
    assert at_most_bits(codec, frames, Fraction(24), 10) is None


def test_every_model_sees_the_same_clips(corpus: Catalog, tmp_path: Path) -> None:
    models = [zoo.create(name) for name in TINY]
    result = bakeoff(corpus, models, frames=9, size=(64, 64), clips=2)
    assert (result.modality, result.clips) == ("video", 2)
    assert [row.name for row in result.contenders] == list(TINY)
    for model, row in zip(models, result.contenders, strict=True):
        spec = model.spec
        assert math.isclose(row.bits_per_s, spec.bits((9, 64, 64)) * 24 / 9, rel_tol=1e-6)
        errors = [
            10 * np.log10(255**2 / np.square(a.astype(float) - b).mean(axis=(1, 2, 3))).mean()
            for a, b in zip(result.originals, row.pictures, strict=True)
        ]
        assert math.isclose(row.value("psnr"), float(np.mean(errors)), abs_tol=1e-3)
    with Image.open(draw_chart(result, tmp_path / "chart.png")) as chart:
        assert chart.width == 1280
    with Image.open(draw_sheet(result, tmp_path / "sheet.png")) as sheet:
        assert sheet.width > 3 * 192


def test_takes_are_compared_in_joints(corpus: Catalog) -> None:
    preset = zoo.preset("motion/conv_vq_tiny")
    model = preset.family(replace(preset.config, features=263))
    result = bakeoff(corpus, [model], frames=32, clips=1)
    assert result.modality == "motion"
    assert result.contenders[0].value("mpjpe") > 0


def test_what_cannot_be_compared_is_refused(corpus: Catalog) -> None:
    video = zoo.create(TINY[0])
    motion = zoo.create(zoo.list_models("motion/*_tiny")[0])
    with pytest.raises(UsageError, match="cannot be compared"):
        bakeoff(corpus, [video, motion])
    with pytest.raises(NotFoundError, match="500 frames"):
        bakeoff(corpus, [video], frames=500)


def test_json_tells_the_protocols(corpus: Catalog) -> None:
    result = bakeoff(corpus, [zoo.create(TINY[0])], frames=5, size=(32, 32), clips=1)
    (row,) = json.loads(json.dumps(result.to_json()))["models"]
    assert row["name"] == TINY[0]
    assert "8 bit" in row["protocols"]["psnr"] or "uint8" in row["protocols"]["psnr"]


def test_files_of_codecs_count_their_own_bytes(corpus: Catalog) -> None:
    model = zoo.create("video/codec_jpeg_tiny")
    result = bakeoff(corpus, [model], frames=2, size=(32, 32), clips=1)
    (frames,) = result.originals
    tokens = model.encode(as_input(frames))
    files = [len(file) for clip in model.files(tokens) for file in clip]
    assert math.isclose(tokens.bits, (sum(files) + len(files)) * math.log2(257))
    assert math.isclose(result.contenders[0].bits_per_s, tokens.bits * 24 / 2)
