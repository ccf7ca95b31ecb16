"""The position in an epoch as a small dict, and the refusal of one from another feed.

    {"format": 1, "epoch": 3, "consumed": [[64, 1200], [32, 80]], "settings": {...}}

`consumed` says how many batches of which size the epoch gave out, over all ranks. `settings` is
everything else that the order depends on; it must be the same when the state is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from catalogs.errors import FormatError, UsageError
from tokenize_jobs.feed_order import Consumed

__all__ = ["check_state", "make_state"]

_FORMAT = 1


def make_state(epoch: int, consumed: Consumed, settings: Mapping[str, Any]) -> dict[str, Any]:
    """A state that `check_state` accepts, fit for JSON."""
    return {
        "format": _FORMAT,
        "epoch": epoch,
        "consumed": [list(part) for part in consumed],
        "settings": dict(settings),
    }


def check_state(
    state: Mapping[str, Any], settings: Mapping[str, Any]
) -> tuple[int, list[tuple[int, int]]]:
    """The epoch and what it gave out, if the state fits a feed with these settings."""
    if state.get("format") != _FORMAT:
        raise FormatError(
            f"the feed's state has format {state.get('format')!r}", allowed=str(_FORMAT)
        )
    saved = dict(state["settings"])
    for name, value in settings.items():
        if saved.get(name) != value:
            raise UsageError(
                f"the state was saved with {name} = {saved.get(name)!r}, this feed has {value!r}",
                hint=_hint(name, saved.get(name)),
            )
    return int(state["epoch"]), [(int(size), int(count)) for size, count in state["consumed"]]


def _hint(name: str, saved: Any) -> str:
    if name == "version":
        return f"go on with the catalog as it was: TokenFeed(catalog.at({saved!r}), ...)"
    if name == "windows_hash":
        return "the catalog's files were rewritten: start the epoch anew"
    return f"make the feed with {name}={saved!r}, or start the epoch anew"
