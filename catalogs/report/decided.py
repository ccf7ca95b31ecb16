"""How clips were decided on: the funnel, gates with the clips at their limits, the balance."""

from __future__ import annotations

from collections.abc import Sequence

from catalogs.amounts import counted, number, time_text
from catalogs.coverage import Coverage, Group, Groups, Spread
from catalogs.edges import Edge, Near, edges_of
from catalogs.funnel import Funnel, Step
from catalogs.gates import Grammar
from catalogs.query import wide_columns
from catalogs.report.book import CAPTION_VERDICTS, Book
from catalogs.report.markup import Html, Part, Section, section, tag, together
from catalogs.report.svg import histogram

__all__ = ["balance", "funnel", "gates", "measures"]

_AT_A_LIMIT = 4
"""Clips that are shown on either side of a limit."""
_MOST_MEASURES = 18
_MOST_COLUMNS, _MOST_GROUPS = 12, 8
_NAMES = frozenset({"uri", "sha256", "meta", "detector"})
"""Columns that tell which file it is and how it was read, not what is in it."""


def funnel(book: Book) -> Section | None:
    """From all clips to the selection, step by step."""
    found = book.facts.funnel
    if found is None:
        return None
    rows = [_step_row("all clips", "", found.clips, found.hours, found.clips)]
    rows += [
        _step_row(s.gate, s.predicate, s.clips_out, s.hours_out, found.clips, _losses(s))
        for s in found.steps
    ]
    return section(
        "funnel",
        "From all clips to the selection",
        tag("ol", rows, class_="funnel"),
        lead=_kept(found),
    )


def _kept(found: Funnel) -> str:
    share = f" ({found.kept_clips / found.clips:.1%})" if found.clips else ""
    return (
        f"The recipe {found.recipe} keeps {found.kept_clips:,} of {found.clips:,} clips{share}, "
        f"{time_text(found.kept_hours)} of {time_text(found.hours)}."
    )


def _step_row(
    name: str, predicate: str, clips: int, hours: float, of: int, losses: str = ""
) -> Html:
    share = clips / of if of else 0.0
    return tag(
        "li",
        tag("span", name, " ", tag("code", predicate) if predicate else None, class_="label"),
        tag("span", tag("i", style=f"width:{share:.1%}"), class_="bar"),
        tag("span", tag("b", clips), f" clips, {time_text(hours)}, {share:.1%}", class_="figures"),
        tag("span", losses, class_="quiet"),
    )


def _losses(step: Step) -> str:
    lost = f"loses {step.clips_in - step.clips_out:,}"
    if step.alone_failed_clips is None:
        return lost
    lost += (
        f"; {step.alone_failed_clips:,} of all fail it, {step.only_failed_clips:,} fail it alone"
    )
    return lost + (f"; {step.null_clips:,} were not measured" if step.null_clips else "")


def gates(book: Book) -> Section | None:
    """Each gate that has a limit: values before and after, and clips just in and just out."""
    if not book.made or not book.cover:
        return None
    spreads = {spread.column.name: spread for spread in book.cover.spreads}
    shown = [
        block
        for name, predicate in book.made.recipe.gates.items()
        if (block := _gate(book, name, predicate, spreads))
    ]
    lead = (
        "Pale bars are all clips, strong bars those that were kept; the line is the limit. "
        "Beside it are the clips nearest to it on either side: judge whether it lies right."
    )
    return section("gates", "At the limits", shown, lead=lead) if shown else None


def _gate(book: Book, name: str, predicate: str, spreads: dict[str, Spread]) -> Html | None:
    edges = edges_of(book.chosen.sql, predicate, _AT_A_LIMIT)
    if not edges:
        return None
    columns = Grammar(wide_columns(book.chosen.session)).expression(predicate, name).columns
    charts = [
        _spread_chart(spreads[column], [e.bound.limit for e in edges if e.bound.value == column])
        for column in columns
        if column in spreads
    ]
    return tag(
        "article",
        tag("h3", name, " ", tag("code", predicate)),
        tag(
            "div",
            tag("div", charts),
            tag("div", [_edge(book, edge) for edge in edges]),
            class_="gate",
        ),
    )


def _spread_chart(spread: Spread, limits: Sequence[float] = ()) -> Html:
    column = spread.column
    after = spread.quantiles_after
    kept = f", {number(after[1])} of those kept" if after else ""
    outside = spread.before.below + spread.before.above
    beyond = f"; {counted(outside, 'value')} outside of the picture" if outside else ""
    words = f"{column.meaning}; median {number(spread.quantiles_before[1])}{kept}{beyond}"
    return tag(
        "figure",
        tag("figcaption", tag("b", column.name), " ", tag("span", words, class_="quiet")),
        histogram(
            f"{column.name}: {words}",
            spread.before,
            spread.after,
            limits=limits,
            unit=column.unit,
        ),
    )


