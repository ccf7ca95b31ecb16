"""What is there twice, and whether splits share footage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from catalogs.amounts import counted
from catalogs.duplicates import DuplicateGroup, Pair, duplicate_groups, searches
from catalogs.errors import RecipeError
from catalogs.leaks import find_leaks, twin_rules
from catalogs.report.book import Book
from catalogs.report.corpus import shares
from catalogs.report.markup import Html, Part, Section, section, table, tag

__all__ = ["duplicates", "splits"]

_MOST_GROUPS, _MOST_MEMBERS, _MOST_PAIRS = 12, 6, 4
_MOST_LEAKS = 12


def duplicates(book: Book) -> Section:
    """Groups of clips that show the same, side by side, with the spans that they share."""
    rules = twin_rules(book.chosen)
    if rules is None or (rules.near and rules.near.search not in searches(book.catalog)):
        hint = tag(
            "p", "Nobody has searched for duplicates: ", tag("code", "clipmill dups CATALOG")
        )
        return section("duplicates", "Duplicates", hint)
    try:
        groups = duplicate_groups(book.catalog, rules, cutting=book.chosen.session.cutting)
    except RecipeError as error:
        return section("duplicates", "Duplicates", tag("p", str(error)))
    if not groups:
        return section("duplicates", "Duplicates", tag("p", "No two clips show the same."))
    clips = sum(len(group.members) for group in groups)
    shown = sorted(groups, key=lambda group: (-len(group.members), group.name))[:_MOST_GROUPS]
    more = len(groups) - len(shown)
    return section(
        "duplicates",
        "Duplicates",
        tag("div", [_group(book, group) for group in shown], class_="twins"),
        tag("p", f"and {more:,} more groups", class_="quiet") if more else None,
        lead=f"{counted(len(groups), 'group')} of {clips:,} clips that show the same.",
    )


def _group(book: Book, group: DuplicateGroup) -> Html:
    kept = _kept(book, [member.clip_id for member in group.members])
    notes: list[tuple[str, Part]] = [
        (m.clip_id, _verdict(m.clip_id in kept) if book.made else None)
        for m in group.members[:_MOST_MEMBERS]
    ]
    more = len(group.members) - len(notes)
    names = book.names([member.clip_id for member in group.members])
    return tag(
        "article",
        book.strips(notes, count=2),
        tag("p", f"and {more:,} more clips", class_="quiet") if more > 0 else None,
        tag("ul", [tag("li", _told(p, names)) for p in group.pairs[:_MOST_PAIRS]], class_="pairs"),
    )


def _kept(book: Book, clip_ids: Sequence[str]) -> set[str]:
    marks = ", ".join("?" * len(clip_ids))
    query = f"select clip_id from chosen where clip_id in ({marks})"
    return {row[0] for row in book.chosen.session.sql(query, list(clip_ids)).rows()}


def _verdict(kept: bool) -> Html:
    return tag("span", "kept" if kept else "not kept", class_=f"mark {'in' if kept else 'out'}")


def _told(pair: Pair, names: Mapping[str, str]) -> str:
    words = f"{pair.kind}, score {pair.score:.2f}"
    words += ", mirrored" if pair.mirrored else ""
    words += f", turned {pair.turned_deg} degrees" if pair.turned_deg else ""
    here, there = names[pair.clip_id], names[pair.other_clip]
    if pair.start_s is None or pair.other_start_s is None:
        return f"{here} and {there}: {words}"
    span = f"{pair.start_s:.2f}–{pair.end_s:.2f} s of {here}"
    return f"{span} is {pair.other_start_s:.2f}–{pair.other_end_s:.2f} s of {there}: {words}"


def splits(book: Book) -> Section | None:
    """How much is in which split, and pairs that are in two of them."""
    if not book.made:
        return None
    leaks = find_leaks(book.chosen)
    if not leaks.searched:
        word: Part = (
            "Not all of it was searched for duplicates, so nobody can vouch for the splits."
        )
    elif leaks.found:
        word = f"{counted(len(leaks.found), 'pair')} of clips show the same in different splits:"
    else:
        word = "No two clips in different splits show the same."
    rows: list[Sequence[Part]] = [
        [leak.pair.clip_id[:12], leak.split, leak.pair.reason(), leak.other_split]
        for leak in leaks.found[:_MOST_LEAKS]
    ]
    return section(
        "splits",
        "Splits",
        shares(book.facts.splits),
        tag("p", word, class_="mark out" if leaks.found else None),
        table(["clip", "in", "is a", "which is in"], rows) if rows else None,
    )
