"""Shares of work: everything is handed out once, in the sizes that were asked for."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np

from catalogs.timebase import Span
from tokenize_jobs.clips import ChosenSource
from tokenize_jobs.plan import Unit
from tokenize_jobs.shards import Window
from tokenize_jobs.share import FIRST_FRAMES, LEAST_FRAMES, SHARE_S, Shares

FRAMES = 16


def unit(name: str, windows: int, *, take: bool = False) -> Unit:
    source = ChosenSource(name, "video", name, 0, (0, 0), Fraction(24), ())
    if take:
        return Unit(source, windows * FRAMES)
    span = Span(0, FRAMES, Fraction(1, 24))
    cut = tuple(
        (Window(name, number, span, FRAMES, 24.0, ""), np.arange(FRAMES))
        for number in range(windows)
    )
    return Unit(source, windows * FRAMES, windows=cut)


def same(item: Unit) -> Unit:
    return item


def frames(share: tuple[Unit, ...]) -> int:
    return sum(part.frames for part in share)


def handed_out(shares: Shares, workers: int = 1, rate: float = 0.0) -> list[tuple[Unit, ...]]:
    found = []
    while shares:
        found.append(shares.next(workers, rate))
    return found


def test_every_window_is_handed_out_once() -> None:
    shares = Shares([unit("a", 3), unit("b", 200), unit("c", 1), unit("t", 9, take=True)], same)
    given = handed_out(shares, workers=2)
    keys = [(w.clip_id, w.index) for share in given for u in share for w, _ in u.windows]
    assert len(keys) == len(set(keys)) == 204
    assert sum(map(frames, given)) == 213 * FRAMES


def test_shares_are_as_long_as_a_worker_needs_some_seconds_for() -> None:
    shares = Shares([unit("long", 1000)], same)
    assert frames(shares.next(1, 0.0)) == FIRST_FRAMES
    assert frames(shares.next(1, 100.0)) == 100 * SHARE_S


def test_short_sources_share_a_share() -> None:
    share = Shares([unit(str(number), 2) for number in range(100)], same).next(1, 0.0)
    assert frames(share) == FIRST_FRAMES
    assert len(share) == FIRST_FRAMES // (2 * FRAMES)


def test_shares_get_smaller_towards_the_end() -> None:
    shares = Shares([unit("a", 100)], same)
    sizes = [frames(share) for share in handed_out(shares, workers=2, rate=1e6)]
    assert sizes[0] == 100 * FRAMES // 4
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] <= LEAST_FRAMES


def test_what_was_lost_comes_back_first_and_alone() -> None:
    shares = Shares([unit("a", 1), unit("b", 1)], same)
    lost = shares.next(1, 0.0)
    assert len(lost) == 2
    shares.give_back([replace(part, attempt=1) for part in lost])
    assert [len(share) for share in handed_out(shares)] == [1, 1]
