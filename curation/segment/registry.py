"""Detectors by name.

A detector is one module of this folder; its `detect` function's keyword arguments are its options.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from catalogs.errors import RecipeError, nearest
from curation.segment.base import Boundary
from curation.signals import VideoSignals

__all__ = ["DETECTORS", "detector_options", "detector_version", "run_detector"]

DETECTORS: dict[str, int] = {
    "shots": 1,
    "content": 1,
    "adaptive": 1,
    "histogram": 1,
    "hash": 1,
    "threshold": 1,
    "transnet": 1,
    "fixed": 1,
    "none": 1,
}
"""Name and version; the version is raised when the same signals would give other boundaries."""


def detector_version(name: str) -> int:
    """The version of a detector; unknown names are refused."""
    if name not in DETECTORS:
        raise RecipeError(
            f"detector {name!r} is unknown",
            allowed=", ".join(DETECTORS),
            hint=nearest(name, DETECTORS),
        )
    return DETECTORS[name]


@cache
def detector_options(name: str) -> Mapping[str, Any]:
    """Options of a detector and their defaults."""
    parameters = inspect.signature(_function(name)).parameters.values()
    return MappingProxyType(
        {
            option.name: option.default
            for option in parameters
            if option.kind is inspect.Parameter.KEYWORD_ONLY
        }
    )


def run_detector(name: str, signals: VideoSignals, options: Mapping[str, Any]) -> list[Boundary]:
    """Boundaries of one video, in order."""
    known = detector_options(name)
    for option in options:
        if option not in known:
            raise RecipeError(
                f"detector {name!r} has no option {option!r}",
                allowed=", ".join(known) or "no options",
                hint=nearest(option, known),
            )
    boundaries: list[Boundary] = _function(name)(signals, **options)
    return boundaries


@cache
def _function(name: str) -> Any:
    detector_version(name)
    return importlib.import_module(f"curation.segment.{name}").detect
