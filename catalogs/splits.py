"""Splits that stay: where a clip goes depends on its group's name and on nothing else.

The sha256 of the group (by default the source) gives a number in [0, 1); test takes the lowest
numbers, then val, then train. So no group is ever divided, adding clips moves nobody, and changing
the share of train or val leaves the test split as it was.
"""

from __future__ import annotations

import hashlib

from catalogs.recipe import Splits

__all__ = ["group_position", "position_sql", "split_of", "split_sql"]

_DIGITS = 13
"""Hex digits of the hash that are used: 52 bits, exact in a double."""


def group_position(group: str) -> float:
    """Where a group stands in [0, 1)."""
    digits = hashlib.sha256(group.encode()).hexdigest()[:_DIGITS]
    return int(digits, 16) / 16**_DIGITS


def split_of(group: str, splits: Splits) -> str:
    """The split that a group belongs to."""
    position = group_position(group)
    for name, end in _ends(splits):
        if position < end:
            return name
    return _last(splits)


def position_sql(group: str) -> str:
    """SQL of `group_position` for a text expression."""
    return f"(('0x' || substr(sha256({group}), 1, {_DIGITS}))::bigint / {16**_DIGITS}.0::double)"


def split_sql(group: str, splits: Splits | None) -> str:
    """SQL of `split_of` for a text expression; NULL without splits."""
    if splits is None:
        return "null::varchar"
    position = position_sql(group)
    cases = "".join(f" when {position} < {end!r}::double then '{n}'" for n, end in _ends(splits))
    return f"case{cases} else '{_last(splits)}' end"


def _ends(splits: Splits) -> list[tuple[str, float]]:
    return [("test", splits.test), ("val", splits.test + splits.val)]


def _last(splits: Splits) -> str:
    """Who takes the rest; rounding must not put a group into a split that has no share."""
    return next(name for name in ("train", "val", "test") if getattr(splits, name) > 0)
