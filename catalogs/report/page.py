"""The whole page: its sections in order, and the file that they become."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from catalogs.catalog import Catalog
from catalogs.errors import UsageError
from catalogs.report import corpus, decided, made, trust, words
from catalogs.report.book import Book, open_book
from catalogs.report.markup import Html, tag, together
from catalogs.report.pictures import DrawTake
from catalogs.report.style import CSS

__all__ = ["Written", "report_html", "write_report"]

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


@dataclass(frozen=True, slots=True)
class Written:
    """A report that was written."""

    path: Path
    bytes: int
    selection: str | None


def write_report(
    catalog: Catalog,
    path: Path,
    selection: str | None = None,
    *,
    draw_take: DrawTake | None = None,
    written: datetime | None = None,
) -> Written:
    """Write the report of a selection; by default of the one made last, else of the corpus.

    Args:
        draw_take: draws postures of takes; without it, takes are shown without pictures.
        written: the date that the page bears; now by default.
    """
    with open_book(catalog, selection, draw_take) as book:
        text = _page(book, written or datetime.now(UTC))
        name = book.made.name if book.made else None
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        staged.write_text(text, encoding="utf-8")
        staged.replace(path)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}",
            allowed="a file in a folder that you may write to",
        ) from error
    finally:
        with suppress(OSError):
            staged.unlink(missing_ok=True)
    return Written(path, path.stat().st_size, name)


def report_html(
    catalog: Catalog,
    selection: str | None = None,
    *,
    draw_take: DrawTake | None = None,
    written: datetime | None = None,
) -> str:
    """The text of the report."""
    with open_book(catalog, selection, draw_take) as book:
        return _page(book, written or datetime.now(UTC))


def _page(book: Book, written: datetime) -> str:
    title = f"{book.made.name}: a corpus report" if book.made else "A corpus report"
    opening = corpus.opening(book)
    parts = [
        part
        for part in (
            corpus.contents(book),
            decided.funnel(book),
            decided.gates(book),
            decided.measures(book),
            decided.balance(book),
            trust.duplicates(book),
            trust.splits(book),
            words.captions(book),
            words.tokens(book),
            corpus.licences(book),
            corpus.quarantine(book),
            made.runs(book),
            made.storage(book),
            made.provenance(book),
        )
        if part is not None
    ]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Html(CSS)),
    )
    body = tag(
        "body",
        tag("header", tag("h1", title), tag("p", _dated(book, written), class_="quiet")),
        tag("nav", [part.link for part in parts]),
        tag("main", opening, [part.body for part in parts]),
        tag("footer", tag("p", _left_out(book), "Made by clipmill report.", class_="quiet")),
    )
    return together(Html("<!doctype html>\n"), tag("html", head, body, lang="en"), Html("\n"))


def _dated(book: Book, written: datetime) -> str:
    facts = book.facts
    return (
        f"Catalog version {facts.version} of {facts.as_of:%Y-%m-%d}, written on {written:%Y-%m-%d}."
    )


def _left_out(book: Book) -> str:
    count = book.pictures.left_out
    return f"{count:,} clips are shown without pictures to keep the file small. " if count else ""
