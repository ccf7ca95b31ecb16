"""What the corpus is: counts, kinds, formats, licences, and what could not be used."""

from __future__ import annotations

from collections.abc import Sequence

from catalogs.amounts import counted, human_bytes, time_text
from catalogs.chosen import public_uri
from catalogs.facts import Share
from catalogs.report.book import Book
from catalogs.report.markup import Html, Part, Section, section, table, tag

__all__ = ["contents", "licences", "opening", "quarantine", "shares"]

_OPENING_CLIPS = 12
_MOST_ROWS = 12
_MOST_BROKEN = 40


def opening(book: Book) -> list[Html]:
    """The main figures, and a look at clips from as many sources as there is room for."""
    corpus, facts = book.corpus, book.facts
    sources, size, seconds = book.chosen.sql(
        "select count(), coalesce(sum(bytes), 0), coalesce(sum(duration_s), 0) from sources"
    ).one()
    broken = sum(row[2] for row in corpus.quarantine)
    tiles = [
        (f"{sources:,}", "sources", f"{human_bytes(size)}, {time_text(seconds / 3600)}"),
        (f"{corpus.clips:,}", "clips", time_text(corpus.hours)),
    ]
    if book.made:
        share = f"{facts.clips / corpus.clips:.1%} of the clips" if corpus.clips else "of none"
        kept = f"{share}, {time_text(facts.hours)}"
        tiles.append((f"{facts.clips:,}", f"kept by {book.made.name}", kept))
    captions = sum(row[2] for row in corpus.captions)
    if captions:
        tiles.append((f"{captions:,}", "captions", ", ".join(corpus.languages) or "any language"))
    tiles.append((f"{broken:,}", "files in quarantine", "each with its reason"))
    cards = [
        tag("div", tag("b", value), tag("span", name), tag("small", note), class_="tile")
        for value, name, note in tiles
    ]
    look = book.rows(
        "select clip_id from clips qualify row_number() over "
        "(partition by source_id order by md5(clip_id)) = 1 "
        f"order by md5(source_id) limit {_OPENING_CLIPS}"
    )
    return [
        tag("div", cards, class_="tiles"),
        book.strips([(row[0], None) for row in look], count=1),
    ]


def contents(book: Book) -> Section:
    """Kinds, formats, resolutions and collections."""
    corpus = book.corpus
    formats = book.rows(
        "select concat_ws(' / ', container, codec) as name, count() as n, "
        "coalesce(sum(duration_s), 0) / 3600, coalesce(sum(bytes), 0) "
        f"from sources group by 1 order by n desc, 1 limit {_MOST_ROWS}"
    )
    format_rows: list[Sequence[Part]] = [
        [name or "not recorded", n, time_text(hours), human_bytes(size)]
        for name, n, hours, size in formats
    ]
    rates = book.rows(
        "select printf('%.5g per second', fps), count() as clips, "
        "coalesce(sum(duration_s), 0) / 3600, count(distinct source_id) "
        f"from clips where fps is not null group by 1 order by clips desc, 1 limit {_MOST_ROWS}"
    )
    return section(
        "corpus",
        "What the corpus is",
        tag(
            "div",
            _block("Kinds", shares(corpus.kinds)),
            _block(
                "Formats of the sources", table(["format", "files", "time", "size"], format_rows)
            ),
            _block("Resolutions", shares(corpus.resolutions)),
            _block("Frame rates of the clips", shares([Share(*row) for row in rates])),
            class_="pair",
        ),
        tag("p", "Collections: ", ", ".join(corpus.collections), ".")
        if corpus.collections
        else None,
        _damage(book),
    )


def _block(title: str, *parts: Part) -> Html:
    return tag("div", tag("h3", title), *parts)


def _damage(book: Book) -> Html | None:
    lines = [
        f"{counted(count, 'source')} with {what}"
        for count, what in (
            (book.corpus.damaged_sources, "damaged frames"),
            (book.corpus.uneven_sources, "uneven frame times"),
        )
        if count
    ]
    return tag("p", "; ".join(lines), ".") if lines else None


def shares(parts: Sequence[Share]) -> Html:
    """Parts of the corpus as bars, by clips."""
    most = max((part.clips for part in parts), default=0) or 1
    rows = [
        tag(
            "li",
            tag("span", part.name, class_="label"),
            tag("span", tag("i", style=f"width:{part.clips / most:.1%}"), class_="bar"),
            tag(
                "span",
                f"{counted(part.clips, 'clip')}, {time_text(part.hours)}, "
                f"{counted(part.sources, 'source')}",
                class_="quiet",
            ),
        )
        for part in parts[:_MOST_ROWS]
    ]
    more = len(parts) - len(rows)
    rest = tag("p", f"and {more:,} more", class_="quiet") if more > 0 else None
    return tag("div", tag("ul", rows, class_="bars"), rest)


def licences(book: Book) -> Section:
    """What may be done with which part."""
    head = ["licence", "clips", "time", "sources", "redistribute", "commercial use", "derive"]
    rows: list[Sequence[Part]] = [
        [
            *(part.share.name, part.share.clips, time_text(part.share.hours), part.share.sources),
            *map(_term, (part.terms.redistribute, part.terms.commercial, part.terms.derive)),
        ]
        for part in book.facts.licences
    ]
    what = f"the clips that {book.made.name} keeps" if book.made else "all clips"
    return section(
        "licences",
        "Licences and terms",
        table(head, rows),
        lead=f"Of {what}. What is unknown counts as refused until somebody has read the terms.",
    )


def _term(answer: str) -> Html:
    return tag("span", answer, class_=f"term {answer}")


def quarantine(book: Book) -> Section:
    """What could not be used, by reason, and the newest files of it."""
    found = book.corpus.quarantine
    if not found:
        return section("quarantine", "Quarantine", tag("p", "Every file could be used."))
    broken = book.rows(
        f"select {public_uri()}, uri, stage, error_class, detail from quarantine "
        f"order by created desc, uri, stage limit {_MOST_BROKEN}"
    )
    files: list[Sequence[Part]] = [
        [name, stage, reason, (detail or "").replace(uri, name)]
        for name, uri, stage, reason, detail in broken
    ]
    total = sum(row[2] for row in found)
    return section(
        "quarantine",
        "Quarantine",
        table(["stage", "reason", "files"], [list(row) for row in found]),
        tag("h3", "The files" if total <= _MOST_BROKEN else f"The last {_MOST_BROKEN} files"),
        table(["file", "stage", "reason", "in words"], files),
        lead=f"{counted(total, 'file')} could not be used. They are tried again with "
        "clipmill curate --retry.",
    )
