"""What the sections of a report are written from: one catalog version, and one selection of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from catalogs.catalog import Catalog
from catalogs.chosen import Chosen, choose, public_uri
from catalogs.coverage import Coverage, coverage
from catalogs.facts import Facts, gather
from catalogs.ledger import Selection, find_selection, selections
from catalogs.licence import Policy
from catalogs.report.markup import Html, Part, tag, together
from catalogs.report.pictures import DrawTake, Pictures

__all__ = ["CAPTION_VERDICTS", "Book", "open_book"]

CAPTION_VERDICTS = "scores/captions"
"""Where the checks of captions are kept."""

_CLIP = "clip_id, kind, source_id, start_pts, end_pts, start_frame, end_frame, start_s, end_s"
_NOTHING_LEAVES = Policy.of()


@dataclass
class Book:
    """The facts of a report, asked once.

    `corpus` counts all clips of the cutting, `facts` those of the selection; without a selection
    they are the same.
    """

    chosen: Chosen
    corpus: Facts
    facts: Facts
    pictures: Pictures
    _clips: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def catalog(self) -> Catalog:
        return self.chosen.catalog

    @property
    def made(self) -> Selection | None:
        return self.chosen.selection

    @cached_property
    def cover(self) -> Coverage | None:
        """The selection beside what it was made from."""
        return coverage(self.catalog, self.made.selection_id) if self.made else None

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return self.chosen.sql(query).rows()

    def has(self, table: str) -> bool:
        return table in self.catalog.tables()

    def strips(self, notes: Sequence[tuple[str, Part]], count: int = 3) -> Html:
        """Clips side by side, each with its pictures, its place in its file, and a note."""
        self._fetch([clip_id for clip_id, _ in notes])
        shown = [
            self._strip(self._clips[clip_id], note, count)
            for clip_id, note in notes
            if clip_id in self._clips
        ]
        return tag("div", shown, class_="strips") if shown else Html("")

    def names(self, clip_ids: Sequence[str]) -> dict[str, str]:
        """The files that clips are of, as they may be shown: no folders, no credentials."""
        self._fetch(clip_ids)
        return {clip_id: self._clips[clip_id]["name"] or clip_id[:12] for clip_id in clip_ids}

    def _fetch(self, clip_ids: Sequence[str]) -> None:
        missing = [clip_id for clip_id in clip_ids if clip_id not in self._clips]
        if not missing:
            return
        session = self.chosen.session
        marks = ", ".join("?" * len(missing))
        rows = session.sql(
            f"select {_CLIP}, {public_uri()} as name from clips where clip_id in ({marks})", missing
        ).dicts()
        self._clips |= {row["clip_id"]: row for row in rows}

    def _strip(self, clip: dict[str, Any], note: Part, count: int) -> Html:
        place = f"{clip['start_s']:.2f}–{clip['end_s']:.2f} s"
        pictures = [
            tag("img", src=p.uri, width=p.width, height=p.height, alt=f"{clip['name']} at {place}")
            for p in self.pictures.of(clip, count)
        ]
        frame = tag("div", pictures or tag("span", "no picture"), class_="film")
        name = tag("span", clip["name"], class_="name")
        words = together(name, " ", tag("span", place, class_="quiet"), tag("div", note))
        return tag(
            "figure",
            frame,
            tag("figcaption", words),
            class_="take" if clip["kind"] == "mocap" else None,
            title=clip["clip_id"],
        )


@contextmanager
def open_book(
    catalog: Catalog, selection: str | None, draw_take: DrawTake | None
) -> Iterator[Book]:
    """A book on a selection, by default the one made last; on all clips if there is none."""
    made = find_selection(catalog, selection) if selection or selections(catalog) else None
    with choose(
        catalog, cutting=made.cutting if made else None, policy=_NOTHING_LEAVES
    ) as everything:
        corpus = gather(everything, title="corpus", columns=())
    name = made.selection_id if made else None
    with choose(catalog, selection=name, policy=_NOTHING_LEAVES) as chosen:
        facts = gather(chosen, title=made.name if made else "corpus", columns=())
        yield Book(chosen, corpus, facts, Pictures(chosen.session, draw_take))
