"""`clipmill sample` with a pretrained generator of diffusers, in miniature."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("diffusers")
pytest.importorskip("accelerate")

from zoo.adapters.tiny_pipelines import tiny_pipeline

Run = Callable[..., Any]
SMALL = ("--size", "32x32", "--frames", 4, "--steps", 1)


@pytest.fixture(scope="module")
def ltx(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("ltx")
    tiny_pipeline("LTXPipeline").save_pretrained(folder)
    return f"diffusers:{folder}"


def test_texts_and_pictures_become_clips(clipmill: Run, ltx: str, tmp_path: Path) -> None:
    out = tmp_path / "cat.npy"
    asked = ("--text", "a red cat", "--negative", "slowly", "--load", "dtype=float32")
    done = clipmill("sample", ltx, *asked, *SMALL, "--to", out, "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout) == [
        {"path": str(out), "text": "a red cat", "negative": "slowly"}
    ]
    assert np.load(out).shape == (4, 32, 32, 3)

    picture = tmp_path / "first.png"
    Image.new("RGB", (64, 40), "#0000ff").save(picture)
    film = tmp_path / "on.mp4"
    done = clipmill("sample", ltx, "--image", picture, "--text", "a cat", *SMALL, "--to", film)
    assert done.exit_code == 0, done.stderr
    assert film.stat().st_size
    started = tmp_path / "on.npy"
    clipmill("sample", ltx, "--image", picture, "--text", "a cat", *SMALL, "--to", started)
    assert np.load(started)[0, 0, 0].tolist() == [0, 0, 255]


def test_what_cannot_be_is_said(clipmill: Run, ltx: str, tmp_path: Path) -> None:
    def fails(*options: object) -> str:
        done = clipmill("sample", *options, "--to", tmp_path / "x.npy")
        assert done.exit_code == 2
        return str(done.stderr)

    assert "multiples of 32" in fails(ltx, "--size", "40x40")
    assert "ROWSxCOLUMNS" in fails(ltx, "--size", "40")
    assert "no picture at" in fails(ltx, "--image", tmp_path / "none.png", *SMALL)
    assert "without offlod" in fails(ltx, "--load", "offlod=model")
