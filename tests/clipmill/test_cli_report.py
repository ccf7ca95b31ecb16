"""`clipmill report`: one HTML file about a corpus and a selection."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def test_a_selection_is_reported(
    clipmill: Any, corpus_path: Path, recipe_path: Path, tmp_path: Path
) -> None:
    done = clipmill("select", corpus_path, "--recipe", recipe_path, "--name", "light")
    assert done.exit_code == 0, done.stderr
    told = clipmill("report", corpus_path, "light", "-o", tmp_path / "r.html", "--json")
    assert told.exit_code == 0, told.stderr
    found = json.loads(told.stdout)
    assert found["selection"] == "light"
    text = Path(found["path"]).read_text(encoding="utf-8")
    assert len(text.encode()) == found["bytes"]
    assert "keeps 6 of 10 clips" in text
    assert "videos/" not in text


def test_an_unknown_selection_is_refused(clipmill: Any, corpus_path: Path, tmp_path: Path) -> None:
    done = clipmill("report", corpus_path, "nobody", "-o", tmp_path / "r.html")
    assert done.exit_code == 2
    assert "no selection" in done.stderr
    assert not (tmp_path / "r.html").exists()