def _edge(book: Book, edge: Edge) -> Html:
    bound = edge.bound
    opposite = {">=": "<", ">": "<=", "<=": ">", "<": ">="}[bound.sign]
    return together(
        _side(book, "just in", bound.sign, edge, edge.inside),
        _side(book, "just out", opposite, edge, edge.outside),
    )


def _side(book: Book, words: str, sign: str, edge: Edge, clips: Sequence[Near]) -> Html:
    what = tag("code", f"{edge.bound.value} {sign} {edge.bound.limit:g}")
    head = tag("h4", tag("span", words, class_=f"mark {words[5:]}"), " ", what)
    if not clips:
        return together(head, tag("p", f"No clip is {words} by this limit alone.", class_="quiet"))
    notes: list[tuple[str, Part]] = [(c.clip_id, tag("b", number(c.value))) for c in clips]
    return together(head, book.strips(notes, count=2))


def measures(book: Book) -> Section | None:
    """Histograms of what else was measured."""
    if not book.cover:
        return None
    named = _named_by_gates(book)
    others = [
        spread
        for spread in book.cover.spreads
        if _measured_by(book, spread.column.name) and spread.column.name not in named
    ]
    charts = [_spread_chart(spread) for spread in others[:_MOST_MEASURES]]
    return section(
        "measures",
        "What else was measured",
        tag("div", charts, class_="charts"),
        lead="Pale bars are all clips, strong bars those that were kept.",
    )


def _named_by_gates(book: Book) -> set[str]:
    """Columns that have a picture among the gates."""
    assert book.made is not None
    grammar = Grammar(wide_columns(book.chosen.session))
    return {
        column
        for name, predicate in book.made.recipe.gates.items()
        for column in grammar.expression(predicate, name).columns
    }


def _measured_by(book: Book, column: str) -> str | None:
    """The operator whose column it is; None for what comes with the file or judges captions."""
    table, _ = book.chosen.session.operators.get(column, (CAPTION_VERDICTS, ""))
    return None if table == CAPTION_VERDICTS else table


def balance(book: Book) -> Section | None:
    """How evenly groups are kept: who has more and less than its share."""
    cover = book.cover
    if not cover:
        return None
    telling = {_counts(item): item for item in reversed(cover.groups) if _divides(book, item.by)}
    shown = sorted(telling.values(), key=_unevenness, reverse=True)[:_MOST_COLUMNS]
    if not shown:
        return None
    lead = (
        "A group's factor is its share of the clips kept over its share of all clips; a mark says "
        "that chance alone would do that less than once in 20 times. The effective number is that "
        "of groups of one size which would be as even."
    )
    return section(
        "balance",
        "Balance",
        tag("div", [_groups(item, cover) for item in shown], class_="pair"),
        lead=lead,
    )


def _divides(book: Book, column: str) -> bool:
    """Whether a column tells what is in the clips, rather than which file they are of."""
    return column not in _NAMES and (
        column not in book.chosen.session.operators or _measured_by(book, column) is not None
    )


def _counts(item: Groups) -> tuple[tuple[int, int], ...]:
    """Columns with the same counts divide the clips the same way: one of them says it all."""
    return tuple(sorted((group.before, group.after) for group in item.groups))


def _unevenness(item: Groups) -> tuple[int, float]:
    return len(item.over) + len(item.under), item.effective_before


def _groups(item: Groups, cover: Coverage) -> Html:
    largest = sorted(item.groups, key=lambda g: (-g.before, g.name or ""))[:_MOST_GROUPS]
    more = len(item.groups) - len(largest)
    effective = f"effective {item.effective_before:.1f} before, {item.effective_after:.1f} kept"
    return tag(
        "div",
        tag("h3", item.by, " ", tag("small", effective)),
        tag("ul", [_group(g, cover) for g in largest], class_="bars twice"),
        tag("p", f"and {more:,} smaller groups", class_="quiet") if more else None,
    )


def _group(group: Group, cover: Coverage) -> Html:
    before = group.before / cover.clips_before if cover.clips_before else 0.0
    after = group.after / cover.clips_after if cover.clips_after else 0.0
    factor = "" if group.ratio is None else f"×{group.ratio:.2f}"
    mark = (" more" if (group.ratio or 0) > 1 else " less") if group.beyond else ""
    return tag(
        "li",
        tag("span", "NULL" if group.name is None else group.name, class_="label"),
        tag(
            "span",
            tag("i", style=f"width:{before:.1%}", class_="before"),
            tag("i", style=f"width:{after:.1%}"),
            class_="bar",
        ),
        tag(
            "span",
            f"{group.after:,} of {group.before:,} ",
            tag("b", factor, class_=mark.strip() or None),
            mark,
            class_="quiet",
        ),
    )
