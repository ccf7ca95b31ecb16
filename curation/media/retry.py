"""The one retry that a failing source gets: the other backend, once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from curation.media.decode import Backend
from curation.media.decord_backend import decord_installed
from curation.media.errors import MediaError

__all__ = ["retry_other_backend"]

T = TypeVar("T")


def retry_other_backend(
    task: Callable[[Backend], T], *, first: Backend = "av"
) -> tuple[T, Backend]:
    """Run `task` with one backend, on failure once with the other; say which one succeeded.

    Faults that no decoder can mend (an empty, encrypted or audio-only file) are raised at once.
    When both backends fail, the first one's error is raised and tells what the second one met.
    """
    try:
        return task(first), first
    except MediaError as error:
        failure = error
    other: Backend = "decord" if first == "av" else "av"
    if not failure.worth_retrying or not (other == "av" or decord_installed()):
        raise failure
    try:
        return task(other), other
    except MediaError as second:
        raise MediaError(
            failure.stage,
            failure.error_class,
            f"{failure.detail}; {other}: {second.detail}",
            signal=failure.signal or second.signal,
            source=failure.source,
        ) from failure
