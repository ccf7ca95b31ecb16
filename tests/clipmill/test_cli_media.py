"""`export` with media: options become settings, failures become an exit code."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from catalogs.ids import file_sha256
from catalogs.testing import Shot, render_video
from catalogs.testing.records import record_clips
from clipmill.cli.media import MediaOptions
from curation.media import probe


@pytest.fixture
def footage(tmp_path: Path) -> Path:
    """A catalog of one clip of one file."""
    path = tmp_path / "a.mp4"
    render_video(path, [Shot("pan_left", 12)], size=(64, 48))
    found = probe(path)
    clip = {
        "clip_id": "c" * 32,
        "source_id": "s" * 32,
        "uri": str(path),
        "sha256": file_sha256(path),
        "license": "CC-BY-4.0",
        "start_pts": found.start_pts,
        "end_pts": found.end_pts,
        "time_base_num": found.time_base.numerator,
        "time_base_den": found.time_base.denominator,
        "frames": 12,
        "duration_s": float(found.duration),
    }
    record_clips(tmp_path / "corpus", [clip])
    return tmp_path / "corpus"


def test_export_of_media(clipmill: Any, footage: Path, tmp_path: Path) -> None:
    result = clipmill(
        "export", footage, tmp_path / "out", "--format", "mp4", "--size", "32", "--fps", "12",
        "--json",
    )  # fmt: skip

    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert (told["clips"], told["made"], told["failures"]) == (1, {"encode": 1}, [])
    found = probe(next((tmp_path / "out" / "clips").rglob("*.mp4")))
    assert (found.height, found.frames, found.fps) == (32, 6, 12)


def test_a_clip_that_fails_is_named_and_fails_the_command(
    clipmill: Any, footage: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.mp4").unlink()

    result = clipmill("export", footage, tmp_path / "out", "--format", "frames")

    assert result.exit_code == 1
    assert f"failed: {'c' * 32}: the file is not where the catalog saw it last" in result.stderr


def test_options_about_media_need_media(clipmill: Any, footage: Path, tmp_path: Path) -> None:
    result = clipmill("export", footage, tmp_path / "out", "--fps", "12")

    assert result.exit_code == 2
    assert "--fps is about media, which format hf does not hold" in result.stderr


@pytest.mark.parametrize(
    ("text", "rate"),
    [("16", 16), ("29.97", Fraction(30000, 1001)), ("30000/1001", Fraction(30000, 1001))],
)
def test_frame_rates(text: str, rate: Fraction) -> None:
    assert MediaOptions(fps=text).settings().fps == rate


def test_sizes() -> None:
    assert MediaOptions(size="256").settings().short_side == 256
    assert MediaOptions(size="320x240").settings().size == (320, 240)


@pytest.mark.parametrize("option", [["--size", "big"], ["--fps", "fast"], ["--size", "3x4"]])
def test_nonsense_is_wrong_usage(
    clipmill: Any, footage: Path, tmp_path: Path, option: list[str]
) -> None:
    result = clipmill("export", footage, tmp_path / "out", "--format", "mp4", *option)

    assert result.exit_code == 2
    assert not (tmp_path / "out").exists()
