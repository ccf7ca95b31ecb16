"""Write `operator_golden.json`, the scores that the golden test holds the operators to.

Run it after a change that is meant to change scores, look at the difference, and raise `version`
of the operators that changed:

    python tests/curation/make_operator_golden.py
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from catalogs.testing import Shot, render_video
from curation.operators import checked_scores, create
from curation.operators.trial import clip_of_file

GOLDEN = Path(__file__).with_name("operator_golden.json")
OPERATORS = (
    "audio", "borders", "colour", "compression", "exposure", "flash", "format", "geometry",
    "motion", "redundancy", "sharpness", "stillness", "text",
)  # fmt: skip
CLIPS: dict[str, dict[str, Any]] = {
    "pan": {"shots": [Shot("pan_right", 24, seed=3)], "audio": "tone"},
    "subjects": {"shots": [Shot("moving_shapes", 24, seed=8)], "size": (240, 320)},
    "boxed": {"shots": [Shot("letterbox", 24, seed=5)], "audio": "silence"},
    "flash": {"shots": [Shot("flash", 24, seed=3)], "codec": "mpeg4"},
    "subtitle": {"shots": [Shot("subtitle", 48, seed=3)], "size": (640, 360)},
    "screen": {"shots": [Shot("screen_recording", 48, seed=3)], "size": (640, 360)},
}


def measured(folder: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Scores by operator and clip, and the version that gave them."""
    clips = {}
    for name, settings in CLIPS.items():
        path = folder / f"{name}.mp4"
        render_video(path, **settings)
        clips[name] = clip_of_file(path)
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for operator in map(create, OPERATORS):
        rows = checked_scores(operator, list(clips.values()))
        found[operator.name] = {
            name: {key: value for key, value in row.items() if key != "clip_id"}
            for name, row in zip(clips, rows, strict=True)
        }
    return found


def rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [rounded(part) for part in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = measured(Path(folder))
    plain = {
        operator: {
            clip: {column: rounded(value) for column, value in row.items()}
            for clip, row in rows.items()
        }
        for operator, rows in found.items()
    }
    GOLDEN.write_text(json.dumps(plain, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
