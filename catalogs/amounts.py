"""Amounts as a person would say them: lengths of time and sizes with the unit that suits them."""

from __future__ import annotations

__all__ = ["counted", "duration_text", "hours", "human_bytes", "number", "time_text"]


def counted(count: int, noun: str) -> str:
    """A number of things: 1 clip, 2 clips, 1,200 clips."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def hours(value: float) -> str:
    """Hours with as many digits as say something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def time_text(in_hours: float) -> str:
    """A length of time in the unit that suits it."""
    for unit, size in (("hours", 1.0), ("minutes", 60.0)):
        if in_hours * size >= 2:
            return f"{hours(in_hours * size)} {unit}"
    return f"{hours(in_hours * 3600)} seconds"


def duration_text(seconds: float) -> str:
    """Seconds of waiting: 12 s, 3 min 20 s, 2 h 05 min."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    in_hours, minutes = divmod(minutes, 60)
    return f"{in_hours} h {minutes:02d} min"


def human_bytes(count: float) -> str:
    """A size in the unit that suits it: 1.5 GiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def number(value: float | None) -> str:
    """A measured value with the digits that say something."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
