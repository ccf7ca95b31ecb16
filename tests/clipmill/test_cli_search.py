"""`clipmill embed`, `search`, `clusters` and `tag` on a small catalog."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from catalogs import Catalog

TEXTS = ["a dog runs", "the dog sleeps", "rain over a city", "heavy rain", "a slow dance"]


def clip_id(number: int) -> str:
    return f"{number:x}" * 32


@pytest.fixture
def captioned(corpus_path: Path) -> Path:
    """Clips 0 to 4 with a caption each."""
    rows = [
        {"caption_id": str(number), "clip_id": clip_id(number), "kind": "brief", "text": text}
        for number, text in enumerate(TEXTS)
    ]
    Catalog.open(corpus_path).append("captions", rows)
    return corpus_path


@pytest.fixture
def embedded(clipmill: Any, captioned: Path) -> Path:
    done = clipmill("embed", captioned, "--workers", "0", "--quiet")
    assert done.exit_code == 0, done.stderr
    return captioned


def test_embedding_tells_what_was_missing(clipmill: Any, embedded: Path) -> None:
    done = clipmill("embed", embedded, "--workers", "0", "--quiet", "--json")
    report = json.loads(done.stdout)
    assert (report["model"], report["embedded"], report["present"]) == ("words", 0, 5)
    assert report["without"] == 5


def test_words_find_clips_without_any_embedding(clipmill: Any, captioned: Path) -> None:
    done = clipmill("search", captioned, "dogs sleeping", "--json")
    first, *_ = json.loads(done.stdout)
    assert first["clip_id"] == clip_id(1)
    assert first["found_by"]["captions"]["place"] == 1


def test_a_table_shows_place_and_caption(clipmill: Any, embedded: Path) -> None:
    done = clipmill("search", embedded, "rain", "--where", "duration_s > 3.5")
    head, row = (line.split("\t") for line in done.stdout.splitlines())
    found = dict(zip(head, row, strict=True))
    assert found["clip"] == clip_id(3)[:12]
    assert found["caption"] == "heavy rain"
    assert found["by"] == "captions:1 words:1"


def test_nothing_found_and_wrong_conditions_are_told(clipmill: Any, embedded: Path) -> None:
    done = clipmill("search", embedded, "xylophone")
    assert done.exit_code == 0
    assert "nothing was found" in done.stderr
    done = clipmill("search", embedded, "rain", "--where", "duratoin_s > 3")
    assert done.exit_code == 1
    assert "duratoin_s" in done.stderr


def test_groups_become_a_column_and_a_cap_is_told(clipmill: Any, embedded: Path) -> None:
    done = clipmill("clusters", embedded, "--count", "2", "--cap", "1", "--outliers", "2")
    assert done.exit_code == 0, done.stderr
    assert "a cap of 1 for each group keeps 2 clips" in done.stderr
    rows = clipmill("sql", embedded, "select count(distinct cluster) as n from clips", "--json")
    assert json.loads(rows.stdout) == [{"n": 2}]


def test_tags_are_counted(clipmill: Any, embedded: Path, tmp_path: Path) -> None:
    (tmp_path / "tags.txt").write_text("animal: dog\nweather: rain\n")
    done = clipmill("tag", embedded, tmp_path / "tags.txt", "--json")
    assert json.loads(done.stdout) == {"animal": 2, "weather": 2}
