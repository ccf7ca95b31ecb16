"""How it was made: runs with their rates, what is stored, versions, and the recipe."""

from __future__ import annotations

from collections.abc import Sequence

from catalogs.amounts import duration_text, human_bytes, number
from catalogs.report.book import Book
from catalogs.report.markup import Html, Part, Section, section, table, tag
from catalogs.runs import Run, recorded_runs

__all__ = ["provenance", "runs", "storage"]

_MOST_RUNS, _MOST_STAGES = 30, 12


def runs(book: Book) -> Section | None:
    """What was run, for how long, and how fast."""
    found = recorded_runs(book.chosen.session)
    if not found:
        return None
    rows: list[Sequence[Part]] = [_run(run) for run in found[:_MOST_RUNS]]
    more = len(found) - len(rows)
    return section(
        "runs",
        "Runs and what they cost",
        table(["verb", "name", "status", "began (UTC)", "took", "rate", "machines"], rows),
        tag("p", f"and {more:,} earlier runs", class_="quiet") if more > 0 else None,
        *_stages(found),
    )


def _run(run: Run) -> list[Part]:
    return [
        run.verb,
        run.name or "",
        run.status,
        run.started.strftime("%Y-%m-%d %H:%M"),
        _took(run.seconds),
        run.rate,
        str(len(run.hosts)) if run.hosts else "",
    ]


def _took(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 10 else duration_text(seconds)


def _stages(found: Sequence[Run]) -> list[Html]:
    """Where the time of all runs went, in seconds of workers."""
    totals: dict[str, float] = {}
    for run in found:
        for stage, seconds in run.timings.items():
            name = f"{run.verb}: {stage}"
            totals[name] = totals.get(name, 0.0) + seconds
    longest = sorted(totals.items(), key=lambda item: (-item[1], item[0]))[:_MOST_STAGES]
    if not longest:
        return []
    most = longest[0][1] or 1.0
    bars = [
        tag(
            "li",
            tag("span", name, class_="label"),
            tag("span", tag("i", style=f"width:{seconds / most:.1%}"), class_="bar"),
            tag("span", f"{number(seconds)} s", class_="quiet"),
        )
        for name, seconds in longest
    ]
    return [tag("h3", "Where the workers' time went"), tag("ul", bars, class_="bars")]


def storage(book: Book) -> Section:
    """What the tables weigh."""
    catalog = book.catalog
    sizes = {
        name: (catalog.rows(name), sum(item.bytes for item in catalog.files(name)))
        for name in catalog.tables()
    }
    families: dict[str, tuple[int, int]] = {}
    for name, (rows, size) in sizes.items():
        family = name.partition("/")[0]
        there = families.get(family, (0, 0))
        families[family] = there[0] + rows, there[1] + size
    largest = sorted(families.items(), key=lambda item: (-item[1][1], item[0]))
    total = sum(size for _, size in families.values())
    sources = book.chosen.sql("select coalesce(sum(bytes), 0) from sources").value()
    share = f", {100 * total / sources:.3g}% of the bytes of the sources" if sources else ""
    lines: list[Sequence[Part]] = [
        [family, rows, human_bytes(size)] for family, (rows, size) in largest
    ]
    return section(
        "storage",
        "What the catalog holds",
        table(["table", "rows", "size"], lines),
        lead=f"{human_bytes(total)} in all{share}.",
    )


def provenance(book: Book) -> Section:
    """Which version of what this tells of."""
    facts, made = book.facts, book.made
    lines: list[Sequence[Part]] = [
        ["catalog", f"{facts.catalog_id}, version {facts.version}"],
        ["committed", facts.as_of.strftime("%Y-%m-%d %H:%M UTC")],
        ["cutting", book.chosen.session.cutting or "none yet"],
    ]
    if made:
        lines += [
            ["selection", f"{made.name} ({made.selection_id})"],
            ["made from version", made.catalog_version],
            ["recipe", f"{made.recipe.name} ({made.recipe.hash})"],
        ]
    versions = _versions(book)
    lines += [["software", ", ".join(f"{k} {v}" for k, v in sorted(versions.items()))]]
    recipe = (
        tag("details", tag("summary", "The recipe"), tag("pre", made.recipe_text), open="open")
        if made
        else None
    )
    rows = [tag("tr", tag("th", name), tag("td", value)) for name, value in lines]
    return section("versions", "Versions", tag("table", rows, class_="facts"), recipe)


def _versions(book: Book) -> dict[str, str]:
    """Of everything that wrote into the catalog; where versions differ, the newest run's."""
    found: dict[str, str] = {}
    for run in reversed(recorded_runs(book.chosen.session)):
        found |= {name: str(version) for name, version in run.versions.items()}
    return found
