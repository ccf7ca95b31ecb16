"""The card of a model folder: what it is, how to use it, what was measured."""

from __future__ import annotations

import json
from pathlib import Path

__all__ = ["write_card"]


def write_card(folder: Path) -> None:
    """Write `README.md` from the folder's `config.json`."""
    known = json.loads((folder / "config.json").read_text())
    (folder / "README.md").write_text(f"# {known['name']}\n")
