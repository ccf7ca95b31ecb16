"""`caption`, `captions` and `caption-diff` on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from catalogs import Catalog


@pytest.fixture
def worded(corpus_path: Path) -> Path:
    """Ten clips with captions by two models; one of `b` refuses."""
    rows = [
        {
            "caption_id": f"{model}{number}",
            "clip_id": f"{number:x}" * 32,
            "kind": "brief",
            "text": f"A bird sits on wall number {number} in the rain.",
            "language": "en",
            "start_s": 0.0,
            "end_s": 1.0,
            "origin": "model",
            "model": f"openai:{model}",
            "revision": "api",
            "prompt_id": "brief",
            "prompt_hash": "h",
            "tokens": 10,
        }
        for model in ("a", "b")
        for number in range(4)
    ]
    rows[-1]["text"] = "I'm sorry, but I can't describe this video."
    Catalog.open(corpus_path).append("captions", rows)
    return corpus_path


def test_captioners_are_listed_and_checked(clipmill: Any, worded: Path) -> None:
    done = clipmill("captions", worded)
    assert done.exit_code == 0, done.stderr
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert lines[0][:3] == ["captioner", "captions", "clips"]
    assert lines[1][:3] == ["openai:a@api/brief", "4", "4"]
    assert "scores/captions" not in Catalog.open(worded).tables()
    checked = clipmill("captions", worded, "--qa", "--json")
    report = json.loads(checked.stdout)
    assert report["captioners"][1]["checks"] == {"refusal": 1}
    assert (report["clips"], report["written"]) == (4, 4)
    listed = clipmill("captions", worded, "--list", "refusal", "--strict")
    assert listed.exit_code == 3
    assert "I'm sorry, but I can't describe" in listed.stdout
    gate = "select count(*) as good from clips where caption_faults = 0"
    assert clipmill("sql", worded, gate, "--json").stdout.count('"good": 3') == 1


def test_two_captioners_are_compared(clipmill: Any, worded: Path) -> None:
    done = clipmill("caption-diff", worded, "openai:a", "openai:b", "--strict")
    assert done.exit_code == 3
    assert "1 clips got worse, 0 better" in done.stdout
    assert "refusal" in done.stdout
    unknown = clipmill("caption-diff", worded, "openai:a", "openai:c")
    assert unknown.exit_code == 2
    assert "openai:b@api/brief" in unknown.stderr


def test_what_is_not_said_is_asked_for(clipmill: Any, worded: Path) -> None:
    for arguments, told in (
        ((), "--with rules"),
        (("--import",), "no files"),
        (("one", "two", "--with", "rules"), "2 selections"),
        (("--with", "rulez"), "did you mean 'rules'"),
        (("--with", "openai:m", "--endpoint", "x"), "no address"),
    ):
        done = clipmill("caption", worded, *arguments)
        assert done.exit_code == 2
        assert told in done.stderr
    wrong = clipmill("captions", worded, "--list", "refusals")
    assert wrong.exit_code == 2
    assert "did you mean 'refusal'" in wrong.stderr


def test_a_dry_run_only_counts(clipmill: Any, worded: Path) -> None:
    done = clipmill("caption", worded, "--with", "rules", "--dry-run", "--json")
    report = json.loads(done.stdout)
    assert (report["status"], report["clips"], report["windows"]) == ("planned", 10, 10)
