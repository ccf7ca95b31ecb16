"""What a file is, in plain values, without a catalog."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from catalogs.errors import ClipmillError
from curation.media import probe, run_guarded, verify

__all__ = ["inspect"]

_SHOWN = (
    "kind", "container", "codec", "pix_fmt", "width", "height", "rotation_deg", "is_vfr", "frames",
    "bit_depth", "has_alpha", "hdr_transfer",
)  # fmt: skip


def inspect(file: Path, *, verify: bool = False) -> dict[str, Any]:
    """One file's facts, or {file, error, error_class}."""
    try:
        found = run_guarded(probe, str(file))
        facts = {"file": str(file)} | {name: getattr(found, name) for name in _SHOWN}
        facts |= {
            "fps": str(found.fps),
            "duration_s": float(found.duration),
            "keyframes": len(found.keyframe_pts),
            "audio": found.audio.codec if found.audio else None,
        }
        if verify:
            facts |= _compared(file)
    except ClipmillError as error:
        name = str(getattr(error, "error_class", type(error).__name__))
        return {"file": str(file), "error": error.problem, "error_class": name}
    return facts


def _compared(file: Path) -> dict[str, Any]:
    """Whether both backends agree; None when decord cannot be asked about this file."""
    result = run_guarded(verify, str(file))
    return {
        "agrees": None if result.unread is not None else result.agrees,
        "worst_difference_255": round(result.worst_difference_255, 2),
        "not_compared": result.unread,
    }
