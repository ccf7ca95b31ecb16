"""The clips that lie nearest to a limit of a gate: the last ones in, and the first ones out."""

from __future__ import annotations

from dataclasses import dataclass

from catalogs.bounds import Bound, bounds_of
from catalogs.histograms import Ask

__all__ = ["Edge", "Near", "edges_of"]


@dataclass(frozen=True, slots=True)
class Near:
    """A clip, and the value that is compared with the limit."""

    clip_id: str
    value: float


@dataclass(frozen=True, slots=True)
class Edge:
    """One limit of a gate, with the clips on its two sides, the nearest first."""

    bound: Bound
    inside: tuple[Near, ...]
    outside: tuple[Near, ...]


def edges_of(ask: Ask, predicate: str, count: int) -> list[Edge]:
    """Up to `count` clips on either side of each limit of a gate.

    Clips that fail another part of the same gate are left out: its limit does not decide on them.
    """
    edges = []
    for bound in bounds_of(predicate):
        sides = (
            tuple(
                Near(*row)
                for row in ask(
                    f"select clip_id, value from ({bound.query}) where {side} "
                    f"order by {bound.distance}, clip_id limit {count:d}"
                ).rows()
            )
            for side in (bound.passed, f"not ({bound.passed})")
        )
        edges.append(Edge(bound, *sides))
    return edges
